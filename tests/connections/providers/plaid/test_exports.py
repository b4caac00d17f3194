"""Another system's export: its rows, and what is said of those that are none. No database."""

import io
import json
import tracemalloc
from collections.abc import Iterator

import pytest

from connections.providers.plaid.exports import BadRow, ExportedAccount, ExportedItem, exported_items

TOKEN = "access-sandbox-00000000-0000-0000-0000-000000000001"
WHO = {"workspace": "acme", "owner": "alice"}


def read(text: str, form: str = "csv", **defaults: str) -> list[ExportedItem | BadRow]:
    return list(exported_items(io.StringIO(text, newline=""), form=form, defaults=WHO | defaults))


def errors(text: str, form: str = "csv", **defaults: str) -> list[tuple[int, str]]:
    found = read(text, form, **defaults)
    return [(row.line, error) for row in found if isinstance(row, BadRow) for error in row.errors]


def test_a_csv_row_has_every_field():
    text = (
        "access_token,item_id,workspace,owner,environment,institution_id,institution_name,cursor,accounts,reference\r\n"
        f'{TOKEN},item1,globex,bob,sandbox,ins_1,"Bank, of ""Us""",Y3Vyc29y=,acc1|Checking|7;acc2;acc3|Savings,42\r\n'
    )
    assert read(text) == [
        ExportedItem(
            line=2,
            access_token=TOKEN,
            environment="sandbox",
            workspace="globex",
            owner="bob",
            item_id="item1",
            institution_id="ins_1",
            institution_name='Bank, of "Us"',
            cursor="Y3Vyc29y=",
            reference="42",
            accounts=(
                ExportedAccount("acc1", "Checking", "7"),
                ExportedAccount("acc2"),
                ExportedAccount("acc3", "Savings"),
            ),
        )
    ]


def test_json_says_the_same():
    given = {
        "access_token": TOKEN,
        "item_id": "item1",
        "cursor": None,
        "accounts": ["acc1", {"account_id": "acc2", "name": "Savings; main", "reference": "8"}],
    }
    (row,) = read(json.dumps([given], indent=1), "json")
    assert row == ExportedItem(
        line=2,
        access_token=TOKEN,
        environment="sandbox",
        item_id="item1",
        accounts=(ExportedAccount("acc1"), ExportedAccount("acc2", "Savings; main", "8")),
        **WHO,
    )


def test_what_a_row_does_not_say_is_the_files():
    (row,) = read(f"\ufeffaccess_token\n{TOKEN}\n", environment="sandbox")
    assert (row.workspace, row.owner, row.environment, row.accounts) == ("acme", "alice", "sandbox", None)


