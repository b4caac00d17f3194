"""docs/reference/canonical-records.md names everything that a record has."""

import re
from dataclasses import fields
from pathlib import Path
from typing import get_args

import pytest

from sync.canonical import KINDS, Address, Application, Discount, Line, LineKind, LineTax, TaxLine

PAGE = (Path(__file__).resolve().parents[3] / "docs" / "reference" / "canonical-records.md").read_text()
NAMED = set(re.findall(r"`([a-z_0-9]+)`", PAGE)) | {f"line{number}" for number in range(1, 6)}


@pytest.mark.parametrize("kind", [*KINDS.values(), Address, Application, Discount, Line, LineTax, TaxLine])
def test_every_field_is_explained(kind):
    assert [one.name for one in fields(kind) if one.name not in NAMED] == []


def test_every_kind_of_record_and_of_line_is_explained():
    assert all(re.search(rf"^## .*\b{entity}\b", PAGE, re.MULTILINE) for entity in KINDS)
    assert set(get_args(LineKind)) <= NAMED
