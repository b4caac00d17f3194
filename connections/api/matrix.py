"""Who may call what: the role matrix, read off the URL table. docs/reference/roles.md is made of it.

The words for what a role sees are written down here a second time, apart from the selectors: a test walks the matrix
over HTTP and fails where the two differ.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from django.urls import URLPattern, URLResolver, get_resolver

from connections.api.base import ApiView, WorkspaceView
from connections.models import Role

API = "/api/v1/"
NO, YES, ALL, OWN, NO_BANKS, NO_OTHERS_BANKS = "–", "yes", "all", "own", "all but banks", "all but others' banks"
_STATE = (NO_BANKS, NO_OTHERS_BANKS, ALL, ALL)
REACHES: dict[str, tuple[str, str, str, str]] = {
    "connections_visible_to": _STATE,
    "runs_visible_to": _STATE,
    "events_visible_to": _STATE,
    "flows_visible_to": (ALL, ALL, ALL, ALL),
    "mappings_visible_to": (ALL, ALL, ALL, ALL),
    "bank_data_visible_to": (NO_BANKS, NO_OTHERS_BANKS, NO_OTHERS_BANKS, NO_OTHERS_BANKS),
    "connections_managed_by": (NO, OWN, ALL, ALL),
    "bank_data_managed_by": (NO, OWN, NO_OTHERS_BANKS, NO_OTHERS_BANKS),
}
METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")


@dataclass(frozen=True, slots=True)
class Rule:
    """One endpoint: its method, its path with {placeholders}, its view, and what each role gets (None: no workspace)."""

    method: str
    path: str
    view: type[ApiView]
    cells: dict[Role, str] | None


def routes() -> Iterator[tuple[str, Callable[..., Any]]]:
    """Every address of the installation, as written in the URL table, with its callback."""
    yield from _walk(get_resolver().url_patterns, "/")


def _walk(patterns: list[URLPattern | URLResolver], prefix: str) -> Iterator[tuple[str, Callable[..., Any]]]:
    for pattern in patterns:
        path = prefix + str(pattern.pattern)
        if isinstance(pattern, URLResolver):
            yield from _walk(pattern.url_patterns, path)
        else:
            yield path, pattern.callback


def view_of(callback: Callable[..., Any]) -> type | None:
    """The class behind an `as_view()`; None for a plain function."""
    return getattr(callback, "view_class", None) or getattr(callback, "cls", None)


def rules() -> list[Rule]:
    """One a method and endpoint of the current API, in the order of the URL table."""
    found = []
    for route, callback in routes():
        view = view_of(callback)
        if view is None or not route.startswith(API) or not issubclass(view, ApiView):
            continue
        path = re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", route)
        methods = view.roles if issubclass(view, WorkspaceView) else [m for m in METHODS if hasattr(view, m.lower())]
        found += [Rule(method, path, view, _cells(view, method)) for method in methods]
    return found


def _cells(view: type[ApiView], method: str) -> dict[Role, str] | None:
    if not issubclass(view, WorkspaceView):
        return None
    reach = view.reach_of(method)
    cells = REACHES[reach.__name__] if reach else (YES,) * len(Role)
    return {role: seen if role.covers(view.roles[method]) else NO for role, seen in zip(Role, cells, strict=True)}


def page() -> str:
    """docs/reference/roles.md."""
    workspace = [rule for rule in rules() if rule.cells]
    session = [rule for rule in rules() if not rule.cells]
    lines = [_ABOUT, "| endpoint | " + " | ".join(role.value for role in Role) + " |", "|---|" + "---|" * len(Role)]
    lines += [f"| `{_shown(rule)}` | " + " | ".join((rule.cells or {}).values()) + " |" for rule in workspace]
    lines += ["", "Outside of any workspace:", "", "| endpoint | without a token | with one |", "|---|---|---|"]
    lines += [
        f"| `{_shown(rule)}` | {YES if rule.method in rule.view.anonymous_methods else 401} | {YES} |"
        for rule in session
    ]
    return "\n".join(lines) + "\n"


def _shown(rule: Rule) -> str:
    return f"{rule.method} {rule.path.removeprefix(API)}"


_ABOUT = """\
# Roles

Made by `manage.py role_matrix` from the URL table; a test walks it over HTTP.

- **viewer** looks at runs and at connections that are no banks. **member** also links and manages what they own.
  **operator** manages every connection of the workspace. **owner** also its settings and members.
- **–** is 403. Rows that a cell leaves out are 404 and missing from lists; a connection that one may see
  and not manage is 403 (404 where a body names it).
- Ids of another workspace are 404, and so is an `X-Workspace` that names one. Without a token every endpoint of a workspace is 401.
- Accounts, transactions and subscriptions of a bank are its owner's alone, whatever the role of the others: to them they are 404.
- A token with the scope `read` gets 403 from every method but GET.
- `is_staff` opens the operations console and changes nothing here.
"""
