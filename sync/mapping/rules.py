"""Rules: which field of the target gets what, checked when they are saved and run for every record."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from connections.errors import RejectedRecord
from sync.canonical import KINDS, Canonical, Document, Line
from sync.mapping.errors import Mistake, RulesRefused, Unmet
from sync.mapping.expressions import Expression, Frame, compiled
from sync.mapping.fields import FieldTable, TargetField
from sync.mapping.functions import string
from sync.mapping.kinds import Kind, is_empty, kind_of
from sync.mapping.limits import MAX_KEY, MAX_LOOKUP, MAX_RULES, MAX_VALUE

Json = dict[str, Any]
OTHERWISE = "*"  # the entry of a lookup table for whatever has none
PARTS = ("target", "expression", "default", "required", "lookup")
_EVERY_LINE = kind_of(Line)


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule, compiled. number: its place among the rules. lookup: by the text of what the expression gives."""

    number: int
    field: TargetField
    expression: Expression
    default: Any = None
    is_required: bool = False
    lookup: Mapping[str, Any] | None = None

    def result(self, value: Any) -> Any:
        """What the target gets of what the expression gave; None for nothing. Raises Unmet."""
        found = self._looked_up(value) if self.lookup is not None else self._shaped(value)
        if found is None:
            found = self.default
        if found is None and self.is_required:
            raise Unmet(
                "There is nothing here, and the rule says that there has to be.",
                "Complete the record at its source, or give the rule a default.",
                code="required",
            )
        return found

    def _shaped(self, value: Any) -> Any:
        try:
            return None if is_empty(value) else self.field.shaped(value)
        except Unmet as unmet:
            raise Unmet(unmet.why, unmet.remediation, code="value_refused") from None

    def _looked_up(self, value: Any) -> Any:
        table: Mapping[str, Any] = self.lookup or {}
        key = "" if value is None else string(value)
        if key in table or OTHERWISE in table:
            return table.get(key, table.get(OTHERWISE))
        if not key and self.default is not None:
            return None
        raise Unmet(
            f"The rule's lookup table has no entry for {key[:MAX_KEY]!r}.",
            f'Add {key[:MAX_KEY]!r} to the table, or "{OTHERWISE}" for whatever is not in it.',
            code="lookup_missing",
        )


