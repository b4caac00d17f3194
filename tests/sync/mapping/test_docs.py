"""The pages on mappings: their tables are complete, and what they show works as they say."""

import json
import re
from pathlib import Path

import pytest
from django.conf import settings

from sync.canonical import KINDS, Address, Application, Discount, Line, LineTax, TaxLine, from_json
from sync.mapping import field_table, rule_set
from sync.mapping.expressions import compiled
from sync.mapping.functions import FUNCTIONS, string
from sync.mapping.kinds import Kind, kind_of

DOCS = Path(settings.BASE_DIR) / "docs"
HOW_TO = (DOCS / "how-to" / "map-fields.md").read_text() if (DOCS / "how-to" / "map-fields.md").exists() else ""
PARTS = {
    "address": Address,
    "line": Line,
    "linetax": LineTax,
    "taxline": TaxLine,
    "discount": Discount,
    "application": Application,
}
RECORD = json.loads(found[1]) if (found := re.search(r"```json record\n(.*?)```", HOW_TO, re.DOTALL)) else {}


def function_rows() -> list[str]:
    return [
        f"| `{one.signature}` | {one.gives if one.gives != 'same' else 'the same'} | {one.help} | `{one.example[0]}` → `{one.example[1]}` |"
        for one in FUNCTIONS
    ]


def field_rows() -> list[str]:
    common = {"source_id", "created_at", "modified_at"}
    rows = [_row(entity, kind_of(kind), common) for entity, kind in KINDS.items()]
    return rows + [_row(f"*{name}*", kind_of(kind), set()) for name, kind in PARTS.items()]


def _row(name: str, kind: Kind, without: set[str]) -> str:
    told = ", ".join(f"`{field}` {_shown(of)}" for field, of in kind.fields.items() if field not in without)
    return f"| {name} | {told} |"


def _shown(kind: Kind) -> str:
    return f"(list of {kind.item.name}s)" if kind.item else f"({kind.name})"


@pytest.mark.parametrize("row", [*function_rows(), *field_rows()], ids=lambda row: row[:30])
def test_every_function_and_field_is_in_the_reference_as_it_is(row):
    assert row in (DOCS / "reference" / "expressions.md").read_text().splitlines()


@pytest.mark.parametrize("source, result", re.findall(r"^\| `([^`]+)` \| `([^`]*)` \|", HOW_TO, re.MULTILINE))
def test_an_example_of_the_how_to_gives_what_it_says(source, result):
    record = from_json({"entity": "orders", **RECORD})
    scope = {"record": kind_of(type(record)), "line": kind_of(Line)}
    told = compiled(source.replace("\\|", "|"), scope).value({"record": record, "line": record.lines[0]})
    assert ("" if told is None else string(told)) == result


@pytest.mark.parametrize("target, told", re.findall(r"```json (supabase|quickbooks)\n(.*?)```", HOW_TO, re.DOTALL))
def test_rules_of_the_how_to_can_be_saved_and_fit_its_record(target, told):
    rules = rule_set(field_table(target, "orders"), json.loads(told))
    assert rules.mapped(from_json({"entity": "orders", **RECORD})).failures == ()


def test_the_how_to_has_examples_of_both():
    assert len(re.findall(r"^\| `([^`]+)` \| `([^`]*)` \|", HOW_TO, re.MULTILINE)) >= 8
    assert {target for target, _told in re.findall(r"```json (supabase|quickbooks)\n(.*?)```", HOW_TO, re.DOTALL)} == {
        "supabase",
        "quickbooks",
    }
