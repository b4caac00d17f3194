"""Any mapping that can be saved, over any record: what comes out is what the target takes, or a failure with a name."""

from dataclasses import replace
from decimal import Decimal
from uuid import UUID

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from connections.errors import RejectedRecord
from connections.providers.base import TargetRecord
from connections.providers.quickbooks.entities import ENTITIES as BOOKS
from connections.providers.quickbooks.entities import FLOW_ENTITIES
from connections.providers.quickbooks.validation import prepared
from connections.providers.supabase.contract import DEFAULTS as STORES
from connections.providers.supabase.records import row_of
from sync.canonical import KINDS, Document, Line
from sync.mapping import (
    DEFAULTS,
    ENTITIES,
    TARGETS,
    Mistake,
    RulesRefused,
    Unmet,
    applied,
    default_rules,
    field_table,
    rule_set,
)
from sync.mapping.expressions import compiled
from sync.mapping.kinds import SCALARS, kind_of
from sync.mapping.rules import PARTS
from sync.targets import supabase
from tests.sync.mapping.strategies import CHARS, expressions, made, paths, records, rules

CODES = {"expression_failed", "value_refused", "lookup_missing", "required"}
SETTINGS = {"deadline": None, "database": None, "suppress_health_check": list(HealthCheck)}


def attempted(expected, work, *given):
    """What it gives, and the one error that it may raise instead."""
    try:
        return work(*given), None
    except expected as error:
        return None, error


@st.composite
def cases(draw):
    target, entity = draw(st.sampled_from(TARGETS)), draw(st.sampled_from(ENTITIES))
    return target, entity, draw(rules(target, entity)), draw(records(entity))


def prove(case) -> None:
    target, entity, given_rules, record = case
    ruled, refused = attempted(RulesRefused, rule_set, field_table(target, entity), given_rules)
    if refused:
        assert refused.errors
        assert all(path.startswith("rules") and all(why) for path, why in refused.errors.items())
        return
    for document in FLOW_ENTITIES[entity] if target == "quickbooks" else ("",):
        mapped = ruled.mapped(record, document=document)
        assert {failure.code for failure in mapped.failures} <= CODES
        assert all(failure.detail and failure.path.startswith("rules") for failure in mapped.failures)
        if mapped.failures:
            with pytest.raises(RejectedRecord):
                mapped.refuse_failures()
            continue
        mapped.refuse_failures()
        accepted(target, entity, document, mapped, record)


def accepted(target, entity, document, mapped, record) -> None:
    """By the target's own validator, over what its transformer would bring for such a record."""
    number = len(record.lines) if isinstance(record, Document) else 0
    if target == "supabase":
        lines = (
            {"lines": [{"line_id": line.line_id.replace("\x00", "") or "x"} for line in record.lines]}
            if STORES[entity].lines
            else {}
        )
        values = {"connection_id": UUID(int=7), "source_system": "woocommerce", **lines}
        row_of(STORES[entity], TargetRecord(entity, "7", applied(values, mapped)))
    else:
        ids = ["", *(line.line_id for line in record.lines)] if number else []
        prepared(BOOKS[document], applied(_of_books(document, number), mapped, line_ids=ids), "create")


def _of_books(document: str, lines: int):
    """What the transformer brings whatever the rules say: money, lines, and what leads to other records."""
    needed = {field.name for field in BOOKS[document].fields if field.presence == "required"}
    brought = {name: {"value": "5"} for name in ("CustomerRef", "VendorRef", "DepositToAccountRef") if name in needed}
    if document == "Item":
        brought |= {"IncomeAccountRef": {"value": "79"}, "Name": "Shirt", "Type": "Service"}
    if BOOKS[document].any_of:
        brought["DisplayName"] = "Ana"
    if document == "Payment":
        brought["TotalAmt"] = Decimal("9.50")
    elif "Line" in needed:
        kind = BOOKS[document].line_kinds[0]
        detail = {"ItemRef": {"value": "21"}, "AccountRef": {"value": "7"}}
        brought["Line"] = [{"Amount": Decimal(1), "DetailType": kind, kind: detail} for _line in range(lines + 1)]
    return brought


@settings(max_examples=200, derandomize=True, **SETTINGS)
@given(cases())
def test_any_mapping_over_any_record_gives_what_the_target_takes_or_a_named_failure(case):
    prove(case)


@pytest.mark.long
@settings(max_examples=10_000, **SETTINGS)
@given(cases())
def test_ten_thousand_mappings_over_records_give_what_the_target_takes_or_a_named_failure(case):
    prove(case)


@settings(max_examples=60, derandomize=True, **SETTINGS)
@given(st.data())
def test_the_shipped_rules_give_what_the_target_takes_of_any_record(data):
    target, entity, region = data.draw(st.sampled_from(sorted(DEFAULTS)))
    prove((target, entity, default_rules(target, entity, region), data.draw(records(entity))))


@settings(max_examples=60, derandomize=True, **SETTINGS)
@given(st.data())
def test_the_shipped_rules_of_a_store_say_what_its_columns_hold_without_them(data):
    """But a currency that is none of three letters: the column holds no other."""
    entity = data.draw(st.sampled_from(ENTITIES))
    record = replace(data.draw(records(entity, is_tidy=True)), source_id="7")
    record = replace(record, currency="CAD") if hasattr(record, "currency") else record
    mapped = rule_set(field_table("supabase", entity), default_rules("supabase", entity)).mapped(record)
    target = supabase.target_record(record, connection_id=UUID(int=7), source_system="woocommerce")
    assert mapped.failures == ()
    assert applied(target.values, mapped) == target.values


@settings(max_examples=150, derandomize=True, **SETTINGS)
@given(st.data())
def test_any_text_is_an_expression_or_a_mistake_and_nothing_else(data):
    """Also what is nearly right: valid expressions with something cut out or put in."""
    source = data.draw(expressions("orders", data.draw(st.sampled_from(SCALARS)), is_line=True))
    if data.draw(st.booleans()):
        start, end = sorted(data.draw(st.tuples(*[st.integers(0, len(source))] * 2)))
        other = data.draw(st.text(CHARS | st.sampled_from("()[].'\"+-*/%<>=!&|?:,x1 "), max_size=4))
        source = source[:start] + other + source[end:]
    scope = {"record": kind_of(KINDS["orders"]), "line": kind_of(Line)}
    found, mistake = attempted(Mistake, compiled, source, scope)
    if mistake:
        assert mistake.why
        return
    names = {"record": data.draw(records("orders")), "line": data.draw(made(Line))}
    _value, unmet = attempted(Unmet, found.value, names)
    assert unmet is None or unmet.why


@settings(max_examples=100, derandomize=True, **SETTINGS)
@given(
    st.recursive(
        st.none()
        | st.booleans()
        | st.integers()
        | st.text(max_size=5)
        | st.sampled_from(["memo", "lines.sku", "record.memo"]),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(st.sampled_from(PARTS) | st.text(max_size=3), inner, max_size=5)
        ),
    )
)
def test_anything_in_json_is_rules_or_is_refused_by_path(told):
    _made, refused = attempted(RulesRefused, rule_set, field_table("supabase", "orders"), told)
    assert refused is None or all(path.startswith("rules") for path in refused.errors)


def test_the_generated_rules_look_at_every_part_of_a_record():
    found = paths(kind_of(KINDS["orders"]), kind_of(Line).fields["sku"], "record")
    assert {"record.memo", "record.billing.city"} <= set(found)
