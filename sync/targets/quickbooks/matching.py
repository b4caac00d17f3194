"""Which of the rows that a look-up found is the one that is meant: one and only one, or nobody."""

from collections.abc import Iterable, Mapping
from typing import Any

from sync.targets.quickbooks.books import Books
from sync.targets.quickbooks.outcome import Held, Match, Need


def matched(need: Need, step: Match, rows: Iterable[Mapping[str, Any]], books: Books) -> str | Held | None:
    """The Id of the only row that fits; None where none does; Held where several do: which one it is, a person knows.

    rows: of a query for step.field = step.value, inactive ones included or not. A customer of another currency is another.
    """
    fitting = [row for row in rows if _fits(need, step, row, books)]
    if not fitting:
        return None
    if len(fitting) == 1:
        return str(fitting[0]["Id"])
    ids = ", ".join(sorted(str(row.get("Id")) for row in fitting))
    return Held(
        "match_ambiguous",
        f"QuickBooks has several active records of kind {step.kind} with the {step.field} “{step.value}”: {ids}.",
        "Link one of them by hand, or make the others inactive in QuickBooks.",
    )


def _fits(need: Need, step: Match, row: Mapping[str, Any], books: Books) -> bool:
    if row.get("Active") is False or _told(row.get(step.field)) != _folded(step.value):
        return False
    if step.kind == "Item":
        return row.get("Type") not in ("Category", "Group")
    currency = row.get("CurrencyRef") or {}
    wanted = need.source_id.rpartition("@")[2] if _has_currency(need) else books.home_currency
    return str(currency.get("value") or books.home_currency) == wanted


def _has_currency(need: Need) -> bool:
    values = need.create.values if need.create else {}
    wanted = (values.get("CurrencyRef") or {}).get("value", "")
    return bool(wanted) and need.source_id.endswith(f"@{wanted}")


def _told(value: Any) -> str:
    return _folded(str(value.get("Address") or "") if isinstance(value, Mapping) else str(value or ""))


def _folded(text: str) -> str:
    """QuickBooks compares names and addresses without regard to case."""
    return text.strip().casefold()
