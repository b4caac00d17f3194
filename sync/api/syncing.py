"""Asking for a sync of flows, and ending one before its time."""

from typing import Any
from uuid import UUID

from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from config.openapi import raises
from connections.api.base import WorkspaceView
from connections.api.once import Idempotency
from connections.api.serializers import (
    StrictBooleanField,
    StrictCharField,
    StrictChoiceField,
    StrictSerializer,
    StrictUUIDField,
)
from connections.audit import Action, Audited
from connections.errors import CausewayError, NotFound, RequestError
from connections.models import Role
from sync import selectors
from sync.api import examples
from sync.api.serializers import RunSerializer
from sync.flows.pairs import ENTITIES
from sync.services.flow_runs import run_cancel_request, sync_request

_BANKS = "Banks sync by themselves, by webhook. For news at once: POST connections/{id}/refresh."


class SyncFiltersSerializer(StrictSerializer):
    """Only records that pass all of these. They are looked for among all there are, and no watermark is moved."""

    status = serializers.ListField(
        child=serializers.RegexField(r"^[a-z0-9_-]{1,40}$"), required=False, allow_empty=False, max_length=50
    )
    date_from = serializers.DateField(required=False, help_text="By the source's calendar; inclusive.")
    date_to = serializers.DateField(required=False, help_text="Inclusive.")
    customer = StrictCharField(required=False, max_length=100, help_text="The customer's id at the source.")
    sku = StrictCharField(required=False, max_length=200, help_text="Of the product, or on a line.")
    total_min = serializers.DecimalField(required=False, max_digits=18, decimal_places=4)
    total_max = serializers.DecimalField(required=False, max_digits=18, decimal_places=4, help_text="Inclusive.")

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        for first, last in (("date_from", "date_to"), ("total_min", "total_max")):
            if first in attrs and last in attrs and attrs[first] > attrs[last]:
                raise serializers.ValidationError({last: [f"Lies before {first}."]})
        return {name: value if isinstance(value, list) else str(value) for name, value in attrs.items()}


class SyncSerializer(StrictSerializer):
    """Nothing is required: the next sync of every active flow with this entity."""

    mode = StrictChoiceField(
        choices=["incremental", "full"],
        default="incremental",
        help_text="full: everything is read again; what is equal costs no write.",
    )
    dry_run = StrictBooleanField(default=False)
    filters = SyncFiltersSerializer(required=False)
    ids = serializers.ListField(
        child=StrictCharField(max_length=200),
        required=False,
        allow_empty=False,
        max_length=1000,
        help_text="Of the source: exactly these records. More than 10 have to be confirmed.",
    )
    flow_id = StrictUUIDField(required=False, allow_null=True)

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        if attrs.get("ids") and attrs.get("filters"):
            raise serializers.ValidationError({"filters": ["Give either ids or filters."]})
        return attrs


class SyncView(WorkspaceView):
    """Work is accepted whatever its providers do at the moment: a run that waits says so, and goes on by itself.

    Without `flow_id` the answer is a run over all active flows with this entity; theirs have it as `parent_id`.
    """

    roles = {"POST": Role.OPERATOR}
    audit = {"POST": Audited(Action.SYNC_REQUESTED)}
    reach = selectors.flows_visible_to
    idempotency = Idempotency.ONE_TRANSACTION

    @extend_schema(
        operation_id="sync_create",
        summary="Sync one kind of records now",
        request=SyncSerializer,
        responses={202: RunSerializer},
        examples=examples.SYNC,
    )
    @raises("no_active_flow", "sandbox_mode", "confirmation_required", "not_available", "gone")
    def post(self, request: Request, entity: str) -> Response:
        if entity == "transactions":
            raise CausewayError(_BANKS, code="gone")
        if entity not in ENTITIES:
            raise NotFound(f"There are no {entity[:40]!r}.", remediation=f"Choose from {', '.join(ENTITIES)}.")
        given = self.valid(SyncSerializer, request.data)
        if given.pop("dry_run"):
            words = "Dry runs are not available in this version: nothing was synced."
            raise RequestError(words, code="not_available", remediation="Send it without dry_run to sync.")
        flow_id = given.pop("flow_id", None)
        flow = self.found(selectors.flows_visible_to(self.membership), flow_id) if flow_id else None
        run = sync_request(
            workspace_id=self.membership.workspace_id, actor=self.user, entity=entity, flow=flow, **given
        )
        return Response(RunSerializer(run).data, status=202)


class RunCancelView(WorkspaceView):
    """One that nobody has begun ends at once; another after what is being sent. What it wrote stays."""

    roles = {"POST": Role.OPERATOR}
    audit = {"POST": Audited(Action.SYNC_CANCELLED)}
    reach = selectors.runs_visible_to
    idempotency = Idempotency.ONE_TRANSACTION

    @extend_schema(
        operation_id="sync_status_cancel",
        summary="End a run before its time",
        request=None,
        responses={202: RunSerializer},
        examples=examples.CANCEL,
    )
    @raises("conflict")
    def post(self, request: Request, sync_id: UUID) -> Response:
        run = self.found(selectors.runs_visible_to(self.membership), sync_id)
        return Response(RunSerializer(run_cancel_request(run_id=run.pk, actor=self.user)).data, status=202)
