"""Records of every kind, and expressions and rules that are valid for them, as Hypothesis makes them."""

from dataclasses import fields
from datetime import UTC, date, datetime
from decimal import Decimal
from functools import cache
from typing import get_args, get_origin, get_type_hints

from hypothesis import strategies as st

from sync.canonical import KINDS, Address, Line
from sync.mapping import field_table
from sync.mapping.kinds import BOOLEAN, DAY, INSTANT, NUMBER, TEXT, Kind, kind_of, list_of

CHARS = st.characters(exclude_categories=["Cs"])
TEXTS = st.one_of(
    st.sampled_from(
        ["", "stripe", "WC-1234", "a:b\t\"c'", "ana@example.com", "no mail @", "x" * 600, "\x00\x01", "Zoë 🙂"]
    ),
    st.text(CHARS, max_size=12),
)
NUMBERS = st.one_of(
    st.sampled_from(
        [Decimal(text) for text in ("0", "-0.00", "1", "19.99", "0.005", "1E+30", "-7.125000", "1e-9", "1e300")]
    ),
    st.decimals(allow_nan=False, allow_infinity=False, places=2, min_value=-10_000, max_value=10_000),
)
_PLAIN = {
    str: TEXTS,
    bool: st.booleans(),
    Decimal: NUMBERS,
    date: st.dates(),
    datetime: st.datetimes(timezones=st.just(UTC)),
}


_TIDY = _PLAIN | {
    str: st.text(st.characters(categories=["L", "N", "Zs"]), max_size=12),
    Decimal: st.decimals(allow_nan=False, allow_infinity=False, places=2, min_value=-10_000, max_value=10_000),
}


@cache
def made(kind: type, *, is_tidy: bool = False):
    """is_tidy: of nothing that a store could not keep."""
    hints = get_type_hints(kind)
    return st.builds(kind, **{one.name: _of(hints[one.name], is_tidy) for one in fields(kind)})


def _of(hint, is_tidy):
    origin, inner = get_origin(hint), get_args(hint)
    if type(None) in inner:
        return st.none() | _of(inner[0], is_tidy)
    if origin is tuple:
        return (
            st.lists(_of(inner[0], is_tidy), max_size=3).map(tuple)
            if inner[-1] is ...
            else st.tuples(*[_of(one, is_tidy) for one in inner])
        )
    if isinstance(inner, tuple) and inner and isinstance(inner[0], str):
        return st.sampled_from(inner)
    return (_TIDY if is_tidy else _PLAIN)[hint] if hint in _PLAIN else made(hint, is_tidy=is_tidy)


def records(entity: str, *, is_tidy: bool = False):
    return made(KINDS[entity], is_tidy=is_tidy)


# --- expressions ---
ADDRESS = kind_of(Address)
_LITERALS = {
    TEXT: st.sampled_from(
        ["''", "'TAX'", "'Service'", '"35"', "'ana@example.com'", "'" + "y" * 120 + "'", "'\\u0000'", "null"]
    ),
    NUMBER: st.sampled_from(["0", "1", "2.50", "3", "1000000", "null"]),
    BOOLEAN: st.sampled_from(["true", "false"]),
    DAY: st.sampled_from(["day('2026-05-12')", "null"]),
    INSTANT: st.sampled_from(["instant(day('2026-05-12'))", "null"]),
}
_TEMPLATES = {
    TEXT: [
        ("({} + {})", TEXT, TEXT), ("cut({}, 21)", TEXT), ("{}.oneLine()", TEXT), ("string({})", NUMBER), ("string({})", DAY),
        ("({} ? {} : {})", BOOLEAN, TEXT, TEXT), ("first({}, {})", TEXT, TEXT), ("{}.replace({}, {})", TEXT, TEXT, TEXT),
        ("{}.substring({})", TEXT, NUMBER), ("{}.last({})", TEXT, NUMBER), ("{}.upperAscii().trim()", TEXT),
        ("{}.split({}).join('+')", TEXT, TEXT), ("string({})", INSTANT), ("string({})", BOOLEAN), ("{}.split(',')[{}]", TEXT, NUMBER),
    ],
    NUMBER: [
        ("({} + {})", NUMBER, NUMBER), ("({} - {})", NUMBER, NUMBER), ("({} * {})", NUMBER, NUMBER), ("({} / {})", NUMBER, NUMBER),
        ("({} % {})", NUMBER, NUMBER), ("-{}", NUMBER), ("round({}, 2)", NUMBER), ("round({}, {})", NUMBER, NUMBER),
        ("divide({}, {}, 2)", NUMBER, NUMBER), ("size({})", TEXT), ("number({})", TEXT), ("least({}, {})", NUMBER, NUMBER),
        ("sum([{}, {}])", NUMBER, NUMBER), ("abs({})", NUMBER),
    ],
    BOOLEAN: [
        ("!{}", BOOLEAN), ("({} && {})", BOOLEAN, BOOLEAN), ("({} || {})", BOOLEAN, BOOLEAN), ("{} == {}", TEXT, TEXT),
        ("({} < {})", NUMBER, NUMBER), ("has({})", NUMBER), ("isEmail({})", TEXT), ("({} >= {})", DAY, DAY), ("({} in [{}, 'x'])", TEXT, TEXT),
        ("{}.contains({})", TEXT, TEXT), ("({} != null)", INSTANT),
    ],
    DAY: [("day({}, 'America/Edmonton')", INSTANT), ("addDays({}, {})", DAY, NUMBER), ("day({})", TEXT), ("first({}, {})", DAY, DAY)],
    INSTANT: [("instant({})", DAY), ("({} ? {} : {})", BOOLEAN, INSTANT, INSTANT)],
}  # fmt: skip


