"""Any text, read as another system's export, is rows and named errors of lines; never an exception, and no value in an error."""

import io
import json

from hypothesis import example, given
from hypothesis import strategies as st

from connections.providers.plaid.exports import FIELDS, BadRow, ExportedItem, exported_items

TOKEN = "access-sandbox-5ecre7-5ecre7-5ecre7"
anything = st.text(st.characters(blacklist_categories=()), max_size=200)  # lone surrogates and NUL too
csv_like = st.lists(
    st.sampled_from([*FIELDS, TOKEN, ",", ",", "\n", "\r", '"', ";", "|", "\0", "\ufeff", " ", "\udc80"])
)
json_like = st.lists(
    st.sampled_from(
        ["[", "]", "{", "}", ",", ":", "\n", *map(json.dumps, [*FIELDS, TOKEN]), "null", "1e999", "-", '"', "\\u"]
    )
)
values = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | anything | st.just(TOKEN),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(FIELDS) | anything, inner, max_size=5),
    max_leaves=12,
)
texts = (
    anything
    | csv_like.map("".join)
    | json_like.map("".join)
    | values.map(json.dumps)
    | st.lists(st.dictionaries(st.sampled_from(FIELDS), st.just(TOKEN) | values)).map(json.dumps)
    | anything.map(lambda tail: "access_token,owner\n" + tail)
)


@given(texts, st.sampled_from(["csv", "json"]), st.sampled_from([{}, {"workspace": "acme", "owner": "alice"}]))
@example('[{"access_token": ' + "9" * 5_000 + "}]", "json", {})
@example("[" + "[" * 5_000, "json", {})
@example('access_token\n"' + "x" * 200_000 + f"\n{TOKEN}\n", "csv", {})
@example("access_token\n" + "x" * (1 << 20) + f"\n{TOKEN}\n", "csv", {})
def test_any_text_is_rows_or_errors_with_their_lines(text, form, defaults):
    lines = len(io.StringIO(text, newline="").readlines()) + 1
    last = 0
    for row in exported_items(io.StringIO(text, newline=""), form=form, defaults=defaults):
        assert last <= row.line <= lines
        last = row.line
        if isinstance(row, BadRow):
            assert row.errors
            assert all(error and error.isprintable() and "5ecre7" not in error for error in row.errors)
        else:
            assert isinstance(row, ExportedItem)
            assert row.access_token == TOKEN
            assert "5ecre7" not in repr(row)
            assert row.workspace
            assert row.owner


cells = st.text(
    st.characters(min_codepoint=33, max_codepoint=126, blacklist_characters=',"|;'), min_size=1, max_size=20
)


@given(st.lists(st.tuples(cells, cells), max_size=20))
def test_both_forms_of_the_same_rows_are_read_alike(given_rows):
    rows = [
        {"access_token": TOKEN, "item_id": item, "cursor": cursor} for item, cursor in given_rows if cursor != "now"
    ]
    as_csv = "access_token,item_id,cursor\n" + "".join(f"{','.join(row.values())}\n" for row in rows)
    as_json = "[\n" + ",\n".join(map(json.dumps, rows)) + "\n]"
    defaults = {"workspace": "acme", "owner": "alice"}
    read = lambda text, form: list(exported_items(io.StringIO(text, newline=""), form=form, defaults=defaults))  # noqa: E731
    found = read(as_csv, "csv")
    assert found == read(as_json, "json")
    assert [(row.item_id, row.cursor) for row in found if isinstance(row, ExportedItem)] == [
        (row["item_id"], row["cursor"]) for row in rows
    ]
