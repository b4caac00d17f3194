"""How Plaid's answers are read off the wire: within their time, within bounds, and over sockets that are used again."""

import gzip
import json
import socket
import threading
import time
from contextlib import suppress

import pytest

from connections.errors import Misconfigured, RateLimited, TemporaryError
from connections.providers.plaid import client as client_module
from connections.providers.plaid import transport
from connections.providers.plaid.client import PlaidClient

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"


class Peer:
    """A server that answers every request as told, by `answer(socket)`, and counts its connections."""

    def __init__(self, answer) -> None:
        self.answer, self.connections = answer, 0
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        with suppress(OSError):
            while True:
                taken, _ = self._listener.accept()
                self.connections += 1
                threading.Thread(target=self._talk, args=[taken], daemon=True).start()

    def _talk(self, taken: socket.socket) -> None:
        with taken, suppress(OSError):
            while self._read_request(taken):
                self.answer(taken)

    @staticmethod
    def _read_request(taken: socket.socket) -> bool:
        received = b""
        while b"\r\n\r\n" not in received:
            if not (part := taken.recv(65536)):
                return False
            received += part
        head, _, body = received.partition(b"\r\n\r\n")
        length = int(
            next(line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length")).split()[1]
        )
        while len(body) < length:
            body += taken.recv(65536)
        return True

    def close(self) -> None:
        self._listener.close()


@pytest.fixture
def peer(settings, servers):
    made = []

    def make(answer) -> Peer:
        made.append(Peer(answer))
        settings.PLAID_SANDBOX_URL = made[-1].url
        return made[-1]

    yield make
    for one in made:
        one.close()


def get(timeout_s: float = 0.6):
    return PlaidClient("sandbox", timeout_s=timeout_s).link_token_get("link-sandbox-1")


def whole(body: bytes, *headers: bytes) -> bytes:
    lines = b"".join(header + b"\r\n" for header in headers)
    return HEAD + lines + b"Content-Length: %d\r\n\r\n" % len(body) + body


def drip(taken: socket.socket, data: bytes, pause_s: float = 0.1) -> None:
    for number in range(len(data)):
        taken.sendall(data[number : number + 1])
        time.sleep(pause_s)


@pytest.mark.parametrize(
    "start",
    [
        b"HTTP/1.1 200 OK\r\nX-Slow: ",
        HEAD + b"Content-Length: 100000\r\n\r\n{",
        HEAD + b"Transfer-Encoding: chunked\r\n\r\n1\r\n{\r\n0000",
        b"HTTP/1.1 500 Oh\r\nContent-Length: 100000\r\n\r\n<",
    ],
    ids=["head", "body", "chunks", "error"],
)
def test_an_answer_that_drips_ends_with_its_time(peer, start):
    peer(lambda taken: (taken.sendall(start), drip(taken, b"0" * 100)))
    began = time.monotonic()
    with pytest.raises(TemporaryError) as caught:
        get()
    assert caught.value.code == "provider_timeout"
    assert time.monotonic() - began < 1.5


@pytest.mark.parametrize("is_packed", [False, True])
def test_an_answer_that_is_too_long_is_malformed(peer, monkeypatch, is_packed):
    monkeypatch.setattr(client_module, "MAX_ANSWER_BYTES", 4 << 20)
    body = b'{"x": "' + b"x" * (8 << 20) + b'"}'
    answer = whole(gzip.compress(body), b"Content-Encoding: gzip") if is_packed else whole(body)
    peer(lambda taken: taken.sendall(answer))
    with pytest.raises(TemporaryError) as caught:
        get(timeout_s=10)
    assert caught.value.code == "provider_malformed"


def test_an_error_without_end_is_not_read_to_it(peer, monkeypatch):
    monkeypatch.setattr(transport, "MAX_RAW_BYTES", 1 << 20)
    body = b"x" * (8 << 20)
    peer(lambda taken: taken.sendall(b"HTTP/1.1 500 Oh\r\nContent-Length: %d\r\n\r\n" % len(body) + body))
    with pytest.raises(TemporaryError):
        get(timeout_s=10)


@pytest.mark.parametrize("body", [b'{"a": 1}', b'{"a": "' + b"x" * (3 << 20) + b'"}'])
@pytest.mark.parametrize("is_packed", [False, True])
def test_a_socket_is_used_again(peer, body, is_packed):
    answer = whole(gzip.compress(body), b"Content-Encoding: gzip") if is_packed else whole(body)
    made = peer(lambda taken: taken.sendall(answer))
    for _ in range(5):
        assert get(timeout_s=10) == json.loads(body)
    assert made.connections == 1


def test_a_socket_is_used_again_after_an_error(peer):
    made = peer(lambda taken: taken.sendall(b"HTTP/1.1 500 Oh\r\nContent-Length: 2\r\n\r\n{}"))
    for _ in range(3):
        with pytest.raises(TemporaryError):
            get(timeout_s=10)
    assert made.connections == 1


@pytest.mark.parametrize("body", [b"[" * 100_000, b"\xff", b"1" * 5000, b"nul"])
def test_what_is_no_json_is_malformed(peer, body):
    peer(lambda taken: taken.sendall(whole(body)))
    with pytest.raises(TemporaryError) as caught:
        PlaidClient("sandbox", item_key="i", timeout_s=10).accounts_get("access-sandbox-1")
    assert caught.value.code == "provider_malformed"


@pytest.mark.parametrize("call", ["accounts_get", "item_get", "item_remove"])
def test_a_token_of_the_other_environment_is_not_sent(peer, call):
    made = peer(lambda taken: taken.sendall(whole(b"{}")))
    with pytest.raises(Misconfigured, match="production would have been sent to sandbox"):
        getattr(PlaidClient("sandbox", item_key="i"), call)("access-production-1")
    assert made.connections == 0


def test_plaids_rates_are_kept(peer, monkeypatch):
    peer(lambda taken: taken.sendall(whole(b"{}")))
    client = PlaidClient("sandbox", item_key=str(time.time_ns()))
    for _ in range(15):
        client.item_get("access-sandbox-1")
    with pytest.raises(RateLimited):
        client.item_get("access-sandbox-1")
    monkeypatch.setattr(client_module, "INSTITUTIONS_PER_CLIENT_MINUTE", 1)
    with pytest.raises(RateLimited):
        for _ in range(2):
            client.institution_get("ins_1")


def test_after_a_refusal_for_its_rate_all_of_the_installation_goes_at_half_for_a_while(peer, settings, monkeypatch):
    settings.PLAID_CLIENT_ID = f"client-{time.time_ns()}"
    monkeypatch.setattr(client_module, "INSTITUTIONS_PER_CLIENT_MINUTE", 6)
    limited = b'{"error_type": "RATE_LIMIT_EXCEEDED", "error_code": "RATE_LIMIT"}'
    refusal = (
        b"HTTP/1.1 429 Oh\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(limited) + limited
    )
    answers = [refusal, *[whole(b"{}")] * 9]
    peer(lambda taken: taken.sendall(answers.pop(0)))
    for _ in range(6):
        with suppress(RateLimited):
            PlaidClient("sandbox").institution_get("ins_1")
    assert len(answers) == 6  # after the refusal three went out, half of the six that are allowed
