"""The grammar: an expression's words as a tree, no deeper and no larger than the limits.

It is a part of the Common Expression Language: its literals, operators, conditional, calls, indexes and list macros.
"""

from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from sync.mapping.errors import Mistake
from sync.mapping.limits import DIGITS, MAX_DEPTH, MAX_NODES
from sync.mapping.tokens import Token, tokens_of


@dataclass(frozen=True, slots=True)
class Node:
    """at: its place in the text. depth: levels below it, and its own. size: nodes below it, and itself."""

    at: int
    depth: int
    size: int


@dataclass(frozen=True, slots=True)
class Literal(Node):
    value: Any = None


@dataclass(frozen=True, slots=True)
class Name(Node):
    name: str = ""


@dataclass(frozen=True, slots=True)
class Member(Node):
    of: Node | None = None
    name: str = ""


@dataclass(frozen=True, slots=True)
class Operation(Node):
    """sign: of an operator, or "?:", "[]" (an index) and "list"."""

    sign: str = ""
    parts: tuple[Node, ...] = ()


@dataclass(frozen=True, slots=True)
class Call(Node):
    """of: what it is called on, or None."""

    of: Node | None = None
    name: str = ""
    arguments: tuple[Node, ...] = ()


_TIGHTNESS = {
    "||": 1,
    "&&": 2,
    **dict.fromkeys(("==", "!=", "<", "<=", ">", ">=", "in"), 3),
    "+": 4,
    "-": 4,
    "*": 5,
    "/": 5,
    "%": 5,
}
_WORDS = {"true": True, "false": False, "null": None}


def parsed(source: str) -> Node:
    """The tree. Raises Mistake."""
    return _Parser(tokens_of(source)).whole()


class _Parser:
    def __init__(self, tokens: list[Token]) -> None:
        self.tokens, self.place, self.nodes, self.level = tokens, 0, 0, 0

    # --- words ---
    @property
    def next(self) -> Token:
        return self.tokens[self.place]

    def take(self) -> Token:
        self.place += 1
        return self.tokens[self.place - 1]

    def took(self, sign: str) -> bool:
        if self.next.kind == "sign" and self.next.text == sign:
            self.place += 1
            return True
        return False

    def want(self, sign: str) -> None:
        if not self.took(sign):
            raise Mistake(f"Here stands {_shown(self.next)} where {sign} belongs.", self.next.at)

    # --- nodes ---
    def made(self, kind: type[Any], at: int, *below: Node, **parts: Any) -> Any:
        self.nodes += 1
        depth = 1 + max((node.depth for node in below), default=0)
        if self.nodes > MAX_NODES:
            raise Mistake(f"An expression has at most {MAX_NODES} parts; this one is longer.", at)
        if depth > MAX_DEPTH:
            raise Mistake(f"This is nested deeper than {MAX_DEPTH} levels.", at)
        return kind(at, depth, 1 + sum(node.size for node in below), **parts)

    def whole(self) -> Node:
        if self.next.kind == "end":
            raise Mistake("There is nothing here.")
        tree = self.expression()
        if self.next.kind != "end":
            raise Mistake(f"{_shown(self.next)} does not belong here.", self.next.at)
        return tree

    def expression(self) -> Node:
        self.level += 1
        if self.level > MAX_DEPTH:
            raise Mistake(f"This is nested deeper than {MAX_DEPTH} levels.", self.next.at)
        test = self.binary(1)
        at = self.next.at
        if self.took("?"):
            yes = self.expression()
            self.want(":")
            no = self.expression()
            test = self.made(Operation, at, test, yes, no, sign="?:", parts=(test, yes, no))
        self.level -= 1
        return test

    def binary(self, least: int) -> Node:
        left = self.unary()
        while (tightness := _TIGHTNESS.get(self.operator, 0)) >= least:
            sign = self.take()
            right = self.binary(tightness + 1)
            left = self.made(Operation, sign.at, left, right, sign=sign.text, parts=(left, right))
        return left

    @property
    def operator(self) -> str:
        return (
            self.next.text if self.next.kind == "sign" or (self.next.text == "in" and self.next.kind == "name") else ""
        )

    def unary(self) -> Node:
        signs = []
        while self.next.kind == "sign" and self.next.text in ("!", "-"):
            signs.append(self.take())
        found = self.postfix()
        for sign in reversed(signs):
            found = self.made(Operation, sign.at, found, sign=f"{sign.text}x", parts=(found,))
        return found

    def postfix(self) -> Node:
        found = self.primary()
        while True:
            at = self.next.at
            if self.took("."):
                found = self.member(found)
            elif self.took("["):
                index = self.expression()
                self.want("]")
                found = self.made(Operation, at, found, index, sign="[]", parts=(found, index))
            else:
                return found

    def member(self, of: Node) -> Node:
        name = self.take()
        if name.kind != "name":
            raise Mistake("After a dot comes the name of a field or function.", name.at)
        if self.took("("):
            given = self.list(")")
            return self.made(Call, name.at, of, *given, of=of, name=name.text, arguments=given)
        return self.made(Member, name.at, of, of=of, name=name.text)

    def primary(self) -> Node:
        token = self.take()
        if token.kind == "number":
            return self.made(Literal, token.at, value=_number(token))
        if token.kind == "text":
            return self.made(Literal, token.at, value=token.text)
        if token.kind == "name" and token.text != "in":
            if token.text in _WORDS:
                return self.made(Literal, token.at, value=_WORDS[token.text])
            if self.took("("):
                given = self.list(")")
                return self.made(Call, token.at, *given, name=token.text, arguments=given)
            return self.made(Name, token.at, name=token.text)
        if token.kind == "sign" and token.text == "(":
            found = self.expression()
            self.want(")")
            return found
        if token.kind == "sign" and token.text == "[":
            items = self.list("]")
            return self.made(Operation, token.at, *items, sign="list", parts=items)
        raise Mistake(f"Here stands {_shown(token)} where a value belongs.", token.at)

    def list(self, end: str) -> tuple[Node, ...]:
        found: list[Node] = []
        while not self.took(end):
            if found:
                self.want(",")
            found.append(self.expression())
        return tuple(found)


def _number(token: Token) -> Decimal:
    if len(token.text) > DIGITS:
        raise Mistake(f"A number has at most {DIGITS} digits.", token.at)
    return Decimal(token.text)


def _shown(token: Token) -> str:
    return "the end" if token.kind == "end" else repr(token.text[:20])
