"""What a workspace's people may know of how the work goes."""

from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from connections.api.base import WorkspaceView
from connections.api.examples import answered
from connections.models import Role
from diagnostics.api.serializers import FiguresSerializer
from diagnostics.figures import figures

EXAMPLE = {
    "connections": {"active": 12, "needs_reauth": 1},
    "banks_dirty": 2,
    "sync_lag_s": 4.2,
    "runs_24h": {"succeeded": 96, "failed": 2},
    "failure_ratio_24h": 0.0204,
    "reauth_oldest_s": 86400.0,
    "webhooks_24h": {"processed": 80, "received": 1},
    "webhook_duplicates_24h": 4,
    "webhook_duplicate_ratio_24h": 0.0471,
    "webhook_lag_s": 0.8,
    "outbox_waiting": 0,
    "outbox_parked": 0,
    "outbox_lag_s": 0.0,
    "failed_records_open": 0,
}


class IntegrationsHealthView(WorkspaceView):
    """Numbers about the whole workspace: they tell of no person's bank."""

    roles = {"GET": Role.VIEWER}

    @extend_schema(
        operation_id="integrations_health",
        summary="How the workspace's connections do",
        responses=FiguresSerializer,
        examples=[answered(EXAMPLE)],
    )
    def get(self, request: Request) -> Response:
        return Response(FiguresSerializer(figures(workspace_id=self.membership.workspace_id)).data)
