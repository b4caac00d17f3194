"""Sessions, connections, accounts, and the way from Plaid Link to a connection."""

from uuid import UUID

from django.conf import settings
from django.contrib.auth import authenticate
from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from config.openapi import raises
from connections import selectors
from connections.api import examples, serializers, waiting
from connections.api.base import ApiView, WorkspaceView, refuse_unknown_query
from connections.api.once import Idempotency
from connections.api.throttling import LoginThrottle
from connections.audit import Action, Audited, NotAudited
from connections.errors import CausewayError
from connections.models import Connection, Role, Verification
from connections.models.connection import Environment
from connections.services.activating import connection_activate
from connections.services.configuring import connection_change, connection_draft
from connections.services.disconnecting import account_archive, by_person, connection_disconnect
from connections.services.pausing import connection_pause, connection_resume
from connections.services.plaid_exchange import public_token_exchange
from connections.services.plaid_links import LinkToken, link_create
from connections.services.tokens import person_sign_in, token_revoke
from connections.services.verifying import verification_request


# --- session ---
class TokenView(ApiView):
    """Signing in is the one thing that nobody has to be signed in for."""

    anonymous_methods = ("POST",)
    audit = {
        "POST": Audited(Action.SIGNED_IN, Action.SIGN_IN_FAILED),
        "DELETE": Audited(Action.SIGNED_OUT),
    }
    ignores_keys_because = "Nobody is signed in whose key it could be, and two tokens are as good as one."

    def get_throttles(self) -> list:
        return [LoginThrottle()] if self.request.method in self.anonymous_methods else super().get_throttles()

    @extend_schema(
        operation_id="token_create",
        summary="Sign in",
        auth=[],
        request=serializers.SignInSerializer,
        responses={200: serializers.TokenSerializer},
        examples=examples.TOKEN,
    )
    @raises("invalid_login")
    def post(self, request: Request) -> Response:
        given = self.valid(serializers.SignInSerializer, request.data)
        # An unknown name costs a hash as well (ModelBackend), so that time does not tell who has an account.
        user = authenticate(request._request, username=given["username"], password=given["password"])
        if user is None:
            raise CausewayError(code="invalid_login")
        token, row = person_sign_in(user=user)
        return Response({"token": token, "expires_at": row.expires_at})

    @extend_schema(
        operation_id="token_delete",
        summary="Sign out: revoke the token of this request",
        request=None,
        responses={204: None},
    )
    def delete(self, request: Request) -> Response:
        token_revoke(token=self.token, actor=self.user, action=Action.SIGNED_OUT)
        return Response(status=204)


class MeView(ApiView):
    @extend_schema(
        operation_id="me_retrieve",
        summary="Who am I, and where do I work",
        responses=serializers.MeSerializer,
        examples=examples.ME,
    )
    def get(self, request: Request) -> Response:
        me = {"user": self.user, "memberships": selectors.memberships_of(self.user), "token": self.token}
        return Response(serializers.MeSerializer(me).data)


# --- connections ---
class ConnectionsView(WorkspaceView):
    roles = {"GET": Role.VIEWER, "POST": Role.MEMBER}
    audit = {"POST": Audited(Action.CONNECTION_CREATED)}
    reach = selectors.connections_visible_to
    creates = ("POST",)
    idempotency = Idempotency.ONE_TRANSACTION

    @extend_schema(
        operation_id="connections_list",
        summary="Connections, newest first",
        responses=serializers.ConnectionSerializer(many=True),
        examples=examples.CONNECTIONS,
    )
    def get(self, request: Request) -> Response:
        return self.page(selectors.connections_listed_to(self.membership), serializers.ConnectionSerializer)

    @extend_schema(
        operation_id="connections_create",
        summary="Make a draft of a connection, to be verified and activated",
        request=serializers.DraftSerializer,
        responses={201: serializers.ConnectionDetailSerializer},
        examples=examples.DRAFT,
    )
    @raises("provider_not_configured")
    def post(self, request: Request) -> Response:
        given = self.valid(serializers.DraftSerializer, request.data)
        made = connection_draft(
            user=self.user,
            workspace_id=self.membership.workspace_id,
            provider_key=given["provider"],
            environment=given.get("environment") or _usual_environment(self),
            name=given.get("name", ""),
            config=given.get("config"),
            credentials=given.get("credentials"),
        )
        return _shown(self, made.pk, status=201)


