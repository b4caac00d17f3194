"""What a request may look like: whatever is sent, the answer is a clear problem and never a 500."""

import json
from io import BytesIO

import pytest
from django.test import RequestFactory
from rest_framework.exceptions import ParseError
from rest_framework.test import APIClient

from connections.api.base import load_chunked_body
from tests.connections.api.scene import assert_problem

pytestmark = pytest.mark.django_db

MIB = 1024 * 1024
POSTS = ["/api/v1/auth/token", "/api/v1/plaid/link-token", "/api/v1/plaid/exchange-token", "/api/v1/plaid/sync"]


def send(person, path, body: bytes, content_type="application/json", **extra):
    return person.api.generic("POST", path, body, content_type=content_type, **extra)


@pytest.mark.parametrize("path", POSTS)
@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b"nonsense",
        b'{"a": NaN}',
        b"[]",
        b"null",
        b"17",
        b'"text"',
        b"\xff\xfe{\x00}\x00",
        b'{"a": "\xff"}',
        b"\xef\xbb\xbf{}",
        b'{"a": "\\u0000"}',
        b'{"a\\u0000": 1}',
        b'{"a": [{"b": ["x", "\\u0000"]}]}',
        b'{"a": "\\ud800"}',
        b'{"a": ' * 2000 + b"1" + b"}" * 2000,
        b'{"a": ' * 900 + b'"\\u0000"' + b"}" * 900,
        b"\0",
        b"{} {}",
    ],
    ids=range(18),
)
def test_body_that_is_no_json_object_is_malformed(alice, path, body):
    assert_problem(send(alice, path, body), 400, "malformed_request")


def test_escaped_backslash_before_u0000_is_no_nul(alice):
    assert set(
        assert_problem(send(alice, POSTS[1], b'{"hosted_link": "\\\\u0000"}'), 400, "validation_failed")["errors"]
    ) == {"hosted_link"}


@pytest.mark.parametrize("path", POSTS)
@pytest.mark.parametrize(
    "content_type",
    [
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "application/xml",
        "",
        "nonsense",
    ],
)
def test_body_of_another_type_is_415(alice, path, content_type):
    assert_problem(send(alice, path, b"a=1", content_type), 415, "unsupported_media_type")


def test_json_with_parameters_is_json(alice):
    assert_problem(send(alice, POSTS[3], b"{}", "application/json; charset=utf-8"), 410, "gone")


@pytest.mark.parametrize("kind", ["latin-1", "utf-16", '"iso-8859-1"'])
def test_body_in_another_charset_is_415(alice, kind):
    assert_problem(send(alice, POSTS[1], b"{}", f"application/json; charset={kind}"), 415, "unsupported_media_type")
    for same in ("UTF-8", '"utf-8"', "utf8"):
        assert send(alice, POSTS[3], b"{}", f"application/json; charset={same}").status_code == 410


@pytest.mark.parametrize("coding", ["gzip", "br", "gzip, identity", "nonsense"])
def test_compressed_body_is_415(alice, coding):
    response = send(alice, POSTS[1], b"{}", HTTP_CONTENT_ENCODING=coding)
    assert "Content-Encoding" in assert_problem(response, 415, "unsupported_media_type")["detail"]
    assert send(alice, POSTS[3], b"{}", HTTP_CONTENT_ENCODING="identity").status_code == 410


