"""Clients that stall, send too much or never finish: they cost the others nothing, and get an answer they can read."""

import http.client
import json
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing
from urllib.parse import urlsplit

import pytest

from tests.conftest import Process, empty_all_tables, processes

TIMEOUT_S = 1.5
MIB = 1024 * 1024
LINK = "/api/v1/plaid/link-token"


@pytest.fixture(scope="module")
def web(django_db_setup) -> Iterator[Process]:
    """One for all: what a client does to it must not be felt by the next."""
    with processes("gunicorn") as start:
        yield start("web", WEB_READ_TIMEOUT_S=str(TIMEOUT_S))
    empty_all_tables()


def dial(web: Process) -> socket.socket:
    parts = urlsplit(web.url)
    return socket.create_connection((parts.hostname, parts.port), timeout=10)


def client(web: Process) -> closing:
    return closing(http.client.HTTPConnection(urlsplit(web.url).netloc, timeout=10))


def say(web: Process, text: bytes) -> bytes:
    """All that comes back on a connection of its own, until the server closes it."""
    with closing(dial(web)) as made:
        made.sendall(text)
        return everything(made)


def everything(made: socket.socket) -> bytes:
    found = b""
    while piece := made.recv(65_536):
        found += piece
    return found


def head(path: str = LINK, *more: str, method: str = "POST") -> bytes:
    lines = (f"{method} {path} HTTP/1.1", "Host: localhost", "Content-Type: application/json", *more)
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def healthy_after(web: Process) -> float:
    began = time.monotonic()
    with client(web) as made:
        made.request("GET", "/healthz")
        assert made.getresponse().status == 200
    return time.monotonic() - began


def test_stalled_heads_and_bodies_keep_nobody_waiting(web):
    halves = [b"", b"P", head()[:-2], head(LINK, "Content-Length: 20") + b'{"a"']
    halves += [head(LINK, "Transfer-Encoding: chunked") + b"5\r\n{", head(LINK, "Content-Length: 9999999") + b"{"]
    with ExitStack() as open_ones:
        for half in halves:
            for _ in range(10):
                made = open_ones.enter_context(closing(dial(web)))
                made.sendall(half)
        assert healthy_after(web) < 1
        time.sleep(TIMEOUT_S + 1.2)
        assert max(healthy_after(web) for _ in range(10)) < 0.5


def test_request_that_trickles_in_is_408_in_the_end(web):
    began = time.monotonic()
    with closing(dial(web)) as made:
        made.sendall(head(LINK, "Content-Length: 1000"))
        made.settimeout(0.2)
        answer = b""
        while not answer:
            made.sendall(b" ")
            try:
                answer = made.recv(65_536)
            except TimeoutError:
                assert time.monotonic() - began < TIMEOUT_S + 2
    top, _, body = answer.partition(b"\r\n\r\n")
    problem = json.loads(body)
    assert top.startswith(b"HTTP/1.1 408 ")
    assert b"Connection: close" in top
    assert (problem["code"], problem["instance"], problem["status"]) == ("request_timeout", LINK, 408)
    assert problem["correlation_id"].encode() in top


def test_client_that_sends_nothing_is_let_go_without_a_word(web):
    with closing(dial(web)) as made:
        assert everything(made) == b""


def test_request_in_small_pieces_is_a_request(web):
    text = head("/healthz", "Connection: close", method="GET")
    with closing(dial(web)) as made:
        for at in range(0, len(text), 7):
            made.sendall(text[at : at + 7])
            time.sleep(0.005)
        assert everything(made).startswith(b"HTTP/1.1 200 ")


def test_two_requests_in_one_piece_get_two_answers(web):
    first = head("/api/v1/nope", "Content-Length: 2") + b"{}"
    second = head("/api/v1/nope", "Transfer-Encoding: chunked") + b"2;x=y\r\n{}\r\n0\r\nX-Note: t\r\n\r\n"
    last = head("/healthz", "Connection: close", method="GET")
    answers = say(web, first + second + last)
    assert [answers.count(status) for status in (b"HTTP/1.1 404 ", b"HTTP/1.1 200 ")] == [2, 1]


@pytest.mark.parametrize("path,status", [(LINK, 413), ("/api/v1/nope", 413), ("/webhook/plaid", 413), ("/admin/", 413)])
def test_body_that_is_too_large_leaves_a_usable_connection(web, path, status):
    with client(web) as made:
        for _ in range(2):
            made.request("POST", path, b"x" * (2 * MIB + 100_000), {"Content-Type": "application/json"})
            response = made.getresponse()
            assert (response.status, response.headers["Connection"]) == (status, "close")
            assert response.read()
        made.request("GET", "/healthz")
        assert made.getresponse().status == 200


