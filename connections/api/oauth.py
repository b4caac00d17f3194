"""Signing in at a provider: where to send the person, and where the provider sends the answer."""

from contextlib import suppress
from http import HTTPStatus
from typing import Any

from django.conf import settings
from django.contrib.auth import get_user
from django.db import DatabaseError
from django.http import HttpResponse
from django.shortcuts import render
from django.urls import reverse
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, OpenApiResponse, extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from config import problems
from config.openapi import raises
from config.rendering import JSONRenderer
from connections import selectors
from connections.api import examples, serializers
from connections.api.base import ApiView, WorkspaceView
from connections.api.once import Idempotency
from connections.audit import Action, Audited
from connections.errors import RequestError
from connections.models import Connection, OAuthState, Role, User
from connections.providers import PROVIDERS
from connections.providers import provider as declaration
from connections.services.oauth import authorization_begin, authorization_complete, state_of


class AuthorizeView(WorkspaceView):
    """The person opens `authorize_url` in a browser, gives the access there, and is sent back to `redirect_uri`.

    Once, and within ten minutes. Again for a connection that has its access already: it is given anew, in place.
    """

    roles = {"POST": Role.MEMBER}
    audit = {"POST": Audited(Action.AUTHORIZATION_STARTED)}
    reach = selectors.connections_visible_to
    changes = selectors.connections_managed_by
    idempotency = Idempotency.ONE_TRANSACTION

    @extend_schema(
        operation_id="connections_oauth_authorize",
        summary="Where to sign in at the provider, to connect or reconnect",
        request=None,
        responses={200: serializers.AuthorizationSerializer},
        examples=examples.AUTHORIZE,
    )
    @raises("connection_not_active", "provider_not_configured", "https_required", "validation_failed")
    def post(self, request: Request, connection_id) -> Response:
        connection = self.connection(connection_id)
        begun = authorization_begin(connection_id=connection.pk, actor=self.user)
        return Response(serializers.AuthorizationSerializer(begun).data)


_BY_BROWSER = [
    OpenApiParameter(name, OpenApiTypes.STR, OpenApiParameter.QUERY, description=words)
    for name, words in (
        ("state", "What authorize gave along: it is good once."),
        ("code", "What the provider gives its tokens for."),
        ("realmId", "QuickBooks: the company."),
        ("error", "Why there is no code, such as access_denied."),
        ("error_description", "The same in words."),
        ("user_id", "WooCommerce: the state."),
        ("success", "WooCommerce: 1 where the keys were approved; they come by POST."),
    )
]
_COMPLETED = OpenApiResponse(
    serializers.AuthorizedSerializer, description="The access is kept. A browser gets a page instead."
)


