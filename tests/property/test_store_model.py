"""Whatever is written into a store, in whatever batches and however it is cut short: it has what the model has, and what
was told of every record is true."""

from collections import Counter
from dataclasses import dataclass, field, replace
from datetime import datetime
from decimal import Context, Decimal
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from connections.errors import TemporaryError
from connections.providers.base import Access, TargetRecord
from connections.providers.supabase.writing import Writing
from tests.connections.providers.supabase.conftest import Project, changed_at, customer

WIDE = Context(prec=900)
LONGEST = 20  # a constraint of the owner's own
FEW = ("1", "a,b", 'q"uote')
KEYS = (
    "1",
    "2",
    "10",
    "a,b",
    'q"uote',
    "back\\slash",
    "(x)",
    "é",
    "😀",
    " ",
    "%2C",
    "+1",
    "eq.1",
    "null",
    "*",
    "a&b=c",
    "",
)
NAMES = (
    st.sampled_from(["Ada", "Bob"])
    | st.text(max_size=6)
    | st.sampled_from(
        ["x" * (LONGEST + 1), "a\x00b", "\ud800", "\\u0000", "'; drop table customers", "\r\n\t", "NULL", "\u202e", "ﷺ"]
    )
)
MONEY = (
    st.sampled_from(
        [
            "0",
            "-0.0",
            "0.30",
            "-0.0001",
            "99999999999999.9999",
            "1e14",
            "-1E+20",
            "0.00001",
            "1E-30",
            "NaN",
            "-Infinity",
            "1e9999",
        ]
    ).map(Decimal)
    | st.decimals(-(10**12), 10**12, places=4)
    | st.just(Decimal("1.50"))
)
CURRENCIES = st.sampled_from([None, None, "CAD", "CAD", "CAD", "EURO", ""])
RAW = st.none() | st.recursive(
    st.none()
    | st.booleans()
    | st.text(max_size=3)
    | st.integers()
    | st.decimals(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=2), inner, max_size=2),
    max_leaves=4,
)
FAULTS = st.sampled_from([""] * 6 + ["commit_then_drop", "reset", "busy", "away"])


@st.composite
def records(draw: Any) -> TargetRecord:
    made = customer(
        draw(st.sampled_from(FEW) | st.sampled_from(KEYS)),
        name=draw(NAMES),
        source_modified_at=draw(st.none() | st.integers(0, 3).map(changed_at)),
        balance=draw(MONEY),
        currency=draw(CURRENCIES),
        raw=draw(RAW),
    )
    operation = draw(st.sampled_from(["upsert"] * 5 + ["void", "delete"]))
    return replace(made, entity="vendors", operation=operation)


@dataclass
class Kept:
    """A row as it has to be."""

    values: dict[str, Any]
    modified_at: datetime | None
    is_gone: bool = False


@dataclass
class Model:
    """What a store has to have, worked out the simple way."""

    rows: dict[str, Kept] = field(default_factory=dict)

    def take(self, batch: list[TargetRecord]) -> dict[str, set[str]]:
        """What may be told of each key; the last record of a key is the one that counts."""
        last = {record.key: record for record in batch}
        return {key: self._take(key, record) for key, record in last.items()}

    def _take(self, key: str, record: TargetRecord) -> set[str]:
        now, values = self.rows.get(key), comparable(record)
        if not key or is_unkeepable(record.values):
            return {"failed"}
        later = record.values["source_modified_at"]
        is_stale = bool(now and now.modified_at and later and now.modified_at > later)
        if record.operation == "upsert":
            if is_refused(record.values):
                return {"failed", "stale"} if is_stale else {"failed"}
            if now and not now.is_gone and now.values == values:
                return {"unchanged"}
            if is_stale:
                return {"stale"}
            self.rows[key] = Kept(values, later)
            return {"updated" if now else "created"}
        if now is None or (record.operation == "void" and now.is_gone):
            return {"unchanged"}
        if is_stale:
            return {"stale"}
        if record.operation == "void":
            now.is_gone = True
        else:
            del self.rows[key]
        return {"removed"}


def is_unkeepable(values: dict[str, Any]) -> bool:
    """What no database could keep as it is."""
    balance = values["balance"]
    is_exact = (
        balance.is_finite()
        and abs(balance.adjusted()) <= 400
        and balance == balance.quantize(Decimal("0.0001"), context=WIDE)
    )
    return not is_exact or has_broken(values["name"]) or has_broken(values["raw"])


