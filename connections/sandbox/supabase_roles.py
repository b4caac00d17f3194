"""Role names: a project's own ones are short, the cluster's have to be unique, and the owner's SQL says the short ones."""

from __future__ import annotations

import re
from collections.abc import Iterable

# What must be left alone, then what may be a name. A dollar-quoted body is code too, so it is read like the rest.
PIECES = re.compile(
    r"""(?P<skip>--[^\n]*|/\*.*?\*/|[eE]?'(?:[^'\\]|''|\\.)*')|"(?P<quoted>(?:[^"]|"")+)"|(?P<bare>[A-Za-z_][A-Za-z0-9_]*)""",
    re.DOTALL,
)
NEW_ROLE = re.compile(r'\bcreate\s+(?:role|user)\s+(?:"([^"]+)"|([a-z_][a-z0-9_]*))', re.IGNORECASE)
BEFORE_ROLE = re.compile(
    r"(\b(to|from|role|user|by|owner|authorization|as|member|for)|,|\brole\s+if\s+exists)\s*$", re.IGNORECASE
)


def roles_made(sql: str) -> list[str]:
    """Names of the roles that the SQL creates."""
    return [quoted or bare.lower() for quoted, bare in NEW_ROLE.findall(sql)]


def with_prefix(sql: str, names: Iterable[str], prefix: str) -> str:
    """The owner's SQL with the project's role names as the cluster has them.

    Only where a role can stand (after TO, FROM, ROLE, BY, a comma …) and outside of texts and comments: a column that
    is called like a role stays what it is, unless it follows one of these words.
    """
    known = set(names)

    def renamed(found: re.Match[str]) -> str:
        name = found["quoted"] or (found["bare"] or "").lower()
        if found["skip"] or name not in known or not BEFORE_ROLE.search(sql, max(0, found.start() - 40), found.start()):
            return found[0]
        return f'"{prefix}{name}"'

    return PIECES.sub(renamed, sql)
