"""Expressions: checked once against the kinds of what they name, then run for every record, exactly and within limits."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from sync.mapping import syntax
from sync.mapping.errors import Mistake, Unmet
from sync.mapping.functions import BY_NAME, EXACT, Function, exactly, limited
from sync.mapping.kinds import BOOLEAN, NULL, NUMBER, ORDERED, TEXT, Kind, common, is_empty, list_of
from sync.mapping.limits import MAX_STEPS


class Frame:
    """One evaluation: what its names stand for, and how many steps it has left."""

    __slots__ = ("names", "steps")

    def __init__(self, names: dict[str, Any]) -> None:
        self.names, self.steps = names, MAX_STEPS

    def spend(self, steps: int) -> None:
        self.steps -= steps
        if self.steps < 0:
            raise Unmet("This takes too many steps for one record: it walks through too much.")


Run = Callable[[Frame], Any]


@dataclass(frozen=True, slots=True)
class Expression:
    """kind: of what it gives. names: of what it looks at; none: it gives the same for every record."""

    source: str
    kind: Kind
    names: frozenset[str]
    run: Run

    def value(self, names: Mapping[str, Any]) -> Any:
        """What it gives for these: text, Decimal, bool, day, instant, tuple, a part of a record, or None. Raises Unmet."""
        return self.run(Frame(dict(names)))


def compiled(source: str, scope: Mapping[str, Kind]) -> Expression:
    """scope: the kinds of the names that it may use. Raises Mistake with what is wrong and where."""
    checker = _Checker(dict(scope))
    kind, run = checker.made(syntax.parsed(source))
    return Expression(source, kind, frozenset(checker.used), run)


class _Checker:
    """Of each node: what kind it gives, and the function that gives it."""

    def __init__(self, scope: dict[str, Kind]) -> None:
        self.scope = scope
        self.used: set[str] = set()
        self.local: dict[str, Kind] = {}

    def made(self, node: syntax.Node | None) -> tuple[Kind, Run]:
        return _MAKERS[type(node)](self, node)

    def literal(self, node: syntax.Literal) -> tuple[Kind, Run]:
        value = node.value
        kinds: dict[type, Kind] = {str: TEXT, Decimal: NUMBER, bool: BOOLEAN}
        return kinds.get(type(value), NULL), lambda _frame: value

    def name(self, node: syntax.Name) -> tuple[Kind, Run]:
        name = node.name
        kind = self.local.get(name) or self.scope.get(name)
        if kind is None:
            raise Mistake(f"There is nothing called {name} here, only {_listed(self.scope | self.local)}.", node.at)
        if name not in self.local:
            self.used.add(name)
        return kind, lambda frame: frame.names[name]

    def member(self, node: syntax.Member) -> tuple[Kind, Run]:
        of, run = self.made(node.of)
        name = node.name
        if not of.is_structure:
            raise Mistake(f"{str(of).capitalize()} has no fields.", node.at)
        if name not in of.fields:
            raise Mistake(f"{str(of).capitalize()} has no {name}. It has {_listed(of.fields)}.", node.at)
        return of.fields[name], lambda frame: getattr(run(frame), name)

    # --- operators ---
    def operation(self, node: syntax.Operation) -> tuple[Kind, Run]:
        if node.sign == "list":
            return self.items(node)
        parts = [self.made(part) for part in node.parts]
        kinds, runs = [kind for kind, _run in parts], [run for _kind, run in parts]
        makers: dict[str, Callable[..., tuple[Kind, Run]]] = {
            "?:": _choice,
            "[]": _index,
            "!x": _not,
            "-x": _negative,
            "||": _or,
            "&&": _and,
            "in": _within,
        }
        make = makers.get(node.sign) or (_compared if node.sign in _COMPARED else _calculated)
        return make(node, kinds, runs)

    def items(self, node: syntax.Operation) -> tuple[Kind, Run]:
        item, runs = NULL, []
        for part in node.parts:
            kind, run = self.made(part)
            runs.append(run)
            if (either := common(item, kind)) is None:
                raise Mistake(f"A list holds one kind of thing, and this is {kind} among {item.name}s.", part.at)
            item = either
        return list_of(item), lambda frame: tuple(run(frame) for run in runs)

    # --- calls ---
    def call(self, node: syntax.Call) -> tuple[Kind, Run]:
        if node.of is not None and node.name in _MACROS:
            return self.macro(node)
        if node.of is None and node.name == "has":
            return self.has(node)
        given = [self.made(part) for part in ((node.of,) if node.of else ()) + node.arguments]
        kinds, runs = [kind for kind, _run in given], [run for _kind, run in given]
        function, kind = _function(node, kinds)
        return kind, _called(function, runs)

    def has(self, node: syntax.Call) -> tuple[Kind, Run]:
        if len(node.arguments) != 1:
            raise Mistake("has(…) takes one thing, such as record.due_on.", node.at)
        _kind, run = self.made(node.arguments[0])
        return BOOLEAN, lambda frame: not is_empty(run(frame))

    def macro(self, node: syntax.Call) -> tuple[Kind, Run]:
        """list.exists(x, …) and the like: the last argument is worked out for each item of the list, called x."""
        of, items = self.made(node.of)
        if of.item is None:
            raise Mistake(f"{node.name}(…) walks through a list, and this is {of}.", node.at)
        if len(node.arguments) not in ((2, 3) if node.name == "map" else (2,)) or not isinstance(
            node.arguments[0], syntax.Name
        ):
            raise Mistake(f"Write it so: list.{node.name}(x, …), with x in the second part.", node.at)
        name = node.arguments[0].name
        if name in self.scope or name in self.local:
            raise Mistake(f"{name} has a meaning here already: call the item otherwise.", node.arguments[0].at)
        self.local[name] = of.item
        before = [self.made(part) for part in node.arguments[1:]]
        del self.local[name]
        kind, body = before.pop()
        if (node.name != "map" and kind not in (BOOLEAN, NULL)) or (before and before[0][0] != BOOLEAN):
            raise Mistake(f"What {node.name}(…) asks of each item is true or false.", node.arguments[1].at)
        test = before[0][1] if before else None
        cost = 1 + sum(part.size for part in node.arguments[1:])
        walk = _Walk(items, name, body, cost)
        if node.name == "map":
            return list_of(kind), walk.mapped(test)
        return (of, walk.filtered) if node.name == "filter" else (BOOLEAN, walk.asking(node.name))


def _listed(names: Mapping[str, Any]) -> str:
    return ", ".join(sorted(names)) or "nothing"


_MAKERS: dict[Any, Callable[[_Checker, Any], tuple[Kind, Run]]] = {
    syntax.Literal: _Checker.literal,
    syntax.Name: _Checker.name,
    syntax.Member: _Checker.member,
    syntax.Operation: _Checker.operation,
    syntax.Call: _Checker.call,
}
_MACROS = ("exists", "all", "exists_one", "filter", "map")


class _Walk:
    """Through a list, with a name for the item."""

    def __init__(self, items: Run, name: str, body: Run, cost: int) -> None:
        self.items, self.name, self.body, self.cost = items, name, body, cost

    def each(self, frame: Frame) -> Any:
        for item in self.items(frame):
            frame.spend(self.cost)
            frame.names[self.name] = item
            yield item

    def mapped(self, test: Run | None) -> Run:
        return lambda frame: tuple(
            self.body(frame) for _item in self.each(frame) if test is None or test(frame) is True
        )

    def filtered(self, frame: Frame) -> Any:
        return tuple(item for item in self.each(frame) if self.body(frame) is True)

    def asking(self, macro: str) -> Run:
        if macro == "exists":
            return lambda frame: any(self.body(frame) is True for _item in self.each(frame))
        if macro == "all":
            return lambda frame: all(self.body(frame) is True for _item in self.each(frame))
        return lambda frame: sum(self.body(frame) is True for _item in self.each(frame)) == 1


def _function(node: syntax.Call, kinds: list[Kind]) -> tuple[Function, Kind]:
    known = BY_NAME.get(node.name)
    if known is None:
        what = f"There is no function {node.name}"
        raise Mistake(f"{what}; it is a list that has it." if node.name in _MACROS else f"{what}.", node.at)
    for function in known:
        if kind := function.result(kinds):
            return function, kind
    told = " or ".join(function.signature for function in known)
    raise Mistake(f"It takes {told}, and this is {node.name}({', '.join(kind.name for kind in kinds)}).", node.at)


def _called(function: Function, runs: list[Run]) -> Run:
    work, name, takes_nothing = function.run, function.name, function.takes_nothing

    def run(frame: Frame) -> Any:
        given = [one(frame) for one in runs]
        if not takes_nothing and any(one is None or (type(one) is tuple and None in one) for one in given):
            raise Unmet(
                f"{name}(…) is given null: nothing is there. Ask has(…) before, or give first(…) another value."
            )
        frame.spend(1 + sum(len(one) for one in given if isinstance(one, str | tuple)) // 100)
        try:
            return work(*given)
        except (ArithmeticError, ValueError) as error:
            raise Unmet(f"{name}(…) cannot work this out exactly: the values are too large or too small.") from error

    return run


# --- operators: what they take, and what they do ---
def _refused(node: syntax.Operation, kinds: list[Kind]) -> Mistake:
    told = " and ".join(map(str, kinds))
    hint = " Use string(…) to make a text of a value." if node.sign == "+" and TEXT in kinds else ""
    return Mistake(f"There is no {node.sign.strip('x')} for {told}.{hint}", node.at)


def _choice(node: syntax.Operation, kinds: list[Kind], runs: list[Run]) -> tuple[Kind, Run]:
    test, yes, no = runs
    if kinds[0] != BOOLEAN:
        raise Mistake(f"Before the ? stands something true or false, and this is {kinds[0]}.", node.at)
    kind = common(kinds[1], kinds[2])
    if kind is None:
        raise Mistake(f"Both outcomes are of one kind, and these are {kinds[1]} and {kinds[2]}.", node.at)
    return kind, lambda frame: yes(frame) if _present(test(frame)) else no(frame)


def _index(node: syntax.Operation, kinds: list[Kind], runs: list[Run]) -> tuple[Kind, Run]:
    items, number = runs
    if kinds[0].item is None or kinds[1] != NUMBER:
        raise _refused(node, kinds)

    def run(frame: Frame) -> Any:
        found, place = items(frame), _present(number(frame))
        if place != place.to_integral_value() or not 0 <= place < len(found):
            raise Unmet(f"The list has {len(found)} items, counted from 0: there is none at this place.")
        return found[int(place)]

    return kinds[0].item, run


def _not(node: syntax.Operation, kinds: list[Kind], runs: list[Run]) -> tuple[Kind, Run]:
    if kinds[0] != BOOLEAN:
        raise _refused(node, kinds)
    return BOOLEAN, lambda frame: not _present(runs[0](frame))


def _negative(node: syntax.Operation, kinds: list[Kind], runs: list[Run]) -> tuple[Kind, Run]:
    if kinds[0] != NUMBER:
        raise _refused(node, kinds)
    return NUMBER, lambda frame: _exact(lambda value: exactly(value.copy_negate()), runs[0](frame))


def _or(node: syntax.Operation, kinds: list[Kind], runs: list[Run]) -> tuple[Kind, Run]:
    return _logical(node, kinds, runs, decides=True)


def _and(node: syntax.Operation, kinds: list[Kind], runs: list[Run]) -> tuple[Kind, Run]:
    return _logical(node, kinds, runs, decides=False)


def _logical(node: syntax.Operation, kinds: list[Kind], runs: list[Run], *, decides: bool) -> tuple[Kind, Run]:
    """One side may decide it alone, whichever: what is wrong with the other does not matter then."""
    left, right = runs
    if kinds != [BOOLEAN, BOOLEAN]:
        raise _refused(node, kinds)

    def run(frame: Frame) -> bool:
        try:
            if _present(left(frame)) is decides:
                return decides
        except Unmet:
            if frame.steps >= 0 and _present(right(frame)) is decides:
                return decides
            raise
        return bool(_present(right(frame)))

    return BOOLEAN, run


def _within(node: syntax.Operation, kinds: list[Kind], runs: list[Run]) -> tuple[Kind, Run]:
    item = kinds[1].item
    if item is None or common(kinds[0], item) is None or not (kinds[0].is_scalar or kinds[0] == NULL):
        raise _refused(node, kinds)

    def run(frame: Frame) -> bool:
        value, items = runs[0](frame), runs[1](frame)
        frame.spend(len(items) // 10)
        return value in items

    return BOOLEAN, run


_COMPARED = ("==", "!=", "<", "<=", ">", ">=")


def _compared(node: syntax.Operation, kinds: list[Kind], runs: list[Run]) -> tuple[Kind, Run]:
    left, right = runs
    either = common(*kinds)
    if node.sign in ("==", "!="):
        if either is None or not (either.is_scalar or NULL in kinds):
            raise _refused(node, kinds)
        if node.sign == "==":
            return BOOLEAN, lambda frame: left(frame) == right(frame)
        return BOOLEAN, lambda frame: left(frame) != right(frame)
    if either not in ORDERED or NULL in kinds:
        raise _refused(node, kinds)
    compare = _ORDERS[node.sign]
    return BOOLEAN, lambda frame: compare(_present(left(frame)), _present(right(frame)))


_ORDERS: dict[str, Callable[[Any, Any], bool]] = {
    "<": lambda one, other: one < other,
    "<=": lambda one, other: one <= other,
    ">": lambda one, other: one > other,
    ">=": lambda one, other: one >= other,
}
_ARITHMETIC: dict[str, Callable[[Decimal, Decimal], Decimal]] = {
    "+": EXACT.add,
    "-": EXACT.subtract,
    "*": EXACT.multiply,
    "/": lambda one, other: EXACT.divide(one, _divisor(other)),
    "%": lambda one, other: EXACT.remainder(one, _divisor(other)),
}


def _divisor(number: Decimal) -> Decimal:
    if not number:
        raise Unmet("Nothing can be divided by 0.")
    return number


def _calculated(node: syntax.Operation, kinds: list[Kind], runs: list[Run]) -> tuple[Kind, Run]:
    left, right = runs
    if node.sign == "+" and kinds == [TEXT, TEXT]:
        return TEXT, lambda frame: limited(_present(left(frame)) + _present(right(frame)))
    if kinds != [NUMBER, NUMBER]:
        raise _refused(node, kinds)
    work = _ARITHMETIC[node.sign]
    return NUMBER, lambda frame: _exact(work, left(frame), right(frame))


def _exact(work: Callable[..., Decimal], *numbers: Decimal | None) -> Decimal:
    given = [_present(number) for number in numbers]
    try:
        return work(*given)
    except ArithmeticError as error:
        raise Unmet(
            "This does not come out exactly, and nothing is rounded unasked.",
            "Use divide(a, b, decimals) or round(a, decimals), which say how.",
        ) from error


def _present(value: Any) -> Any:
    if value is None:
        raise Unmet("One side of this is null: nothing is there.", "Ask has(…) before, or give first(…) another value.")
    return value
