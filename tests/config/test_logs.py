"""No secret reaches a log line, and every line can be followed."""

import json
import logging
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from config import correlation, logs
from config.logs import HIDDEN, scrub

SECRETS = [
    "access-sandbox-8ab976e6-64bc-4b38-98f7-731e7a349970",
    "public-production-abc_def-123",
    "link-sandbox-33792986-2b9c-4b80-b1f2-518caaac6183",
    "cwt_Zm9vYmFyYmF6cXV4",
    "Bearer abc.def-ghi",
    "eyJhbGciOiJFUzI1NiJ9.eyJpYXQiOjF9.c2ln",
    "postgres://user:hunter2@db/name",
    "ck_0123456789abcdef0123456789abcdef01234567",
]


@pytest.mark.parametrize("secret", SECRETS)
def test_secrets_are_known_by_their_looks(secret):
    told = scrub(f"it said {secret} and left")
    assert HIDDEN in told
    assert secret.removeprefix("Bearer ") not in told
    assert "hunter2" not in told
    assert told.startswith("it said ")


@pytest.mark.parametrize(
    "text",
    [
        "GET /x?client_secret=S3cr3t-word&n=1",
        '{"error": "no", "client_secret": "S3cr3t-word and more", "n": 1}',
        r"body was b\'{\"password\": \"S3cr3t-word\"}\'",
        "connect(host='db', password='S3cr3t-word more')",
        "host=db password=S3cr3t-word port=1",
        'null value in "x"\nDETAIL:  Failing row contains (1, S3cr3t-word, 2).',
    ],
)
def test_secrets_are_known_by_the_name_beside_them(text):
    assert "S3cr3t" not in scrub(text)
    assert "more" not in scrub(text) or "and more" not in text
    assert scrub(scrub(text)) == scrub(text)


def test_the_installations_own_secrets_are_known_whatever_they_look_like(settings):
    for secret in (settings.SECRET_KEY, settings.JOBS_SECRET, settings.PLAID_SECRET):
        assert scrub(f"Plaid said {secret}.") == f"Plaid said {HIDDEN}."
        assert scrub([secret.encode(), {secret: 1}]) == [HIDDEN, {HIDDEN: 1}]


def test_secrets_are_known_by_their_names_at_any_depth():
    told = scrub({"a": [{"client_secret": "x", "n": 1}], "password": ["y"], "is_token": True, "name": "Ada"})
    assert told == {"a": [{"client_secret": HIDDEN, "n": 1}], "password": HIDDEN, "is_token": True, "name": "Ada"}


def test_ordinary_words_stay():
    for text in (
        "access denied",
        "public transport",
        "http://127.0.0.1:8000/api",
        "link-token",
        "token: invalid",
        "a token of Plaid's",
    ):
        assert scrub(text) == text


def test_a_line_is_json_with_the_correlation_id_and_without_the_secret():
    code = """
import logging, logging.config, structlog
from config.logs import configuration
from config import correlation
logging.config.dictConfig(configuration(level="INFO", form="json"))
with correlation.bound("abc-1"):
    structlog.get_logger("x").info("hello", access_token="s3cret", note="access-sandbox-1-2")
    try:
        raise ValueError("broke with cwt_abcdefgh")
    except ValueError:
        logging.getLogger("y").exception("standard library")
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=30)
    first, second = map(json.loads, done.stderr.splitlines())
    assert (first["event"], first["correlation_id"], first["level"]) == ("hello", "abc-1", "info")
    assert (first["access_token"], first["note"]) == (HIDDEN, HIDDEN)
    assert second["correlation_id"] == "abc-1"
    assert "cwt_" not in done.stderr
    assert "s3cret" not in done.stderr


@pytest.mark.parametrize("given", ["abc", "A.b_c-9", "x" * 128])
def test_a_wellformed_correlation_id_is_kept(given):
    with correlation.bound(given) as bound:
        assert bound == given == correlation.current()
    assert correlation.current() == ""


@pytest.mark.parametrize("given", [None, "", "cwt_abc", "access-sandbox-1", "x" * 129, "a b", "a\nb", "é", "<script>"])
def test_any_other_is_replaced(given):
    with correlation.bound(given) as bound:
        assert bound != given
        assert len(bound) == 32


def test_correlation_ids_nest():
    with correlation.bound("outer"):
        with correlation.bound("inner"):
            assert correlation.current() == "inner"
        assert correlation.current() == "outer"
    assert logging.getLogger("plaid.rest").getEffectiveLevel() >= logging.WARNING


FRAGMENTS = [
    "access",
    "user",
    "-",
    "sandbox",
    "cwt_",
    "Bearer ",
    "Basic ",
    "eyJ",
    ".",
    "://",
    "@",
    ":",
    "ck_",
    "0" * 20,
]
FRAGMENTS += ["Failing row contains ", "(", "Secret", "API", "apiKey", "Token", "pass\u017fword", "=", '"', " ", "x1"]


@given(st.lists(st.sampled_from(FRAGMENTS), max_size=12).map("".join))
def test_looking_for_marks_first_spares_no_secret(text):
    every = logs._SECRET_VALUE.sub(logs.HIDDEN, text)
    assert logs.scrub(text) == logs._SECRET_PAIR.sub(rf"\1\2{logs.HIDDEN}", every)


# --- bytes in which there is nothing to hide ---
PLAIN = {"webhook_type": "TRANSACTIONS", "item_id": "9xBnVo7", "n": 1, "list": ["x", None, True]}


@pytest.mark.parametrize("secret", [*SECRETS, "Failing row contains (1, 2)."])
def test_bytes_with_a_secret_are_not_plain(secret):
    assert logs.is_plain(json.dumps(PLAIN).encode())
    assert not logs.is_plain(json.dumps(PLAIN | {"x": f"it said {secret}."}).encode())


def test_bytes_with_the_installations_own_secret_are_not_plain(settings):
    for secret in (settings.SECRET_KEY, settings.JOBS_SECRET, settings.PLAID_SECRET):
        assert not logs.is_plain(json.dumps(PLAIN | {"x": f"it said {secret}."}).encode())


NAMES = ["secret", "passwd", "Password", "access_token", "authorization", "set-cookie", "credential", "api_key", "dsn"]


@pytest.mark.parametrize("name", [*NAMES, "private", "apiKey", "toKen", "pass\u017fword", "pr\u0131vate"])
def test_bytes_that_name_a_secret_are_not_plain(name):
    for written in (json.dumps({name: "x"}), json.dumps({name: "x"}, ensure_ascii=False)):
        assert not logs.is_plain(written.encode())


def test_bytes_that_escape_are_not_taken_for_what_they_look_like():
    assert not logs.is_plain(b'{"x": "\\u0063wt_abcdefgh"}')
    assert not logs.is_plain(b"\xff")


@given(
    st.dictionaries(
        st.lists(st.sampled_from(FRAGMENTS), max_size=3).map("".join),
        st.lists(st.sampled_from(FRAGMENTS)).map("".join),
        max_size=3,
    )
)
def test_in_plain_bytes_nothing_would_be_hidden(message):
    raw = json.dumps(message).encode()
    if logs.is_plain(raw):
        assert scrub(message) == message
        assert logs.scrub_bytes(raw) == raw
