"""The API's description: what drf-spectacular cannot see by itself, said once.

Every operation lists the problems it answers with: those that its kind brings (authentication, workspace, body) and
those its view names with `@raises`. The catalogue of errors gives their status and words.
"""

from collections.abc import Callable
from typing import Any, TypeVar

from drf_spectacular.extensions import OpenApiAuthenticationExtension
from drf_spectacular.openapi import AutoSchema as _AutoSchema
from drf_spectacular.utils import OpenApiParameter

from config import problems
from config.problems import MEDIA_TYPE
from connections.errors import CATALOGUE, CausewayError

Json = dict[str, Any]
Method = TypeVar("Method", bound=Callable[..., Any])
API = "/api/v1/"
_EVERYWHERE = ("malformed_request", "throttled", "not_acceptable", "internal_error", "not_ready")
_WITH_BODY = ("validation_failed", "request_timeout", "request_too_large", "unsupported_media_type")
_AUTHENTICATED = ("not_authenticated", "token_expired")
_IN_WORKSPACE = ("workspace_required", "permission_denied", "not_found")

_WORKSPACE = OpenApiParameter(
    "X-Workspace",
    str,
    OpenApiParameter.HEADER,
    description="Slug or id of the workspace; needed only by members of several.",
)
_CORRELATION = OpenApiParameter(
    "X-Correlation-ID",
    str,
    OpenApiParameter.HEADER,
    description="1 to 128 of A-Z a-z 0-9 . _ -; comes back on the answer.",
)

_IDEMPOTENCY = OpenApiParameter(
    "Idempotency-Key",
    {"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[!-~]+$"},
    OpenApiParameter.HEADER,
    description="Any text of your own for this one request, so that it can be repeated: under the same key it is done "
    "once, and answered the same for 24 hours. May be sent as `idempotency_key` in the body instead.",
)
_ONCE = ("idempotency_mismatch", "idempotency_in_progress")
_KEPT = ("400", "403", "404", "409", "410")  # what a method itself may refuse with; the rest is refused before it


def raises(*codes: str) -> Callable[[Method], Method]:
    """Document that the method answers with these problems. Fails at import for a code that the catalogue lacks."""
    for code in codes:
        CATALOGUE[code]

    def mark(method: Method) -> Method:
        method.problem_codes = (*getattr(method, "problem_codes", ()), *codes)  # type: ignore[attr-defined]
        return method

    return mark


class BearerScheme(OpenApiAuthenticationExtension):
    target_class = "connections.api.authentication.BearerAuthentication"
    name = "bearer"

    def get_security_definition(self, auto_schema: Any) -> Json:
        return {"type": "http", "scheme": "bearer", "description": "A token from POST auth/token."}


class AutoSchema(_AutoSchema):
    def get_tags(self) -> list[str]:
        """The first word of the path after /api/v1/; what is about who one is goes together."""
        word = self.path.removeprefix(API).split("/")[0]
        return ["session" if word in ("auth", "me") else word]

    def get_description(self) -> str:  # type: ignore[override]
        """The view's own words; those of a base class say nothing about the endpoint."""
        return (vars(type(self.view)).get("__doc__") or "").strip()

    def get_override_parameters(self) -> list[Any]:
        found = [_WORKSPACE, _CORRELATION] if self._is_in_workspace else [_CORRELATION]
        return [*found, _IDEMPOTENCY] if self._is_done_once else found

    def _get_request_body(self, direction: Any = "request") -> Json | None:
        """What has to be confirmed has a body also where it is a DELETE, which spectacular leaves out."""
        if self.method != "DELETE":
            return super()._get_request_body(direction)
        self.method = "POST"
        try:
            return super()._get_request_body(direction)
        finally:
            self.method = "DELETE"

    @property
    def _is_in_workspace(self) -> bool:
        return hasattr(self.view, "roles")

    @property
    def _is_done_once(self) -> bool:
        return self.method == "POST" and bool(getattr(self.view, "idempotency", None))

    def _get_response_bodies(self, direction: Any = "response") -> Json:
        found = super()._get_response_bodies(direction)
        by_status: dict[str, list[str]] = {}
        for code in self._problem_codes():
            by_status.setdefault(str(CATALOGUE[code].status), []).append(code)
        return found | {status: _problem(codes) for status, codes in sorted(by_status.items())}

    def _problem_codes(self) -> tuple[str, ...]:
        codes = getattr(getattr(self.view, self.method.lower()), "problem_codes", ()) + _EVERYWHERE
        if self.get_auth():
            codes += _AUTHENTICATED
        if self._is_in_workspace:
            codes += _IN_WORKSPACE
        elif "{" in self.path:
            codes += ("not_found",)
        if self._is_done_once:
            codes += _ONCE
        if self._has_input:
            codes += _WITH_BODY
        return tuple(dict.fromkeys(codes))

    @property
    def _has_input(self) -> bool:
        return self.method not in ("GET", "HEAD") or any(found["in"] == "query" for found in self._get_parameters())