def has_broken(value: Any) -> bool:
    if isinstance(value, dict):
        return any(has_broken(key) or has_broken(inner) for key, inner in value.items())
    if isinstance(value, list):
        return any(map(has_broken, value))
    if isinstance(value, Decimal | int) and not isinstance(value, bool):
        return bool(value) and abs(Decimal(value).adjusted()) > 400
    return isinstance(value, str) and ("\x00" in value or any("\ud800" <= letter <= "\udfff" for letter in value))


def is_refused(values: dict[str, Any]) -> bool:
    """What the database itself says no to: the owner's constraint, and the columns' bounds."""
    return len(values["name"]) > LONGEST or abs(values["balance"]) >= 10**14 or values["currency"] == "EURO"


def comparable(record: TargetRecord) -> dict[str, Any]:
    """raw is compared by what it says: 1.0 and 1.00 are written differently."""
    given = record.values
    return {
        "name": given["name"],
        "balance": given["balance"],
        "currency": given["currency"],
        "raw": shown(given["raw"]),
    }


def shown(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: shown(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [shown(inner) for inner in value]
    return format(Decimal(value), "f") if isinstance(value, Decimal | int) and not isinstance(value, bool) else value


def arm(project: Project, kind: str, fault: str) -> None:
    path = "*" if kind == "rest" else "postgres"
    if fault in ("busy", "away"):
        code, status = ("57014", 500) if fault == "busy" else ("57P03", 503)
        project.supabase.fault("error", path=path, code=code, status=status, message="not now")
    elif fault:
        project.supabase.fault(fault, path=path)


def written(project: Project, access: Access, batch: list[TargetRecord]) -> dict[str, set[str]]:
    told: dict[str, set[str]] = {}
    answers = list(Writing(project.tables).upsert(access, "vendors", batch, idempotency_key="key"))
    assert Counter(one.key for one in answers) == Counter(record.key for record in batch)
    assert all((one.error is not None) == (one.outcome == "failed") for one in answers)
    for one in answers:
        told.setdefault(one.key, set()).add(one.outcome)
    return told


def check(project: Project, model: Model) -> None:
    rows = project.supabase.sql(
        "SELECT source_id, name, balance::text, currency, deleted_at IS NOT NULL AS is_gone, source_modified_at::text FROM vendors"
    )
    found = {row["source_id"]: row for row in rows}
    assert set(found) == set(model.rows)
    for key, kept in model.rows.items():
        row = found[key]
        assert (row["name"], Decimal(row["balance"])) == (kept.values["name"], kept.values["balance"])
        assert (row["currency"] or "").strip() == (kept.values["currency"] or "")
        assert row["is_gone"] == kept.is_gone
        at = row["source_modified_at"]
        assert (datetime.fromisoformat(at) if at else None) == kept.modified_at


@pytest.mark.parametrize("is_long", [False, pytest.param(True, marks=pytest.mark.long)])
def test_any_batches_end_in_the_models_rows_and_every_verdict_is_true(project, kind, is_long):
    project.supabase.sql(f"ALTER TABLE vendors ADD CHECK (length(name) <= {LONGEST})")
    project.supabase.set(max_rows=3)
    access, seen = project.access(kind), Counter[str]()

    @hypothesis_settings(
        max_examples=300 if is_long else 20,
        deadline=None,
        database=None,
        derandomize=not is_long,
        phases=[Phase.generate, Phase.shrink] if is_long else [Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(st.lists(st.tuples(st.lists(records(), min_size=2, max_size=14), FAULTS), min_size=2, max_size=4))
    def run(batches: list[tuple[list[TargetRecord], str]]) -> None:
        project.supabase.sql("TRUNCATE vendors")
        model = Model()
        for batch, fault in batches:
            expected, was_cut = model.take(batch), False
            arm(project, kind, fault)
            try:
                told = written(project, access, batch)
            except TemporaryError:
                was_cut = True
                project.supabase.control("faults", "DELETE")
                told = written(project, access, batch)
                seen["cut short"] += 1
            project.supabase.control("faults", "DELETE")
            for key, outcomes in told.items():
                allowed = expected[key] | ({"unchanged"} if was_cut and "failed" not in expected[key] else set())
                assert outcomes <= allowed, (key, outcomes, allowed)
                seen.update(outcomes)
            check(project, model)

    run()
    lacking = {"created", "updated", "unchanged", "stale", "removed", "failed", "cut short"} - set(seen)
    assert not lacking, seen
