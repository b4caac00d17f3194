"""An expression's text in words: numbers, texts, names and signs, each with its place."""

import re
from dataclasses import dataclass
from typing import Literal

from sync.mapping.errors import Mistake
from sync.mapping.limits import MAX_LENGTH

_WORD = re.compile(
    r"""(?P<space>[ \t\r\n]+)
      | (?P<number>\d+(?:\.\d+)?)
      | (?P<text>'(?:[^'\\\r\n]|\\.)*'|"(?:[^"\\\r\n]|\\.)*")
      | (?P<name>[A-Za-z_][A-Za-z0-9_]*)
      | (?P<sign>&&|\|\||[=!<>]=|[-+*/%!<>?:.,()\[\]])
    """,
    re.VERBOSE | re.ASCII,
)
_ESCAPE = re.compile(r"\\(u[0-9a-fA-F]{4}|.)", re.DOTALL)
_ESCAPES = {"n": "\n", "r": "\r", "t": "\t", "\\": "\\", "'": "'", '"': '"', "`": "`", "?": "?"}


@dataclass(frozen=True, slots=True)
class Token:
    """at: where it begins, counted from 1. text: as it was written; of a text: what it says."""

    kind: Literal["number", "text", "name", "sign", "end"]
    text: str
    at: int


def tokens_of(source: str) -> list[Token]:
    """The words, and an end. Raises Mistake."""
    if len(source) > MAX_LENGTH:
        raise Mistake(f"An expression has at most {MAX_LENGTH:,} characters.")
    found: list[Token] = []
    at = 0
    while at < len(source):
        match = _WORD.match(source, at)
        if match is None:
            raise Mistake(_unreadable(source[at]), at + 1)
        kind, text = str(match.lastgroup), match[0]
        if kind == "text":
            text = _said(text[1:-1], at + 1)
        if kind != "space":
            found.append(Token(kind, text, at + 1))  # type: ignore[arg-type]
        at = match.end()
    return [*found, Token("end", "", len(source) + 1)]


def _unreadable(char: str) -> str:
    if char in "'\"":
        return "This text has no end."
    if char == "=":
        return "Write == to compare."
    if char in "{}":
        return "There are no maps here: give the rule a lookup table."
    return f"{char!r} means nothing here."


def _said(text: str, at: int) -> str:
    def escaped(match: re.Match[str]) -> str:
        code = match[1]
        if len(code) == 5:
            return chr(int(code[1:], 16))
        if code not in _ESCAPES:
            raise Mistake(f"\\{code} is no escape: there are \\n, \\r, \\t, \\\\, \\', \\\" and \\u0000.", at)
        return _ESCAPES[code]

    said = _ESCAPE.sub(escaped, text)
    if any(0xD800 <= ord(char) <= 0xDFFF for char in said):
        raise Mistake("Half of a character is none.", at)
    return said