@pytest.mark.parametrize(
    "path,body,field",
    [
        (POSTS[0], {"username": 1, "password": "x"}, "username"),
        (POSTS[0], {"username": "x", "password": 1.5}, "password"),
        (POSTS[1], {"hosted_link": 1}, "hosted_link"),
        (POSTS[1], {"hosted_link": "yes"}, "hosted_link"),
        (POSTS[1], {"hosted_link": "true"}, "hosted_link"),
        (POSTS[1], {"hosted_link": None}, "hosted_link"),
        (POSTS[1], {"hosted_link": []}, "hosted_link"),
        (POSTS[1], {"connection_id": 5}, "connection_id"),
        (POSTS[1], {"environment": 5}, "environment"),
        (POSTS[1], {"environment": ["sandbox"]}, "environment"),
        (POSTS[1], {"redirect_uri": 5}, "redirect_uri"),
        (POSTS[2], {"public_token": 5}, "public_token"),
        (POSTS[2], {"public_token": "x", "allow_duplicate": "1"}, "allow_duplicate"),
        (POSTS[2], {"public_token": "x", "metadata": {"institution": {"name": 5}}}, "metadata.institution.name"),
        (POSTS[2], {"public_token": "x", "metadata": {"accounts": [{}, {"mask": 1234}]}}, "metadata.accounts.1.mask"),
    ],
)
def test_value_of_another_type_is_named_and_not_made_sense_of(alice, path, body, field):
    problem = assert_problem(send(alice, path, json.dumps(body).encode()), 400, "validation_failed")
    assert set(problem["errors"]) == {field}


def test_empty_body_is_an_empty_object(alice):
    for body, kind in ((b"", "application/json"), (b"  \n", "application/json"), (b"", "text/plain")):
        assert_problem(send(alice, POSTS[3], body, kind), 410, "gone")


def test_one_mebibyte_is_read_and_a_byte_more_is_413(alice):
    def body(size: int) -> bytes:
        frame = len(json.dumps({"public_token": ""}))
        return json.dumps({"public_token": "x" * (size - frame)}).encode()

    assert_problem(send(alice, POSTS[2], body(MIB)), 400, "validation_failed")
    assert_problem(send(alice, POSTS[2], body(MIB + 1)), 413, "request_too_large")
    assert_problem(send(alice, POSTS[2], b"\xff" * (5 * MIB)), 413, "request_too_large")


# --- bodies without a length ---
def chunked(body: bytes, **meta):
    values = {
        "HTTP_TRANSFER_ENCODING": "chunked",
        "wsgi.input": BytesIO(body),
        "wsgi.input_terminated": True,
        "CONTENT_LENGTH": "",
    }
    return values | meta


JSON = "application/json"


def test_chunked_body_is_read(alice):
    response = alice.api.generic("POST", POSTS[1], b"-", JSON, **chunked(b'{"hosted_link": "perhaps"}'))
    assert set(assert_problem(response, 400, "validation_failed")["errors"]) == {"hosted_link"}


def test_chunked_body_has_the_same_limit(alice):
    response = alice.api.generic("POST", POSTS[1], b"-", JSON, **chunked(b'{"a": "' + b"x" * MIB + b'"}'))
    assert_problem(response, 413, "request_too_large")


def test_chunked_body_that_the_server_does_not_decode_is_refused():
    request = RequestFactory().generic(
        "POST", "/", **chunked(b"5\r\nhello\r\n0\r\n\r\n", **{"wsgi.input_terminated": False})
    )
    with pytest.raises(ParseError, match="Content-Length"):
        load_chunked_body(request)


def test_broken_chunks_are_the_callers():
    class Broken(BytesIO):
        def read(self, *_size) -> bytes:
            raise RuntimeError("InvalidChunkSize")

    with pytest.raises(ParseError, match="chunks"):
        load_chunked_body(RequestFactory().generic("POST", "/", **chunked(b"", **{"wsgi.input": Broken()})))


def test_body_that_breaks_off_is_the_callers(alice):
    class BreaksOff(BytesIO):
        def read(self, *_size) -> bytes:
            raise OSError("connection reset")

    response = alice.api.generic(
        "POST", POSTS[1], b"{}", content_type="application/json", **{"wsgi.input": BreaksOff()}
    )
    assert_problem(response, 400, "malformed_request")


# --- addresses ---
@pytest.mark.parametrize("query", ["q=%00", "%00=1", "page_size=%00", "cursor=%ff", "q=%c3%28", "a=1&b=%ed%a0%80"])
@pytest.mark.parametrize("path", ["/api/v1/connections", "/api/v1/me", "/api/v1/sync/status"])
def test_query_that_is_no_text_is_malformed(alice, path, query):
    assert_problem(alice.api.get(f"{path}?{query}"), 400, "malformed_request")


