"""One id that follows a piece of work: through the request, the log lines, the task, the provider call, the answer.

It comes in as `X-Correlation-ID` (1-128 of letters, digits, `.`, `_`, `-`; anything else is replaced, and so is what looks
like a token: the id is written everywhere) or is made here.
"""

import re
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

HEADER = "X-Correlation-ID"
_ACCEPTED = re.compile(r"(?!(?:access|public|link)-|cwt_|eyJ)[A-Za-z0-9._-]{1,128}")
_current: ContextVar[str] = ContextVar("correlation_id", default="")


def current() -> str:
    """The id of the work under way; "" outside of any."""
    return _current.get()


def accept(candidate: str | None) -> str:
    """The caller's id where it is well formed, else a new one."""
    return candidate if candidate and _ACCEPTED.fullmatch(candidate) else uuid.uuid4().hex


@contextmanager
def bound(correlation_id: str | None) -> Iterator[str]:
    """Carry this id (or a new one) for the length of the block."""
    token = _current.set(accept(correlation_id))
    try:
        yield _current.get()
    finally:
        _current.reset(token)


class CorrelationMiddleware:
    """First in line, so that every answer and every log line of a request carries the id."""

    def __init__(self, get_response: Callable) -> None:
        self.get_response = get_response

    def __call__(self, request: Any) -> Any:
        with bound(request.headers.get(HEADER)) as correlation_id:
            request.correlation_id = correlation_id
            response = self.get_response(request)
            response[HEADER] = correlation_id
            return response