def _problem(codes: list[str]) -> Json:
    examples: dict[str, Any] = {
        code: {
            "summary": CATALOGUE[code].title,
            "value": problems.problem(CausewayError(code=code), instance=API + "…"),
        }
        for code in codes
    }
    for code, example in examples.items():
        example["value"]["correlation_id"] = "4b1f0c6e5d1f4f0e9a57c8f3d2b1a096"
        if code == "validation_failed":
            example["value"]["errors"] = {"field": ["This field is required."]}
    content = {"schema": {"$ref": "#/components/schemas/Problem"}, "examples": examples}
    return {"description": ", ".join(f"`{code}`" for code in codes), "content": {MEDIA_TYPE: content}}


# --- hooks named in the settings ---
def only_v1(endpoints: list[tuple[str, str, str, Any]]) -> list[tuple[str, str, str, Any]]:
    """The unversioned mount answers the same; listing it would say everything twice."""
    return [endpoint for endpoint in endpoints if endpoint[0].startswith(API)]


def describe_problems(result: Json, **_facts: Any) -> Json:
    """Add the Problem component, and the header that every answer carries."""
    components = result.setdefault("components", {})
    components.setdefault("schemas", {})["Problem"] = _PROBLEM
    components.setdefault("headers", {}).update(
        CorrelationId={
            "description": "The id under which an operator finds this request.",
            "schema": {"type": "string"},
        },
        IdempotencyReplayed={
            "description": "`true`: the answer of an earlier request with the same key; nothing was done now.",
            "schema": {"type": "string", "enum": ["true"]},
        },
    )
    carried = {"X-Correlation-ID": {"$ref": "#/components/headers/CorrelationId"}}
    for operations in result["paths"].values():
        for operation in operations.values():
            names = {parameter["name"] for parameter in operation.get("parameters", ())}
            for status, response in operation["responses"].items():
                response["headers"] = response.get("headers", {}) | carried
                if _IDEMPOTENCY.name in names and (status[0] == "2" or status in _KEPT):
                    response["headers"]["Idempotency-Replayed"] = {"$ref": "#/components/headers/IdempotencyReplayed"}
                if status == "429":
                    response["headers"] |= {"Retry-After": {"description": "Seconds.", "schema": {"type": "integer"}}}
    return result


_TEXT: Json = {"type": "string"}
_PROBLEM: Json = {
    "type": "object",
    "description": "RFC 9457 problem details. Some codes add fields of their own, such as connection_id.",
    "required": ["type", "title", "status", "detail", "instance", "code", "remediation", "retryable", "correlation_id"],
    "properties": {
        "type": _TEXT | {"format": "uri-reference", "description": "A page that explains the code."},
        "title": _TEXT,
        "status": {"type": "integer"},
        "detail": _TEXT | {"description": "What happened, for the person who met it."},
        "instance": _TEXT | {"description": "The path that was asked for."},
        "code": _TEXT | {"description": "Stable; decide by this.", "enum": sorted(CATALOGUE)},
        "remediation": _TEXT | {"description": "The one thing to do."},
        "retryable": {"type": "boolean", "description": "The same request may succeed later."},
        "fixed_by": _TEXT | {"enum": ["user", "operator", "provider", "us"], "description": "Who can mend it."},
        "correlation_id": _TEXT,
        "errors": {
            "type": "object",
            "description": "Field path → messages; the path of a list's item holds its number.",
            "additionalProperties": {"type": "array", "items": _TEXT},
        },
    },
    "additionalProperties": True,
}