class ConnectionView(WorkspaceView):
    roles = {"GET": Role.VIEWER, "PATCH": Role.MEMBER, "DELETE": Role.MEMBER}
    audit = {
        "PATCH": Audited(Action.CONNECTION_CONFIGURED, Action.ENVIRONMENT_CHANGED, Action.CONNECTION_RENAMED),
        "DELETE": Audited(Action.CONNECTION_REMOVED),
    }
    reach = selectors.connections_visible_to
    changes = selectors.connections_managed_by

    @extend_schema(
        operation_id="connections_retrieve",
        summary="One connection",
        responses=serializers.ConnectionDetailSerializer,
        examples=examples.CONNECTION,
    )
    def get(self, request: Request, connection_id) -> Response:
        return Response(serializers.ConnectionDetailSerializer(self.connection(connection_id)).data)

    @extend_schema(
        operation_id="connections_partial_update",
        summary="Rename it, or change its settings: then it is a draft until it is verified and activated again",
        request=serializers.ChangeSerializer,
        responses=serializers.ConnectionDetailSerializer,
        examples=examples.CHANGE,
    )
    @raises("connection_not_active")
    def patch(self, request: Request, connection_id) -> Response:
        connection = self.connection(connection_id)
        given = self.valid(serializers.ChangeSerializer, request.data)
        connection_change(connection_id=connection.pk, actor=self.user, **given)
        return _shown(self, connection.pk)

    @extend_schema(
        operation_id="connections_destroy",
        summary="Disconnect: withdraw the access at the provider, keep the history",
        request=serializers.ConfirmationSerializer,
        responses={202: serializers.ConnectionDetailSerializer},
        examples=examples.DISCONNECT,
    )
    @raises("confirmation_required")
    def delete(self, request: Request, connection_id) -> Response:
        connection = self.connection(connection_id)
        self.confirm()
        connection_disconnect(connection_id=connection.pk, reason=by_person("Disconnected", self.user), actor=self.user)
        return _shown(self, connection.pk, status=202)


class VerifyView(WorkspaceView):
    """One verification of each version of the settings at a time: who asks meanwhile gets the one under way.

    The answer is 202 with what is known so far, and 200 once it has finished. `GET connections/{id}` shows the latest.
    """

    roles = {"POST": Role.MEMBER}
    audit = {"POST": Audited(Action.VERIFICATION_REQUESTED)}
    reach = selectors.connections_managed_by
    idempotency = Idempotency.STEPS  # a repeat that comes too early joins the one under way

    @extend_schema(
        operation_id="connections_verify_create",
        summary="Ask the provider whether the settings work",
        request=None,
        parameters=[serializers.WaitFilter],
        responses={200: serializers.VerificationSerializer, 202: serializers.VerificationSerializer},
        examples=examples.VERIFICATION,
    )
    @raises("connection_not_active")
    def post(self, request: Request, connection_id) -> Response:
        connection = self.connection(connection_id)
        given = self.valid(serializers.WaitFilter, request.query_params)
        refuse_unknown_query(request.query_params, self.query_names)
        found = verification_request(connection_id=connection.pk, actor=self.user)
        if given["wait"] == "1":
            found = waiting.until_finished(found, self.membership)
        status = 202 if found.status == Verification.Status.RUNNING else 200
        return Response(serializers.VerificationSerializer(found).data, status=status)


class _StatusView(WorkspaceView):
    """Moves a connection, in one transaction; answers with the connection as it is then."""

    roles = {"POST": Role.MEMBER}
    reach = selectors.connections_managed_by
    idempotency = Idempotency.ONE_TRANSACTION


class ActivateView(_StatusView):
    """What has to be set up at the provider follows by itself, and is tried until it succeeds."""

    audit = {"POST": Audited(Action.CONNECTION_ACTIVATED)}

    @extend_schema(
        operation_id="connections_activate_create",
        summary="Put the settings to work whose verification passed",
        request=None,
        responses=serializers.ConnectionDetailSerializer,
        examples=examples.CONNECTION,
    )
    @raises("verification_required", "verification_running", "verification_failed")
    @raises("connection_paused", "connection_not_active")
    def post(self, request: Request, connection_id) -> Response:
        made = connection_activate(connection_id=self.connection(connection_id).pk, actor=self.user)
        return _shown(self, made.pk)