def test_the_token_is_not_in_what_is_shown_of_a_row():
    (row,) = read(f"access_token\n{TOKEN}\n")
    assert TOKEN not in repr(row)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", [(1, "the file is empty")]),
        ("access_token,colour\n", [(1, "column 2 (colour) of the header is none of")]),
        (f"{TOKEN},item1\n", [(1, "column 1 of the header is none of")]),
        ("access_token,item_id,item_id\n", [(1, "the header names item_id twice")]),
        ("item_id\nitem1\n", [(1, "the header names no access_token")]),
        ("access_token,item_id\n,item1\n", [(2, "access_token: is missing")]),
        ("access_token\nsecret\n", [(2, "access_token: does not look like")]),
        ("access_token\naccess-development-1-2\n", [(2, "access_token: is of Plaid's Development environment")]),
        (f"access_token,environment\n{TOKEN},production\n", [(2, "environment: is not the token's")]),
        (f"access_token,workspace\n{TOKEN},Not A Slug\n", [(2, "workspace: has characters")]),
        (f"access_token,item_id\n{TOKEN}\n", [(2, "the row has 1 cells, and the header 2")]),
        (f"access_token,item_id\n{TOKEN},{'x' * 129}\n", [(2, "item_id: is longer than 128")]),
        (f"access_token,reference\n{TOKEN},{TOKEN}\n", [(2, "reference: holds a token")]),
        (f"access_token,cursor\n{TOKEN},{TOKEN}\n", [(2, "cursor: holds a token")]),
        (f"access_token,cursor\n{TOKEN},now\n", [(2, "cursor: is no position")]),
        (f"access_token,owner\n{TOKEN},al\0ice\n", [(2, "owner: has characters that are not")]),
        (f"access_token,owner\n{TOKEN},al\udc80ice\n", [(2, "owner: has characters that are not UTF-8")]),
        (f"access_token,accounts\n{TOKEN},a1;a1\n", [(2, "accounts: names one account twice")]),
        (f"access_token,accounts\n{TOKEN},a1;;a2\n", [(2, "accounts[2].account_id: is missing")]),
        (f"access_token,accounts\n{TOKEN},a|b|c|d\n", [(2, "accounts[1].account_id: is missing")]),
        (f'access_token,item_id\n{TOKEN},"open\n{TOKEN},b\n', [(2, "nothing of line 2 to 3 was read")]),
    ],
)
def test_csv_that_is_wrong_is_named_with_its_line(text, expected):
    found = errors(text)
    assert [line for line, _ in found] == [line for line, _ in expected]
    for (_, said), (_, meant) in zip(found, expected, strict=True):
        assert meant in said
        assert TOKEN not in said


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", [(1, "no JSON list")]),
        ("{}", [(1, "no JSON list")]),
        ("[1]", [(1, "not an object")]),
        ('[{"access_token": 5}]', [(1, "access_token: has to be text"), (1, "access_token: is missing")]),
        ('[\n{"access_token": "x"}\n,\n{"oops]', [(2, "does not look"), (4, "cut off")]),
        (f'[{{"access_token": "{TOKEN}"}}', [(1, "the list does not end")]),
        (f'[{{"access_token": "{TOKEN}"}},', [(1, "the list does not end")]),
        (f'[{{"access_token": "{TOKEN}"}}] x', [(1, "there is more after the list")]),
        (f'[{{"access_token": "{TOKEN}", "{TOKEN}": ""}}]', [(1, "a field: is not known here")]),
        (f'[{{"access_token": "a", "access_token": "{TOKEN}"}}]', [(1, "has a field twice")]),
        (f'[{{"access_token": "{TOKEN}", "accounts": "a"}}]', [(1, "accounts: has to be a list")]),
        (
            f'[{{"access_token": "{TOKEN}", "accounts": [{{"id": "a"}}]}}]',
            [(1, "account_id: is missing"), (1, "id: is not")],
        ),
        ("[" * 100_000, [(1, "too deep")]),
    ],
)
def test_json_that_is_wrong_is_named_with_its_line(text, expected):
    found = errors(text, "json")
    assert [line for line, _ in found] == [line for line, _ in expected]
    for (_, said), (_, meant) in zip(found, expected, strict=True):
        assert meant in said
        assert TOKEN not in said


def test_rows_around_a_bad_one_are_read():
    found = read(f"access_token\n{TOKEN}\nnonsense\n\n{TOKEN}2\n")
    assert [(type(row).__name__, row.line) for row in found] == [
        ("ExportedItem", 2),
        ("BadRow", 3),
        ("ExportedItem", 5),
    ]


class Endless(io.TextIOBase):
    """A file that is made while it is read."""

    def __init__(self, parts: Iterator[str]) -> None:
        self._parts, self._left = parts, ""

    def readline(self, size: int = -1) -> str:
        return next(self._parts, "")

    def read(self, size: int = -1) -> str:
        return next(self._parts, "")


@pytest.mark.parametrize("form", ["csv", "json"])
def test_a_hundred_thousand_rows_need_no_more_memory_than_one(form):
    def parts() -> Iterator[str]:
        yield "access_token,item_id\n" if form == "csv" else "["
        for number in range(100_000):
            row = {"access_token": TOKEN, "item_id": f"item{number}"}
            comma = "," if number else ""
            yield f"{TOKEN},item{number}\n" if form == "csv" else comma + json.dumps(row)
        yield "" if form == "csv" else "]"

    count, peak = 0, 0
    rows = exported_items(Endless(parts()), form=form, defaults=WHO)
    next(rows)
    tracemalloc.start()
    try:
        for row in rows:
            assert isinstance(row, ExportedItem)
            count += 1
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert count == 99_999
    assert peak < 1 << 20