@dataclass(frozen=True, slots=True)
class Failure:
    """A rule that had no value for a record. path: `rules.3`. line_id: of the line that it was for, or ""."""

    path: str
    target: str
    code: str
    detail: str
    remediation: str = ""
    line_id: str = ""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one rule came to. line: the number of the line, counted from 0. value: the expression's; result: the target's."""

    rule: int
    target: str
    line: int | None = None
    value: Any = None
    result: Any = None
    failure: Failure | None = None


@dataclass(frozen=True, slots=True)
class Mapped:
    """What the rules make of a record: values by the target's own field names; those of a line at the line's place.

    A field that a rule leaves empty is there as None.
    """

    table: FieldTable
    header: Json
    lines: tuple[Json, ...]
    line_ids: tuple[str, ...]
    failures: tuple[Failure, ...]
    outcomes: tuple[Outcome, ...]

    def refuse_failures(self) -> None:
        """Raises RejectedRecord where a rule had no value, with each field and what to do."""
        if not self.failures:
            return
        told = {f"{one.target}[{one.line_id}]" if one.line_id else one.target: one for one in self.failures}
        words = {path: [f"{one.detail} {one.remediation}".strip()] for path, one in told.items()}
        first = self.failures[0]
        raise RejectedRecord(
            f"{first.target}: {first.detail}",
            remediation=first.remediation,
            operator_detail="mapping: " + "; ".join(f"{path}: {why[0]}" for path, why in words.items())[:1000],
            fields=words,
        )


@dataclass(frozen=True, slots=True)
class RuleSet:
    """The rules for one entity and target, ready to run."""

    table: FieldTable
    rules: tuple[Rule, ...]

    def mapped(self, record: Canonical, *, document: str = "") -> Mapped:
        """What they make of the record. document: of several kinds that it can become, the one that it does.

        Never raises: what a rule has no value for is among the failures.
        """
        lines = record.lines if isinstance(record, Document) and self.table.lines else ()
        header: Json = {}
        by_line: tuple[Json, ...] = tuple({} for _line in lines)
        outcomes: list[Outcome] = []
        for rule in self.rules:
            if document and rule.field.documents and document not in rule.field.documents:
                continue
            for found in _outcomes(rule, record, lines):
                outcomes.append(found)
                if found.failure is None:
                    (header if found.line is None else by_line[found.line])[rule.field.key] = found.result
        failures = [*(one.failure for one in outcomes if one.failure), *self._unnamed(header, outcomes)]
        ids = tuple(line.line_id for line in lines)
        return Mapped(self.table, header, by_line, ids, tuple(failures), tuple(outcomes))

    def _unnamed(self, header: Json, outcomes: list[Outcome]) -> Iterator[Failure]:
        """The target wants one of several fields, and none has anything in it."""
        names = self.table.any_of
        failed = any(one.failure and one.target in names for one in outcomes)
        if names and not failed and all(header.get(name) is None for name in names):
            detail = f"One of {', '.join(names)} has to have something in it."
            yield Failure("rules", names[0], "required", detail, f"Give {names[0]} a default that is never empty.")


def _outcomes(rule: Rule, record: Canonical, lines: tuple[Line, ...]) -> Iterator[Outcome]:
    frame = Frame({"record": record})  # its steps are for all lines together
    if not rule.field.is_line:
        yield _outcome(rule, frame, None, "")
        return
    for number, line in enumerate(lines):
        frame.names["line"] = line
        yield _outcome(rule, frame, number, line.line_id)


def _outcome(rule: Rule, frame: Frame, line: int | None, line_id: str) -> Outcome:
    target = rule.field.name
    value = None
    try:
        value = rule.expression.run(frame)
        return Outcome(rule.number, target, line, value, rule.result(value))
    except Unmet as unmet:
        failure = Failure(f"rules.{rule.number}", target, unmet.code, unmet.why, unmet.remediation, line_id)
        return Outcome(rule.number, target, line, value, None, failure)


# --- saving ---
def rule_set(table: FieldTable, given: Any) -> RuleSet:
    """The rules, as JSON has them, compiled. Raises RulesRefused with every mistake by its path: `rules.3.expression`."""
    if not isinstance(given, list) or len(given) > MAX_RULES:
        raise RulesRefused({"rules": [f"This is a list of at most {MAX_RULES} rules."]})
    errors: dict[str, list[str]] = {}
    made: list[Rule] = []
    for number, told in enumerate(given):
        reader = _Reader(table, number, told, errors)
        if rule := reader.rule():
            made.append(rule)
    _refuse_twice(given, errors)
    _refuse_missing(table, given, errors)
    if errors:
        raise RulesRefused(errors)
    return RuleSet(table, tuple(made))


def _targets(given: Iterable[Any]) -> Iterator[tuple[int, str]]:
    for number, told in enumerate(given):
        if isinstance(told, Mapping) and isinstance(target := told.get("target"), str):
            yield number, target


def _refuse_twice(given: list[Any], errors: dict[str, list[str]]) -> None:
    seen: dict[str, int] = {}
    for number, target in _targets(given):
        if target in seen:
            words = f"Rule {seen[target]} sets this field already: of two, one would be lost."
            errors.setdefault(f"rules.{number}.target", []).append(words)
        seen.setdefault(target, number)


def _refuse_missing(table: FieldTable, given: list[Any], errors: dict[str, list[str]]) -> None:
    named = {target for _number, target in _targets(given)}
    for field in table.settable:
        if field.is_required and field.name not in named:
            errors.setdefault("rules", []).append(f"The target requires {field.name}: add a rule for it.")
    if table.any_of and not named & set(table.any_of):
        errors.setdefault("rules", []).append(f"The target requires one of {', '.join(table.any_of)}: add a rule.")


class _Reader:
    """One rule of those that somebody saves."""

    def __init__(self, table: FieldTable, number: int, told: Any, errors: dict[str, list[str]]) -> None:
        self.table, self.number, self.told, self.errors = table, number, told, errors
        self.failed = False

    def refuse(self, part: str, why: str) -> None:
        self.failed = True
        self.errors.setdefault(".".join(filter(None, ("rules", str(self.number), part))), []).append(why)

    def rule(self) -> Rule | None:
        if not isinstance(self.told, Mapping):
            self.refuse("", f"A rule is an object of {', '.join(PARTS)}.")
            return None
        for name in self.told:
            if name not in PARTS:
                self.refuse(str(name)[:60], "There is no such field.")
        field = self.field()
        if field is None:
            return None
        expression = self.expression(field)
        default, lookup, is_required = self.default(field), self.lookup(field, expression), self.is_required(field)
        if expression and lookup is None and not self.failed:
            self.try_constant(field, expression)
        if self.failed or expression is None:
            return None
        return Rule(self.number, field, expression, default, is_required, lookup)

    def field(self) -> TargetField | None:
        target = self.told.get("target")
        field = self.table.fields.get(target) if isinstance(target, str) else None
        if field is None:
            names = ", ".join(one.name for one in self.table.settable)
            self.refuse("target", f"The target has no such field. It has {names}.")
        elif field.read_only:
            self.refuse("target", f"No rule can set this. {field.read_only}")
            return None
        return field

    def expression(self, field: TargetField) -> Expression | None:
        source = self.told.get("expression")
        if not isinstance(source, str):
            self.refuse("expression", "This is an expression, as a text.")
            return None
        scope: dict[str, Kind] = {"record": kind_of(KINDS[self.table.entity])}
        if field.is_line:
            scope["line"] = _EVERY_LINE
        try:
            found = compiled(source, scope)
        except Mistake as mistake:
            self.refuse("expression", str(mistake))
            return None
        if self.told.get("lookup") is not None:
            if not (found.kind.is_scalar or found.kind.name == "null"):
                self.refuse("expression", f"A lookup table needs one value to look up, and this gives {found.kind}.")
        elif why := field.refusal(found.kind):
            self.refuse("expression", why)
        return found

    def default(self, field: TargetField) -> Any:
        told = self.told.get("default")
        return None if told is None or told == "" else self.fixed(field, told, "default")

    def fixed(self, field: TargetField, told: Any, part: str) -> Any:
        if isinstance(told, str) and len(told) > MAX_VALUE:
            self.refuse(part, f"This is at most {MAX_VALUE:,} characters long.")
            return None
        try:
            return field.told(told)
        except Unmet as unmet:
            self.refuse(part, unmet.why)
            return None

    def lookup(self, field: TargetField, expression: Expression | None) -> dict[str, Any] | None:
        told = self.told.get("lookup")
        if told is None:
            return None
        if not isinstance(told, Mapping) or len(told) > MAX_LOOKUP:
            self.refuse(
                "lookup", f"This is an object of at most {MAX_LOOKUP:,} entries: what to look up, what to give."
            )
            return None
        found = {}
        for key, value in told.items():
            if len(key) > MAX_KEY:
                self.refuse("lookup", f"What is looked up has at most {MAX_KEY} characters: {key[:40]!r}….")
            found[key] = None if value in (None, "") else self.fixed(field, value, f"lookup.{key[:60]}")
        return found

    def is_required(self, field: TargetField) -> bool:
        told = self.told.get("required", False)
        if not isinstance(told, bool):
            self.refuse("required", "This is true or false.")
        if field.is_required and told is not True and self.told.get("default") in (None, ""):
            self.refuse("required", "The target requires this field: say true, or give a default.")
        return told is True

    def try_constant(self, field: TargetField, expression: Expression) -> None:
        """What is the same for every record is tried now."""
        if expression.names:
            return
        try:
            value = expression.value({})
            if not is_empty(value):
                field.shaped(value)
        except Unmet as unmet:
            self.refuse("expression", unmet.why)
