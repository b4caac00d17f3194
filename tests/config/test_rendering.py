"""JSON as it leaves and enters."""

import uuid
from contextlib import suppress
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from io import BytesIO

import pytest
from django.core.exceptions import RequestDataTooBig
from django.utils.functional import lazystr
from hypothesis import given
from hypothesis import strategies as st
from rest_framework.exceptions import ParseError

from config.rendering import JSONParser, JSONRenderer


@pytest.mark.parametrize(
    "value,text",
    [
        (None, b""),
        (Decimal("110.10"), b'"110.10"'),
        (Decimal("1E+3"), b'"1000"'),
        (Decimal("-0.00000001"), b'"-0.00000001"'),
        (datetime(2026, 5, 12, 14, 3, 9, tzinfo=UTC), b'"2026-05-12T14:03:09Z"'),
        (datetime(2026, 5, 12, 14, tzinfo=timezone(timedelta(hours=2))), b'"2026-05-12T14:00:00+02:00"'),
        (date(2026, 5, 12), b'"2026-05-12"'),
        (uuid.UUID(int=1), b'"00000000-0000-0000-0000-000000000001"'),
        (lazystr("lazy"), b'"lazy"'),
        ({1: "ü"}, '{"1":"ü"}'.encode()),
        ([], b"[]"),
    ],
)
def test_values_are_written_exactly(value, text):
    assert JSONRenderer().render(value) == text


@given(st.decimals(allow_nan=False, allow_infinity=False))
def test_no_decimal_passes_through_a_float(value):
    text = JSONRenderer().render(value).decode().strip('"')
    assert "E" not in text
    assert Decimal(text) == value


def parse(body: bytes):
    return JSONParser().parse(BytesIO(body))


def test_objects_are_read_and_nothing_is_an_empty_one():
    assert parse('{"ü": [1, {"a": null}]}'.encode()) == {"ü": [1, {"a": None}]}
    assert parse(b"") == parse(b" \r\n\t") == {}
    assert parse(b'{"a": "\\\\u0000"}') == {"a": "\\u0000"}


@pytest.mark.parametrize(
    "body,words",
    [
        (b"{", "not valid JSON"),
        (b'{"a": Infinity}', "not valid JSON"),
        (b'{"a": "\xff"}', "not valid JSON"),
        (b"[]", "must be a JSON object"),
        (b"1", "must be a JSON object"),
        (b'{"a": "\\u0000"}', "NUL"),
        (b'{"\\u0000": 1}', "NUL"),
        (b'{"a": [[{"b": "x\\u0000y"}]]}', "NUL"),
        (b'{"a":' * 900 + b'"\\u0000"' + b"}" * 900, "nested too deeply"),
    ],
)
def test_anything_else_is_refused_in_words(body, words):
    with pytest.raises(ParseError, match=words):
        parse(body)


def test_body_is_read_no_further_than_the_limit(settings):
    settings.DATA_UPLOAD_MAX_MEMORY_SIZE = 10
    assert parse(b'{"a":1}   ') == {"a": 1}
    stream = BytesIO(b'{"a":1}    ' + b"x" * 1000)
    with pytest.raises(RequestDataTooBig):
        JSONParser().parse(stream)
    assert stream.tell() == 11


@given(st.binary(max_size=60))
def test_no_bytes_make_the_parser_fail_otherwise(body):
    with suppress(ParseError):
        assert isinstance(parse(body), dict)