@pytest.mark.parametrize("path,status", [(LINK, 401), ("/api/v1/nope", 404), ("/webhook/plaid", 401)])
def test_body_that_nobody_reads_leaves_the_connection_as_it_was(web, path, status):
    with client(web) as made:
        for _ in range(3):
            made.request("POST", path, b"x" * MIB, {"Content-Type": "application/json"})
            response = made.getresponse()
            assert (response.status, response.headers["Connection"]) == (status, "keep-alive")
            response.read()
            kept = made.sock
        made.request("GET", "/healthz")
        assert made.getresponse().status == 200
        assert made.sock is kept


@pytest.mark.parametrize("length", [str(MIB + 1), "9" * 30, "0" * 30 + "9" * 30])
def test_length_that_is_absurd_is_413_at_once(web, length):
    began = time.monotonic()
    answer = say_and_stay(web, head(LINK, f"Content-Length: {length}"))
    assert time.monotonic() - began < 1
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert b"request_too_large" in answer


def say_and_stay(web: Process, text: bytes) -> bytes:
    """The same as `say`, from a client that reads until the answer is complete."""
    with closing(dial(web)) as made:
        made.sendall(text)
        response = http.client.HTTPResponse(made)
        response.begin()
        return f"HTTP/1.1 {response.status} ".encode() + response.read()


def test_chunks_have_the_same_limit_and_are_not_waited_for(web):
    piece = b"10000\r\n" + b"x" * 65_536 + b"\r\n"
    with closing(dial(web)) as made:
        made.sendall(head("/api/v1/auth/token", "Transfer-Encoding: chunked") + 18 * piece)
        response = http.client.HTTPResponse(made)
        response.begin()
        assert (response.status, response.headers["Connection"]) == (413, "close")


@pytest.mark.parametrize("chunks", [b"zz\r\n", b"-5\r\nhello\r\n0\r\n\r\n", b"1\r\nhello\r\n0\r\n\r\n", b"5" * 9000])
def test_chunks_that_are_none_are_refused_and_the_connection_ends(web, chunks):
    answer = say(web, head("/api/v1/auth/token", "Transfer-Encoding: chunked") + chunks)
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert b"Connection: close" in answer
    assert answer.count(b"HTTP/1.1") == 1


def test_client_that_asks_first_is_told_to_go_on(web):
    with closing(dial(web)) as made:
        made.sendall(head("/api/v1/nope", "Content-Length: 2", "Expect: 100-continue"))
        assert made.recv(65_536) == b"HTTP/1.1 100 Continue\r\n\r\n"
        made.sendall(b"{}")
        assert made.recv(65_536).startswith(b"HTTP/1.1 404 ")
    answer = say_and_stay(web, head(LINK, "Content-Length: 9999999", "Expect: 100-continue"))
    assert answer.startswith(b"HTTP/1.1 413 ")


@pytest.mark.parametrize(
    "text,status",
    [
        (b"nonsense\r\n\r\n", 400),
        (b"GET /" + b"x" * 9000, 414),
        (b"GET / HTTP/1.1\r\nHost: a\r\nA: " + b"x" * 9000 + b"\r\n\r\n", 431),
        (b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", 400),
    ],
)
def test_what_is_not_http_is_refused_by_gunicorn(web, text, status):
    assert say(web, text).startswith(f"HTTP/1.1 {status} ".encode())


def test_client_that_takes_no_answer_is_let_go(web):
    """Its thread is free again after the timeout: a file is larger than what the system keeps on the way."""
    with ExitStack() as open_ones:
        for _ in range(4):
            made = open_ones.enter_context(closing(socket.socket()))
            made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            parts = urlsplit(web.url)
            made.connect((parts.hostname, parts.port))
            made.sendall(100 * head("/static/unfold/css/styles.css", method="GET"))
        time.sleep(0.5)  # by now all of its threads wait for these
        assert healthy_after(web) < TIMEOUT_S + 2
        assert healthy_after(web) < 0.5


@pytest.mark.django_db(transaction=True)
def test_no_patience_at_all_is_a_second_of_it(process):
    assert healthy_after(process("web", WEB_READ_TIMEOUT_S="0")) < 1


@pytest.mark.django_db(transaction=True)
def test_worker_that_ends_does_not_wait_for_stalled_clients(process):
    web = process("web", WEB_READ_TIMEOUT_S=str(TIMEOUT_S))
    with closing(dial(web)) as made:
        made.sendall(b"POST")
        began = time.monotonic()
        web.terminate()
        assert web.wait(10) == 0
        assert time.monotonic() - began < 5