class PauseView(_StatusView):
    """A sync under way ends; what comes in from then on is kept."""

    audit = {"POST": Audited(Action.CONNECTION_PAUSED)}

    @extend_schema(
        operation_id="connections_pause_create",
        summary="Sync nothing until it is resumed",
        request=None,
        responses=serializers.ConnectionDetailSerializer,
        examples=examples.CONNECTION,
    )
    @raises("connection_not_active")
    def post(self, request: Request, connection_id) -> Response:
        moved = connection_pause(connection_id=self.connection(connection_id).pk, actor=self.user)
        return _shown(self, moved.pk)


class ResumeView(_StatusView):
    """What came in meanwhile is synced at once."""

    audit = {"POST": Audited(Action.CONNECTION_RESUMED)}

    @extend_schema(
        operation_id="connections_resume_create",
        summary="Go on after a pause",
        request=None,
        responses=serializers.ConnectionDetailSerializer,
        examples=examples.CONNECTION,
    )
    @raises("connection_not_active")
    def post(self, request: Request, connection_id) -> Response:
        moved = connection_resume(connection_id=self.connection(connection_id).pk, actor=self.user)
        return _shown(self, moved.pk)


def _shown(view: WorkspaceView, connection_id: UUID, *, status: int = 200) -> Response:
    """The connection as it is now."""
    found = view.found(selectors.connections_visible_to(view.membership), connection_id)
    return Response(serializers.ConnectionDetailSerializer(found).data, status=status)


class AccountsView(WorkspaceView):
    roles = {"GET": Role.VIEWER}
    reach = selectors.bank_data_visible_to

    @extend_schema(
        operation_id="connections_accounts_list",
        summary="A bank's accounts",
        responses=serializers.AccountSerializer(many=True),
        examples=examples.ACCOUNTS,
    )
    def get(self, request: Request, connection_id) -> Response:
        return self.page(selectors.accounts_of(self.connection(connection_id)), serializers.AccountSerializer)


class AccountView(WorkspaceView):
    """The bank stays connected while another account is active; with the last one it is disconnected."""

    roles = {"DELETE": Role.MEMBER}
    audit = {"DELETE": Audited(Action.ACCOUNT_REMOVED, Action.CONNECTION_REMOVED)}
    reach = selectors.bank_data_managed_by

    @extend_schema(
        operation_id="connections_accounts_destroy",
        summary="Remove an account: it is not read any more, its history stays",
        request=serializers.ConfirmationSerializer,
        responses={202: serializers.AccountSerializer},
        examples=examples.REMOVE_ACCOUNT,
    )
    @raises("confirmation_required")
    def delete(self, request: Request, connection_id, account_id) -> Response:
        # Not even "you may not": that another person's accounts exist is theirs to know.
        self.found(selectors.bank_data_visible_to(self.membership), connection_id)
        connection = self.connection(connection_id)
        account = self.found(selectors.accounts_of(connection), account_id)
        self.confirm()
        account_archive(
            connection_id=connection.pk,
            account_id=account.pk,
            reason=by_person("Its last account was removed", self.user),
            actor=self.user,
        )
        shown = self.found(selectors.accounts_of(connection), account_id)
        return Response(serializers.AccountSerializer(shown).data, status=202)


class SecurityEventsView(WorkspaceView):
    roles = {"GET": Role.OPERATOR}

    @extend_schema(
        operation_id="security_events_list",
        summary="Who did what, newest first",
        parameters=[serializers.SecurityEventFilters],
        responses=serializers.SecurityEventSerializer(many=True),
        examples=examples.SECURITY_EVENTS,
    )
    def get(self, request: Request) -> Response:
        filters = self.valid(serializers.SecurityEventFilters, request.query_params)
        rows = selectors.security_events_of(self.membership, **filters)
        return self.page(rows, serializers.SecurityEventSerializer)


