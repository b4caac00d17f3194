"""The inbox: what came in, having it processed again, and whether it counts at all."""

from uuid import UUID

from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from connections.api.base import WorkspaceView
from connections.api.once import Idempotency
from connections.audit import Action, Audited
from connections.models import Role
from webhooks import selectors
from webhooks.api import examples, serializers
from webhooks.services.replays import event_replay
from webhooks.services.switching import webhooks_switch


class EventsView(WorkspaceView):
    roles = {"GET": Role.VIEWER}
    reach = selectors.events_visible_to

    @extend_schema(
        operation_id="webhook_events_list",
        summary="Webhooks that came in, newest first",
        parameters=[serializers.WebhookEventFilters],
        responses=serializers.WebhookEventSerializer(many=True),
        examples=examples.EVENTS,
    )
    def get(self, request: Request) -> Response:
        filters = self.valid(serializers.WebhookEventFilters, request.query_params)
        rows = selectors.events_visible_to(self.membership).filter(**filters).defer("body", "payload")
        return self.page(rows, serializers.WebhookEventSerializer)


class EventView(WorkspaceView):
    roles = {"GET": Role.VIEWER}
    reach = selectors.events_visible_to

    @extend_schema(
        operation_id="webhook_events_retrieve",
        summary="One webhook, with its message",
        responses=serializers.WebhookEventDetailSerializer,
        examples=examples.EVENT,
    )
    def get(self, request: Request, event_id: UUID) -> Response:
        event = self.found(selectors.events_visible_to(self.membership), event_id)
        return Response(serializers.WebhookEventDetailSerializer(event).data)


class ReplayView(WorkspaceView):
    roles = {"POST": Role.OPERATOR}
    audit = {"POST": Audited(Action.WEBHOOK_REPLAYED)}
    reach = selectors.events_visible_to
    idempotency = Idempotency.ONE_TRANSACTION

    @extend_schema(
        operation_id="webhook_events_replay",
        summary="Process a webhook again",
        description="What happened since it came in still counts, so that a replay changes nothing that was done. "
        "One that waits stays as it is.",
        request=None,
        responses={202: serializers.WebhookEventSerializer},
        examples=examples.REPLAY,
    )
    def post(self, request: Request, event_id: UUID) -> Response:
        visible = selectors.events_visible_to(self.membership)
        event_replay(event_id=self.found(visible, event_id).pk, actor=self.user)
        return Response(serializers.WebhookEventSerializer(visible.get(pk=event_id)).data, status=202)


class SettingsView(WorkspaceView):
    roles = {"GET": Role.OPERATOR, "PATCH": Role.OWNER}
    audit = {"PATCH": Audited(Action.WEBHOOKS_SWITCHED)}

    @extend_schema(
        operation_id="settings_webhooks_retrieve",
        summary="Whether webhooks count",
        responses=serializers.WebhookSettingsSerializer,
        examples=examples.SETTINGS,
    )
    def get(self, request: Request) -> Response:
        return Response({"enabled": self.membership.workspace.webhooks_enabled})

    @extend_schema(
        operation_id="settings_webhooks_update",
        summary="Switch webhooks off or on",
        request=serializers.WebhookSettingsSerializer,
        responses=serializers.WebhookSettingsSerializer,
        examples=examples.SWITCH,
    )
    def patch(self, request: Request) -> Response:
        given = self.valid(serializers.WebhookSettingsSerializer, request.data)
        webhooks_switch(workspace_id=self.membership.workspace_id, is_enabled=given["enabled"], actor=self.user)
        return Response(given)
