"""Mappings over the API: who may see, try and change them, and what they answer."""

from uuid import UUID

from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from config.openapi import raises
from connections.api.base import WorkspaceView
from connections.api.once import Idempotency
from connections.audit import Action, Audited, NotAudited
from connections.models import Role
from sync import selectors
from sync.api import mapping_examples as examples
from sync.api import mapping_serializers as serializers
from sync.services.mappings import mapping_change, mapping_create, mapping_remove
from sync.services.previews import mapping_preview


class MappingsView(WorkspaceView):
    """A mistake in a rule is told by its path: `rules.3.expression`."""

    roles = {"GET": Role.VIEWER, "POST": Role.OPERATOR}
    audit = {"POST": Audited(Action.MAPPING_CREATED)}
    reach = selectors.mappings_visible_to
    creates = ("POST",)
    idempotency = Idempotency.ONE_TRANSACTION

    @extend_schema(
        operation_id="mappings_list",
        summary="Mappings, newest first",
        parameters=[serializers.MappingFilters],
        responses=serializers.MappingSerializer(many=True),
        examples=examples.MAPPINGS,
    )
    def get(self, request: Request) -> Response:
        filters = self.valid(serializers.MappingFilters, request.query_params)
        rows = selectors.mappings_visible_to(self.membership).filter(**filters)
        return self.page(rows, serializers.MappingSerializer)

    @extend_schema(
        operation_id="mappings_create",
        summary="Make a mapping, of the shipped rules or of your own",
        request=serializers.MappingDraftSerializer,
        responses={201: serializers.MappingDetailSerializer},
        examples=examples.DRAFT,
    )
    @raises("mapping_exists")
    def post(self, request: Request) -> Response:
        given = self.valid(serializers.MappingDraftSerializer, request.data)
        if flow_id := given.get("flow_id"):
            self.found(selectors.flows_visible_to(self.membership), flow_id)
        made = mapping_create(workspace_id=self.membership.workspace_id, actor=self.user, **given)
        return _shown(self, made.pk, status=201)


class MappingView(WorkspaceView):
    roles = {"GET": Role.VIEWER, "PUT": Role.OPERATOR, "DELETE": Role.OPERATOR}
    audit = {"PUT": Audited(Action.MAPPING_CHANGED), "DELETE": Audited(Action.MAPPING_REMOVED)}
    reach = selectors.mappings_visible_to

    @extend_schema(
        operation_id="mappings_retrieve",
        summary="One mapping, with its rules, the target's fields and its versions",
        responses=serializers.MappingDetailSerializer,
        examples=examples.MAPPING,
    )
    def get(self, request: Request, mapping_id: UUID) -> Response:
        return _shown(self, mapping_id)

    @extend_schema(
        operation_id="mappings_update",
        summary="Change the rules, which makes a version more, or restore those of an earlier one",
        request=serializers.MappingChangeSerializer,
        responses=serializers.MappingDetailSerializer,
        examples=examples.CHANGE,
    )
    @raises("mapping_changed")
    def put(self, request: Request, mapping_id: UUID) -> Response:
        mapping = self.found(selectors.mappings_visible_to(self.membership), mapping_id)
        given = self.valid(serializers.MappingChangeSerializer, request.data)
        mapping_change(mapping_id=mapping.pk, actor=self.user, **given)
        return _shown(self, mapping.pk)

    @extend_schema(
        operation_id="mappings_destroy",
        summary="Remove a mapping: its flow follows what is built in from then on",
        request=None,
        responses={204: None},
    )
    @raises("mapping_in_use")
    def delete(self, request: Request, mapping_id: UUID) -> Response:
        mapping = self.found(selectors.mappings_visible_to(self.membership), mapping_id)
        mapping_remove(mapping_id=mapping.pk, actor=self.user)
        return Response(status=204)


class MappingPreviewView(WorkspaceView):
    """Changes nothing. It may ask the source for a record, so it is not for everybody who may look."""

    roles = {"POST": Role.OPERATOR}
    audit = {"POST": NotAudited("It changes nothing.")}
    reach = selectors.mappings_visible_to
    ignores_keys_because = "It changes nothing: a repeat shows the same once more."

    @extend_schema(
        operation_id="mappings_preview_create",
        summary="What the rules make of one record",
        request=serializers.PreviewRequestSerializer,
        responses=serializers.PreviewSerializer,
        examples=examples.PREVIEW,
    )
    @raises("connection_not_active", "provider_unavailable", "provider_timeout", "provider_malformed")
    def post(self, request: Request, mapping_id: UUID) -> Response:
        mapping = self.found(selectors.mappings_visible_to(self.membership), mapping_id)
        given = self.valid(serializers.PreviewRequestSerializer, request.data)
        found = mapping_preview(mapping=mapping, **given)
        return Response(serializers.PreviewSerializer(found).data)


def _shown(view: WorkspaceView, mapping_id: UUID, *, status: int = 200) -> Response:
    """The mapping as it is now."""
    found = view.found(selectors.mappings_visible_to(view.membership), mapping_id)
    return Response(serializers.MappingDetailSerializer(found).data, status=status)