def test_thousands_of_parameters_are_malformed(alice):
    assert_problem(
        alice.api.get("/api/v1/connections?" + "&".join(f"a{n}=1" for n in range(1100))), 400, "malformed_request"
    )


@pytest.mark.parametrize("size", ["0", "00", "-1", "x", "", "1.5", "1e3", "٣", "²", " 5", "+5", "%20"])
def test_page_size_has_to_be_a_whole_number_from_1(alice, size):
    assert set(
        assert_problem(alice.api.get(f"/api/v1/connections?page_size={size}"), 400, "validation_failed")["errors"]
    ) == {"page_size"}


@pytest.mark.parametrize("path", ["/api/v1/connections", "/api/v1/sync/status"])
def test_parameter_that_a_list_does_not_know_is_named(alice, path):
    response = alice.api.get(f"{path}?date_form=2026-01-01&page_size=5")
    assert set(assert_problem(response, 400, "validation_failed")["errors"]) == {"date_form"}
    assert alice.api.get(f"{path}?page_size=5&format=json").status_code == 200


def test_parameter_that_is_given_twice_is_named(alice, bank):
    for path, name in (
        ("/api/v1/connections", "page_size"),
        ("/api/v1/sync/status", "status"),
        (f"/api/v1/connections/{bank.pk}/transactions", "pending"),
    ):
        value = {"page_size": "5", "status": "queued", "pending": "true"}[name]
        response = alice.api.get(f"{path}?{name}={value}&{name}={value}")
        assert set(assert_problem(response, 400, "validation_failed")["errors"]) == {name}


@pytest.mark.parametrize("size", ["100", "101", "999999999999999999999", "9" * 5000, "007"])
def test_large_page_sizes_are_clamped(alice, size):
    assert alice.api.get(f"/api/v1/connections?page_size={size}").status_code == 200


@pytest.mark.parametrize("cursor", ["", "x", "x" * 100_000, "bnVsbA", "WzAsMV0:abc:def", "%F0%9F%92%A9", "a:b:c:d"])
def test_cursor_that_we_did_not_make_is_refused(alice, cursor):
    assert set(
        assert_problem(alice.api.get(f"/api/v1/connections?cursor={cursor}"), 400, "validation_failed")["errors"]
    ) == {"cursor"}


# --- methods and formats ---
@pytest.mark.parametrize("method", ["PUT", "PATCH", "DELETE", "POST", "OPTIONS", "TRACE", "BREW"])
def test_method_that_an_address_does_not_answer_is_405(alice, method):
    response = alice.api.generic(method, "/api/v1/security-events", b"{", content_type="text/plain")
    assert_problem(response, 405, "method_not_allowed")
    assert "GET" in response.headers["Allow"]


def test_session_addresses_answer_405_too(alice):
    assert_problem(alice.api.post("/api/v1/me"), 405, "method_not_allowed")
    assert_problem(alice.api.get("/api/v1/auth/token"), 405, "method_not_allowed")


@pytest.mark.parametrize("accept", ["text/html", "application/xml", "image/*"])
def test_format_that_there_is_not_is_406(alice, accept):
    assert_problem(alice.api.get("/api/v1/me", headers={"Accept": accept}), 406, "not_acceptable")


@pytest.mark.parametrize("accept", ["*/*", "application/json", "text/html,*/*;q=0.1", "application/*"])
def test_json_is_what_there_is(alice, accept):
    assert alice.api.get("/api/v1/me", headers={"Accept": accept}).status_code == 200


@pytest.mark.parametrize(
    "path", ["/api/v1/me/", "/api/v1/", "/api/v2/me", "/api/v1/connections.json", "/api/v1/nope%00", "/api/v1/%FF"]
)
def test_unknown_addresses_are_404_problems(client, path):
    assert_problem(client.get(path), 404, "not_found")


def test_format_parameter_is_ours_and_not_the_frameworks(alice):
    assert alice.api.get("/api/v1/me?format=csv").status_code == 200


def test_anonymous_body_is_not_even_read(db):
    assert_problem(APIClient().generic("POST", POSTS[1], b"\xff", content_type="text/plain"), 401, "not_authenticated")