def paths(kind: Kind, wanted: Kind, prefix: str) -> list[str]:
    """The names below `prefix` that lead to something of this kind."""
    found = []
    for name, below in kind.fields.items():
        if below == wanted:
            found.append(f"{prefix}.{name}")
        if below.is_structure:
            found += paths(below, wanted, f"{prefix}.{name}")
        if below == list_of(kind_of(Line)) and wanted in (NUMBER, BOOLEAN, TEXT):
            found.append(
                {
                    NUMBER: f"sum({prefix}.{name}.map(one, one.total))",
                    BOOLEAN: f"{prefix}.{name}.exists(one, one.taxes.all(tax, tax.total != 0))",
                    TEXT: f"{prefix}.{name}.filter(one, one.sku != '').map(one, one.sku).join(',')",
                }[wanted]
            )
    return found


def expressions(entity: str, wanted: Kind, *, is_line: bool, depth: int = 3):
    leaves = paths(kind_of(KINDS[entity]), wanted, "record") + (paths(kind_of(Line), wanted, "line") if is_line else [])
    leaf = st.one_of(
        [one for one in (_LITERALS.get(wanted), st.sampled_from(leaves) if leaves else None) if one is not None]
    )
    if not depth or wanted not in _TEMPLATES:
        return leaf
    return st.one_of(
        leaf, leaf, st.sampled_from(_TEMPLATES[wanted]).flatmap(lambda one: _filled(one, entity, is_line, depth))
    )


def _filled(template, entity: str, is_line: bool, depth: int):
    text, *parts = template
    inner = [expressions(entity, part, is_line=is_line, depth=depth - 1) for part in parts]
    return st.tuples(*inner).map(lambda found: text.format(*found))


_KINDS = {"text": TEXT, "number": NUMBER, "boolean": BOOLEAN, "day": DAY, "instant": INSTANT, "address": ADDRESS}
_FIXED = {"text": ["stripe", "TAX", "a@b.example", "9"], "number": ["1.50", "0"], "boolean": [True], "day": ["2026-05-12"], "instant": ["2026-05-12T00:00:00Z"]}  # fmt: skip


@st.composite
def rules(draw, target: str, entity: str):
    """One rule for each of some fields; now and then one that is refused, since its constants do not fit the field."""
    table = field_table(target, entity)
    wanted = draw(st.lists(st.sampled_from(table.settable), unique_by=lambda field: field.name, max_size=4))
    wanted += [field for field in table.settable if field.is_required and field not in wanted]
    if table.any_of and not any(field.name in table.any_of for field in wanted):
        wanted.append(table.fields[table.any_of[0]])
    return [draw(_rule(entity, field)) for field in wanted]


@st.composite
def _rule(draw, entity: str, field):
    fixed = list(field.choices) or _FIXED.get(field.takes, [])
    is_looked_up = bool(fixed) and draw(st.integers(0, 3)) == 0
    kind = TEXT if is_looked_up or field.takes == "any" else _KINDS[field.takes]
    if field.takes == "any" and not is_looked_up:
        kind = draw(st.sampled_from([TEXT, NUMBER, ADDRESS, INSTANT]))
    source = draw(expressions(entity, kind, is_line=field.is_line))
    return {
        "target": field.name,
        "expression": source,
        "default": draw(st.sampled_from([None, *fixed])),
        "required": field.is_required or draw(st.booleans()),
        "lookup": draw(st.dictionaries(TEXTS | st.just("*"), st.sampled_from([None, *fixed]), max_size=3))
        if is_looked_up
        else None,
    }