# --- Plaid ---
class LinkTokenView(WorkspaceView):
    roles = {"POST": Role.MEMBER}
    audit = {"POST": Audited(Action.LINK_STARTED)}
    reach = selectors.connections_managed_by
    idempotency = Idempotency.STEPS

    @extend_schema(
        operation_id="plaid_link_token_create",
        summary="Start Link, or repair a connection with it",
        request=serializers.LinkTokenRequestSerializer,
        responses={200: serializers.LinkTokenSerializer},
        examples=examples.LINK_TOKEN,
    )
    @raises(
        "connection_not_active",
        "provider_unavailable",
        "provider_timeout",
        "provider_malformed",
        "provider_not_configured",
    )
    def post(self, request: Request) -> Response:
        given = self.valid(serializers.LinkTokenRequestSerializer, request.data)

        def shown(token: LinkToken) -> Response:
            return Response(serializers.LinkTokenSerializer(token).data)

        token = link_create(
            user=self.user,
            workspace_id=self.membership.workspace_id,
            environment=given.get("environment") or _usual_environment(self),
            connection=_managed(self, given.get("connection_id")),
            is_hosted=given["hosted_link"],
            redirect_uri=given.get("redirect_uri", ""),
            on_made=lambda token: self.keep(shown(token)),
        )
        return shown(token)


class ExchangeTokenView(WorkspaceView):
    roles = {"POST": Role.MEMBER}
    audit = {"POST": Audited(Action.CONNECTION_LINKED, Action.CONNECTION_RELINKED)}
    reach = selectors.connections_managed_by
    idempotency = Idempotency.STEPS  # the exchange's own row tells a repeat what came of it

    @extend_schema(
        operation_id="plaid_exchange_token_create",
        summary="Turn Link's public token into a connection",
        request=serializers.ExchangeSerializer,
        responses={201: serializers.ConnectionDetailSerializer},
        examples=examples.EXCHANGE,
    )
    @raises(
        "wrong_environment",
        "invalid_public_token",
        "duplicate_item",
        "public_token_used",
        "exchange_in_progress",
        "outcome_unknown",
    )
    @raises("connection_not_active", "provider_not_configured", "provider_rate_limited")
    def post(self, request: Request) -> Response:
        given = self.valid(serializers.ExchangeSerializer, request.data)
        connection = _managed(self, given.get("connection_id"))
        made = public_token_exchange(
            user=self.user,
            workspace_id=self.membership.workspace_id,
            public_token=given["public_token"],
            environment=given.get("environment") or _environment_of(given["public_token"]) or _usual_environment(self),
            metadata=given.get("metadata"),
            connection=connection,
            allow_duplicate=given["allow_duplicate"],
            is_repeat=self.is_repeat,
        )
        shown = self.found(selectors.connections_visible_to(self.membership), made.pk)
        return Response(serializers.ConnectionDetailSerializer(shown).data, status=201)


class ReplacedView(WorkspaceView):
    """Endpoints of other designs that callers may try: gone, and why."""

    roles = {"POST": Role.VIEWER}
    audit = {"POST": NotAudited("answers 410 and changes nothing")}
    ignores_keys_because = "It does nothing, and always says the same."
    reason = ""

    def post(self, request: Request) -> Response:
        raise CausewayError(self.reason, code="gone")


class PlaidSyncView(ReplacedView):
    reason = "Banks sync by themselves, by webhook. For news at once: POST connections/{id}/refresh."

    @extend_schema(
        operation_id="plaid_sync_create", summary="Gone: see connections/{id}/refresh", request=None, responses={}
    )
    @raises("gone")
    def post(self, request: Request) -> Response:
        return super().post(request)


class PlaidRefreshMetadataView(ReplacedView):
    reason = "Accounts and institutions are read with every sync. For news at once: POST connections/{id}/refresh."

    @extend_schema(
        operation_id="plaid_refresh_metadata_create",
        summary="Gone: see connections/{id}/refresh",
        request=None,
        responses={},
    )
    @raises("gone")
    def post(self, request: Request) -> Response:
        return super().post(request)


def _managed(view: WorkspaceView, connection_id) -> Connection | None:
    """The connection that the body names, which the caller has to manage; one that they merely see is a 404 too."""
    return view.found(selectors.connections_managed_by(view.membership), connection_id) if connection_id else None


def _usual_environment(view: WorkspaceView) -> str:
    is_sandbox = settings.DEMO or view.membership.workspace.sandbox_mode
    return Environment.SANDBOX if is_sandbox else Environment.PRODUCTION


def _environment_of(public_token: str) -> str:
    """What the token says itself: public-sandbox-…"""
    named = public_token.split("-")[1:2]
    return named[0] if named and named[0] in Environment.values else ""
