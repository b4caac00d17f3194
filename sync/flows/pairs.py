"""Between which providers records can go, and what may be chosen for each pair. A pair that is not here cannot be made."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from connections.errors import RequestError

# In the order in which they have to be written: what others refer to comes first.
ENTITIES = ("customers", "products", "orders", "refunds", "payments", "vendors", "bills")

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Option:
    """One thing that may be switched on or off for a flow."""

    name: str
    help: str
    default: bool = False


@dataclass(frozen=True, slots=True)
class Pair:
    """A source, a target, and what can go from one to the other."""

    source: str
    target: str
    entities: tuple[str, ...]
    options: tuple[Option, ...] = ()


_RAW = Option("keep_raw", "Keep each record as its source told it in the column `raw`. It may hold personal data.")
PAIRS: dict[tuple[str, str], Pair] = {
    (pair.source, pair.target): pair
    for pair in (Pair("woocommerce", "supabase", ("customers", "products", "orders", "refunds"), (_RAW,)),)
}


def pair_of(source: str, target: str) -> Pair | None:
    return PAIRS.get((source, target))


def in_order(entities: Iterable[str]) -> list[str]:
    """Each once, in the order in which they have to be written."""
    given = set(entities)
    return [entity for entity in ENTITIES if entity in given]


def options_of(pair: Pair, given: Mapping[str, Any] | None) -> Json:
    """All options of the pair with their values. Raises RequestError for what the pair does not offer."""
    known = {option.name: option for option in pair.options}
    wrong = {f"options.{name}": ["There is no such option."] for name in given or {} if name not in known}
    wrong |= {
        f"options.{name}": ["Give true or false."]
        for name, value in (given or {}).items()
        if name in known and not isinstance(value, bool)
    }
    if wrong:
        raise RequestError(fields=wrong)
    return {name: (given or {}).get(name, option.default) for name, option in known.items()}