class CallbackView(ApiView):
    """Open to everybody and trusted only by its state; who is signed in here has to be who began it.

    Browsers (`Accept: text/html`) get a page, programs JSON and problems.
    """

    anonymous_methods = ("GET", "POST")
    audit = {"POST": Audited(Action.CONNECTION_AUTHORIZED, Action.VERIFICATION_REQUESTED)}
    ignores_keys_because = "Its state is good once, whatever key comes along."

    def perform_content_negotiation(self, request: Request, force: bool = False) -> tuple[Any, str]:
        return JSONRenderer(), JSONRenderer.media_type or ""  # a browser's page is not rendered by the framework

    @extend_schema(
        operation_id="oauth_callback_retrieve",
        summary="The way back from the provider, in the person's browser",
        auth=[],
        parameters=_BY_BROWSER,
        responses={
            200: _COMPLETED,
            202: OpenApiResponse(serializers.AuthorizedSerializer, description="The shop's keys have not come yet."),
        },
        examples=examples.AUTHORIZED_BACK,
    )
    @raises("not_authenticated", "token_expired")
    @raises("authorization_expired", "authorization_denied", "authorization_refused", "authorization_unknown")
    @raises("account_in_use", "other_account", "permission_denied", "connection_not_active")
    def get(self, request: Request, provider: str) -> HttpResponse:
        answer = {name: str(value) for name, value in request.query_params.items()}
        if "success" in answer:
            return self._told_of_keys(provider, answer)
        return self._completed(provider, answer)

    @extend_schema(
        operation_id="oauth_callback_create",
        summary="A shop hands over its keys",
        auth=[],
        request=serializers.KeysSerializer,
        responses={200: _COMPLETED},
        examples=examples.KEYS,
    )
    @raises("not_authenticated", "token_expired")
    @raises("authorization_expired", "authorization_refused", "permission_denied", "connection_not_active")
    def post(self, request: Request, provider: str) -> HttpResponse:
        given: Any = request.data
        return self._completed(provider, {k: str(v) for k, v in given.items() if isinstance(v, str | int)})

    def _completed(self, provider_key: str, answer: dict[str, str]) -> HttpResponse:
        connection = authorization_complete(provider_key=provider_key, answer=answer, person=self._person())
        return self._told(connection)

    def _told_of_keys(self, provider_key: str, answer: dict[str, str]) -> HttpResponse:
        """The browser of whoever approved them comes before or after the keys, and proves nothing."""
        if answer["success"] != "1":
            raise RequestError(code="authorization_denied")
        state = state_of(provider_key=provider_key, answer=answer)
        if state is None or state.status not in (OAuthState.Status.OPEN, OAuthState.Status.COMPLETED):
            raise RequestError(code=(state and state.error_code) or "authorization_expired")
        is_done = state.status == OAuthState.Status.COMPLETED
        return self._told(state.connection, status=HTTPStatus.OK if is_done else HTTPStatus.ACCEPTED)

    def _told(self, connection: Connection, *, status: int = HTTPStatus.OK) -> HttpResponse:
        if not self._is_for_person:
            return Response(serializers.AuthorizedSerializer(connection).data, status=status)
        label = declaration(connection.provider).label
        facts = {"label": label, "connection": connection, "is_waiting": status == HTTPStatus.ACCEPTED}
        facts |= self._way_back(connection)
        return self._page("oauth/completed.html", status, facts)

    def _person(self) -> User | None:
        """Who is signed in: by a token, or in the console. Raises where the token is no good."""
        if "Authorization" in self.request.headers:
            return self.user
        found = get_user(self.request._request)  # by the session: the framework has put its own nobody on the request
        return found if isinstance(found, User) and found.is_active else None

    @property
    def _is_for_person(self) -> bool:
        return "text/html" in self.request.headers.get("Accept", "")

    def handle_exception(self, exc: Exception) -> HttpResponse:  # type: ignore[override] # a page is none of DRF's
        if not self._is_for_person:
            return super().handle_exception(exc)
        error = problems.translate(exc)
        told = problems.report(self.request._request, exc, error)
        key = self.kwargs.get("provider", "")
        facts = {"problem": told, "label": declaration(key).label if key in PROVIDERS else ""}
        with suppress(DatabaseError):  # which may be what is told here
            state = state_of(provider_key=key, answer={name: str(value) for name, value in self.request.GET.items()})
            facts |= self._way_back(state.connection if state else None)
        response = self._page("oauth/failed.html", error.entry.status, facts)
        response._has_been_logged = True  # type: ignore[attr-defined] # `report` has
        return response

    def _way_back(self, connection: Connection | None) -> dict[str, Any]:
        """To the connection in the console, for whoever may be there; to the front door for everybody else."""
        person = get_user(self.request._request)
        if connection is None or not (isinstance(person, User) and person.is_active and person.is_staff):
            return {}
        page = reverse("admin:connections_connection_change", args=[connection.pk])
        return {"back": page, "place": connection.name}

    def _page(self, template: str, status: int, facts: dict[str, Any]) -> HttpResponse:
        """Its own address holds the state, which nobody else is to learn."""
        response = render(self.request._request, template, {**facts, "home": settings.PUBLIC_URL}, status=status)
        response.headers["Referrer-Policy"] = "no-referrer"
        return response
