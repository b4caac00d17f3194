"""What every API view does before its own work: who asks, for which workspace, in which role, and is the request readable.

`WorkspaceView` is the base of all views that touch a workspace's rows: from the moment the role is checked until the
response is closed, the database shows that workspace only. A view that is neither of these nor in the list of
`config.urls` fails a test.
"""

from collections.abc import Callable, Collection
from functools import partial
from io import BytesIO
from typing import Any, ClassVar, TypeVar, cast
from urllib.parse import unquote_to_bytes
from uuid import UUID

from django.conf import settings
from django.db.models import Model, QuerySet
from django.http import HttpRequest, QueryDict
from django.http.response import HttpResponseBase
from rest_framework.exceptions import MethodNotAllowed, ParseError
from rest_framework.permissions import SAFE_METHODS
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.serializers import BaseSerializer, Serializer
from rest_framework.views import APIView

from connections.api import once, tenant
from connections.api.once import Idempotency
from connections.api.paging import KeysetPagination
from connections.audit import Decision
from connections.errors import CausewayError, NotFound, PermissionRefused, RequestError
from connections.models import AccessToken, Connection, Membership, Role, User
from connections.selectors import connections_visible_to, memberships_of
from connections.services.dormancy import connection_use
from connections.services.idempotency import Claim

Reach = Callable[[Membership], QuerySet[Any]]
Row = TypeVar("Row", bound=Model)


class ApiView(APIView):
    """Session endpoints: authenticated, readable requests; the database stays the app role's."""

    http_method_names = ["get", "head", "post", "put", "patch", "delete"]
    pagination_class: ClassVar[type[KeysetPagination]] = KeysetPagination
    audit: ClassVar[dict[str, Decision]] = {}  # of each method that changes something
    anonymous_methods: ClassVar[tuple[str, ...]] = ()  # for these nobody has to be signed in
    query_names: frozenset[str] = frozenset({"cursor", "page_size", "format"})  # and those of the filters, once read
    # A POST either says how it is done once (`WorkspaceView.idempotency`) or here why a key means nothing to it.
    ignores_keys_because: ClassVar[str] = ""

    def perform_authentication(self, request: Request) -> None:
        if request.method not in self.anonymous_methods:
            super().perform_authentication(request)

    def check_permissions(self, request: Request) -> None:
        if request.method not in self.anonymous_methods:
            super().check_permissions(request)

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        refuse_unreadable_query(request._request)
        super().initial(request, *args, **kwargs)
        self.authorize(request)
        if request.method not in SAFE_METHODS:
            load_chunked_body(request._request)
            request.data  # noqa: B018 - parsed here, so that no endpoint ignores a malformed body

    def authorize(self, request: Request) -> None:
        """Refuse what this caller may not ask, before the body is read."""
        if not hasattr(self, str(request.method).lower()):
            self.http_method_not_allowed(request)

    def finalize_response(self, request: Request, response: Any, *args: Any, **kwargs: Any) -> Any:
        response = super().finalize_response(request, response, *args, **kwargs)
        response.headers.setdefault("Cache-Control", "no-store")  # money, names, tokens: nobody on the way keeps them
        return response

    @property
    def user(self) -> User:
        return cast(User, self.request.user)

    @property
    def token(self) -> AccessToken:
        return cast(AccessToken, self.request.auth)

    def valid(self, serializer: type[Serializer], data: Any) -> dict[str, Any]:
        """The input as the serializer reads it. Raises ValidationError."""
        checked = serializer(data=data, context={"view": self})
        if isinstance(data, QueryDict):
            self.query_names |= checked.fields.keys()
        checked.is_valid(raise_exception=True)
        return checked.validated_data

    def page(self, rows: QuerySet, serializer: type[BaseSerializer]) -> Response:
        """One page of the rows, in the view's `pagination_class`. Raises RequestError for parameters nobody declared."""
        refuse_unknown_query(self.request.query_params, self.query_names)
        paginator = self.pagination_class()
        found = paginator.paginate_queryset(rows, self.request, self)
        return paginator.get_paginated_response(serializer(found, many=True).data)


