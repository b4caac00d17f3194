"""Asking for a sync, watching it, and reading what it brought."""

from uuid import UUID

from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from config.openapi import raises
from connections.api.base import WorkspaceView
from connections.api.once import Idempotency
from connections.api.paging import KeysetPagination
from connections.audit import Action, Audited
from connections.models import Role
from connections.selectors import bank_data_visible_to, connections_managed_by
from sync import selectors
from sync.api import examples, serializers
from sync.models import Trigger
from sync.services.runs import run_request


class RefreshView(WorkspaceView):
    """The same path as a webhook: the bank is marked as having news, and its run is queued or, where one waits, joined."""

    roles = {"POST": Role.MEMBER}
    audit = {"POST": Audited(Action.SYNC_REQUESTED)}
    reach = connections_managed_by
    idempotency = Idempotency.ONE_TRANSACTION

    @extend_schema(
        operation_id="connections_refresh",
        summary="Sync a bank now",
        request=None,
        responses={202: serializers.RunSerializer},
        examples=examples.REFRESH,
    )
    @raises("conflict", "connection_paused", "connection_not_active", "reauth_required", "rate_limit_wait")
    @raises(
        "bank_sign_in_required", "bank_action_required", "bank_link_again", "bank_no_accounts", "provider_misconfigured"
    )
    def post(self, request: Request, connection_id: UUID) -> Response:
        connection = self.connection(connection_id)
        run = run_request(connection_id=connection.pk, trigger=Trigger.USER, requested_by=self.user)
        return Response(serializers.RunSerializer(run).data, status=202)


class TransactionPages(KeysetPagination):
    keys = ("date", "id")
    max_page_size = 500


class TransactionsView(WorkspaceView):
    roles = {"GET": Role.VIEWER}
    reach = bank_data_visible_to
    pagination_class = TransactionPages

    @extend_schema(
        operation_id="connections_transactions_list",
        summary="A bank's transactions, newest first",
        parameters=[serializers.TransactionFilters],
        responses=serializers.TransactionSerializer(many=True),
        examples=examples.TRANSACTIONS,
    )
    def get(self, request: Request, connection_id: UUID) -> Response:
        filters = self.valid(serializers.TransactionFilters, request.query_params)
        rows = selectors.transactions_of(self.connection(connection_id), **filters)
        return self.page(rows, serializers.TransactionSerializer)


class SubscriptionsView(WorkspaceView):
    roles = {"GET": Role.VIEWER}
    reach = bank_data_visible_to

    @extend_schema(
        operation_id="connections_subscriptions_list",
        summary="A bank's subscriptions, newest first",
        parameters=[serializers.SubscriptionFilters],
        responses=serializers.SubscriptionSerializer(many=True),
        examples=examples.SUBSCRIPTIONS,
    )
    def get(self, request: Request, connection_id: UUID) -> Response:
        filters = self.valid(serializers.SubscriptionFilters, request.query_params)
        rows = selectors.subscriptions_of(self.connection(connection_id), **filters)
        return self.page(rows, serializers.SubscriptionSerializer)


class RunsView(WorkspaceView):
    roles = {"GET": Role.VIEWER}
    reach = selectors.runs_visible_to

    @extend_schema(
        operation_id="sync_status_list",
        summary="Runs, newest first",
        parameters=[serializers.RunFilters],
        responses=serializers.RunSerializer(many=True),
        examples=examples.RUNS,
    )
    def get(self, request: Request) -> Response:
        filters = self.valid(serializers.RunFilters, request.query_params)
        rows = selectors.runs_visible_to(self.membership).filter(**filters)
        return self.page(rows, serializers.RunSerializer)


class RunView(WorkspaceView):
    roles = {"GET": Role.VIEWER}
    reach = selectors.runs_visible_to

    @extend_schema(
        operation_id="sync_status_retrieve",
        summary="One run",
        responses=serializers.RunSerializer,
        examples=examples.RUN,
    )
    def get(self, request: Request, sync_id: UUID) -> Response:
        run = self.found(selectors.runs_visible_to(self.membership), sync_id)
        return Response(serializers.RunSerializer(run).data)
