"""Flows over the API: who may see and manage them, and what they answer."""

from uuid import UUID

from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from config.openapi import raises
from connections.api.base import WorkspaceView
from connections.api.once import Idempotency
from connections.audit import Action, Audited
from connections.models import Role
from connections.selectors import connections_managed_by
from sync import selectors
from sync.api import examples
from sync.api.flow_serializers import FlowChangeSerializer, FlowDetailSerializer, FlowDraftSerializer, FlowSerializer
from sync.services.flows import flow_activate, flow_change, flow_create, flow_pause, flow_remove


class FlowsView(WorkspaceView):
    roles = {"GET": Role.VIEWER, "POST": Role.OPERATOR}
    audit = {"POST": Audited(Action.FLOW_CREATED, Action.FLOW_ACTIVATED)}
    reach = selectors.flows_visible_to
    creates = ("POST",)
    idempotency = Idempotency.ONE_TRANSACTION

    @extend_schema(
        operation_id="flows_list",
        summary="Flows, newest first",
        responses=FlowSerializer(many=True),
        examples=examples.FLOWS,
    )
    def get(self, request: Request) -> Response:
        return self.page(selectors.flows_visible_to(self.membership), FlowSerializer)

    @extend_schema(
        operation_id="flows_create",
        summary="Make a flow between two connections",
        request=FlowDraftSerializer,
        responses={201: FlowDetailSerializer},
        examples=examples.FLOW_DRAFT,
    )
    @raises("flow_exists", "flow_not_ready")
    def post(self, request: Request) -> Response:
        given = self.valid(FlowDraftSerializer, request.data)
        managed = connections_managed_by(self.membership)
        source = self.found(managed, given.pop("source_connection_id"))
        target = self.found(managed, given.pop("target_connection_id"))
        is_active = given.pop("status", "draft") == "active"
        made = flow_create(
            workspace_id=self.membership.workspace_id,
            actor=self.user,
            source=source,
            target=target,
            is_active=is_active,
            **given,
        )
        return _shown(self, made.pk, status=201)


class FlowView(WorkspaceView):
    roles = {"GET": Role.VIEWER, "PATCH": Role.OPERATOR, "DELETE": Role.OPERATOR}
    audit = {
        "PATCH": Audited(Action.FLOW_CHANGED, Action.FLOW_ACTIVATED, Action.FLOW_PAUSED),
        "DELETE": Audited(Action.FLOW_REMOVED),
    }
    reach = selectors.flows_visible_to

    @extend_schema(
        operation_id="flows_retrieve", summary="One flow", responses=FlowDetailSerializer, examples=examples.FLOW
    )
    def get(self, request: Request, flow_id: UUID) -> Response:
        return _shown(self, flow_id)

    @extend_schema(
        operation_id="flows_partial_update",
        summary="Change a flow; where it takes other records then, the next sync reads all of them again",
        request=FlowChangeSerializer,
        responses=FlowDetailSerializer,
        examples=examples.FLOW_CHANGE,
    )
    @raises("flow_not_ready", "conflict")
    def patch(self, request: Request, flow_id: UUID) -> Response:
        flow = self.found(selectors.flows_visible_to(self.membership), flow_id)
        given = self.valid(FlowChangeSerializer, request.data)
        flow_change(flow_id=flow.pk, actor=self.user, **given)
        return _shown(self, flow.pk)

    @extend_schema(
        operation_id="flows_destroy",
        summary="Remove a flow: nothing is moved any more, what arrived stays",
        request=None,
        responses={204: None},
    )
    def delete(self, request: Request, flow_id: UUID) -> Response:
        flow = self.found(selectors.flows_visible_to(self.membership), flow_id)
        flow_remove(flow_id=flow.pk, actor=self.user)
        return Response(status=204)


class _FlowStatusView(WorkspaceView):
    roles = {"POST": Role.OPERATOR}
    reach = selectors.flows_visible_to
    idempotency = Idempotency.ONE_TRANSACTION


class FlowActivateView(_FlowStatusView):
    """Refused where something is missing: `gaps` names each thing with what to do about it."""

    audit = {"POST": Audited(Action.FLOW_ACTIVATED)}

    @extend_schema(
        operation_id="flows_activate_create",
        summary="Let a flow move records",
        request=None,
        responses=FlowDetailSerializer,
        examples=examples.FLOW,
    )
    @raises("flow_not_ready")
    def post(self, request: Request, flow_id: UUID) -> Response:
        flow = self.found(selectors.flows_visible_to(self.membership), flow_id)
        flow_activate(flow_id=flow.pk, actor=self.user)
        return _shown(self, flow.pk)


class FlowPauseView(_FlowStatusView):
    """A run under way stops after what it has just sent, and goes on when the flow is activated again."""

    audit = {"POST": Audited(Action.FLOW_PAUSED)}

    @extend_schema(
        operation_id="flows_pause_create",
        summary="Move nothing until the flow is activated again",
        request=None,
        responses=FlowDetailSerializer,
        examples=examples.FLOW,
    )
    @raises("conflict")
    def post(self, request: Request, flow_id: UUID) -> Response:
        flow = self.found(selectors.flows_visible_to(self.membership), flow_id)
        flow_pause(flow_id=flow.pk, actor=self.user)
        return _shown(self, flow.pk)


def _shown(view: WorkspaceView, flow_id: UUID, *, status: int = 200) -> Response:
    """The flow as it is now, with what is missing."""
    found = view.found(selectors.flows_visible_to(view.membership), flow_id)
    return Response(FlowDetailSerializer(found).data, status=status)