class WorkspaceView(ApiView):
    """Endpoints of one workspace. `roles`: the least role that each method needs; a method without one is a 405.

    reach: the selector of the rows that the endpoint is about: what it leaves out is a 404. changes: the same for the
    methods that change something, where they reach less far. The role matrix is made of the three.
    creates: methods that are about no row that is there yet.
    idempotency: how a POST that creates or runs something honours an `Idempotency-Key`.
    """

    roles: ClassVar[dict[str, Role]] = {}
    reach: ClassVar[Reach | None] = None
    changes: ClassVar[Reach | None] = None
    creates: ClassVar[tuple[str, ...]] = ()
    idempotency: ClassVar[Idempotency | None] = None
    membership: Membership
    claim: Claim | None = None

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        super().initial(request, *args, **kwargs)
        tenant.enter(self.membership)
        if request.method == "POST" and self.idempotency:
            # The framework takes the method from the instance next.
            setattr(self, "post", partial(once.answered_once, self, getattr(self, "post")))  # noqa: B009, B010

    def authorize(self, request: Request) -> None:
        method = str(request.method)
        needed = self.roles.get("GET" if method == "HEAD" else method)
        if needed is None:
            raise MethodNotAllowed(method)
        self.membership = membership_chosen(self.user, request.headers.get("X-Workspace", ""))
        request._request.membership = self.membership  # type: ignore[attr-defined]
        if method not in SAFE_METHODS and self.token.scope == "read":
            raise PermissionRefused("This token may only read.", remediation="Use a token with the full scope.")
        if not Role(self.membership.role).covers(needed):
            raise PermissionRefused(f"This needs the role {needed.label.lower()}; yours is {self.membership.role}.")

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        try:
            response = super().dispatch(request, *args, **kwargs)
        except BaseException:
            tenant.leave()
            raise
        tenant.leave_when_closed(response)
        return response

    @classmethod
    def reach_of(cls, method: str) -> Reach | None:
        """The selector of the rows that this method is about."""
        if method in cls.creates:
            return None
        return cls.reach if method in SAFE_METHODS else cls.changes or cls.reach

    def confirm(self) -> None:
        """Raises RequestError unless the body says {"confirmed": true}."""
        if not isinstance(self.request.data, dict) or self.request.data.get("confirmed") is not True:
            raise RequestError(code="confirmation_required")

    @property
    def is_repeat(self) -> bool:
        """An earlier request with this key began the work, and nobody knows how far it came."""
        return bool(self.claim and self.claim.is_repeat)

    def keep(self, response: Response) -> Response:
        """Keep the answer for repeats, in the transaction of the change that it tells of. Where steps call a provider.

        Raises Conflict where another request has taken over.
        """
        once.keep(self.claim, response)
        self.claim = None
        return response

    def found(self, rows: QuerySet[Row], pk: UUID) -> Row:
        """The row with this id, or a 404."""
        row = rows.filter(pk=pk).first()
        if row is None:
            raise NotFound
        return row

    def connection(self, pk: UUID) -> Connection:
        """The connection, where it is within the view's reach; 403 where it may be seen but not managed, else 404."""
        reach = self.reach_of(str(self.request.method))
        row = reach(self.membership).filter(pk=pk).first()  # type: ignore[misc] # a view that asks has one
        if row is None:
            self.found(connections_visible_to(self.membership), pk)
            if self.request.method in SAFE_METHODS:
                raise NotFound
            raise PermissionRefused("Only its owner and the workspace's operators may do this with the connection.")
        if self.request.method != "DELETE":
            connection_use(row)
        return row


def membership_chosen(user: User, wanted: str) -> Membership:
    """The person's membership in the workspace they mean: one query. wanted: its slug or id, "" where there is but one."""
    memberships = list(memberships_of(user))
    if not memberships:
        raise PermissionRefused(
            "You do not belong to any workspace yet.",
            remediation="Ask the owner of a workspace to add you as a member.",
        )
    if wanted := wanted.strip().lower():
        for membership in memberships:
            if wanted in (membership.workspace.slug, str(membership.workspace_id)):
                return membership
        raise NotFound("There is no such workspace, or you do not belong to it.")
    if len(memberships) > 1:
        raise RequestError(code="workspace_required")
    return memberships[0]


def refuse_unreadable_query(request: HttpRequest) -> None:
    """Django replaces what is not UTF-8, and PostgreSQL refuses NUL: say so instead of searching for something else."""
    raw = unquote_to_bytes(request.META.get("QUERY_STRING", "").encode("latin-1", "replace"))
    try:
        readable = "\0" not in raw.decode()
    except UnicodeDecodeError:
        readable = False
    if not readable:
        raise CausewayError("The query string holds a NUL character or is not UTF-8.", code="malformed_request")


def refuse_unknown_query(given: QueryDict, known: Collection[str]) -> None:
    """A mistyped filter would answer with everything, and of two values only the last would count."""
    fields = {name: ["There is no such parameter here."] for name in given if name not in known}
    fields |= {name: ["Give it once."] for name in given if name in known and len(given.getlist(name)) > 1}
    if fields:
        raise RequestError(fields=fields)


def load_chunked_body(request: HttpRequest) -> None:
    """Make a body without Content-Length readable: WSGI requests of Django's count it as empty."""
    if "chunked" not in request.META.get("HTTP_TRANSFER_ENCODING", "").lower():
        return
    if not request.META.get("wsgi.input_terminated"):
        raise ParseError("The body has no Content-Length.")
    try:
        body = request.META["wsgi.input"].read(settings.DATA_UPLOAD_MAX_MEMORY_SIZE + 1)
    except Exception:  # noqa: BLE001 - every server has errors of its own for chunks that are none
        raise ParseError("The body's chunks could not be read.") from None
    request.META["CONTENT_LENGTH"] = str(len(body))
    request._stream = BytesIO(body)
