"""Calls to others end within their time and size, whatever the other side does, and fail in one way."""

import base64
import gzip
import os
import socket
import struct
import threading
import time
import tracemalloc
import zlib
from decimal import Decimal

import pytest

from config import correlation
from connections import http
from connections.errors import Misconfigured, NotSent, ProviderError, RateLimited, TemporaryError
from connections.http import Answer, Headers, Http
from tests.connections.peer import OK, redirect, whole

pytestmark = pytest.mark.usefixtures("private_networks_allowed")
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"


def to(peer, **more) -> Http:
    return Http(provider="test", base_url=peer.origin, **{"timeout_s": 5, **more})


def refusal(caller: Http, method: str = "GET", path: str = "/", **more) -> ProviderError:
    with pytest.raises(ProviderError) as caught:
        caller.request(method, path, **more)
    assert caught.value.provider == "test"
    return caught.value


# --- what is sent and what comes back --------------------------------------------------------------------------------


def test_a_call_says_who_it_is_from_and_what_it_belongs_to(peer):
    shop = peer()
    with correlation.bound("order-17"):
        to(shop, headers={"apikey": "k"}).request("GET", "orders", headers={"X-More": "1"})
    sent = shop.requests[0].headers
    assert sent["user-agent"].startswith("Causeway/")
    assert (sent["x-correlation-id"], sent["apikey"], sent["x-more"]) == ("order-17", "k", "1")
    assert sent["accept-encoding"] == "gzip"
    assert "cookie" not in sent


def test_parameters_are_written_so_that_every_server_reads_them_alike(peer):
    shop = peer()
    params = {"q": "select * from Item where Name = 'a+b'", "all": True, "id": [1, 2], "e": "é&="}
    to(shop).request("GET", "/v3/query", params=params)
    assert shop.requests[0].target == (
        "/v3/query?q=select%20%2A%20from%20Item%20where%20Name%20%3D%20%27a%2Bb%27&all=true&id=1&id=2&e=%C3%A9%26%3D"
    )
    assert to(shop).url("/v3/query", params) == shop.origin + shop.requests[0].target


def test_a_base_url_keeps_its_folder(peer):
    shop = peer()
    caller = Http(provider="test", base_url=f"{shop.origin}/shop/")
    caller.request("GET", "/wp-json/wc/v3/orders")
    caller.request("GET")
    assert [request.target for request in shop.requests] == ["/shop/wp-json/wc/v3/orders", "/shop"]


def test_money_is_exact_in_both_directions(peer):
    shop = peer(whole(b'{"total": 19.90, "count": 3, "big": 12345678901234567890.123456789, "rate": 1e-7}'))
    answer = to(shop).request("POST", "/", json={"total": Decimal("1234567890123456.10"), "n": [Decimal("1E+3")]})
    assert shop.requests[0].body == b'{"total":1234567890123456.10,"n":[1000]}'
    assert shop.requests[0].headers["content-type"] == "application/json"
    told = answer.json()
    assert [str(told[name]) for name in ("total", "count", "big", "rate")] == [
        *("19.90", "3", "12345678901234567890.123456789"),
        "1E-7",
    ]
    assert {type(value) for value in told.values()} == {Decimal}


def test_a_form_and_a_basic_login_are_written_as_the_standards_say(peer):
    shop = peer()
    to(shop).request("POST", "/token", form={"grant_type": "refresh_token", "t": "a+b c"}, auth=("ké", "s:x"))
    sent = shop.requests[0]
    assert sent.body == b"grant_type=refresh_token&t=a%2Bb+c"
    assert sent.headers["content-type"] == "application/x-www-form-urlencoded"
    assert base64.b64decode(sent.headers["authorization"].removeprefix("Basic ")).decode() == "ké:s:x"


def test_a_status_is_the_callers_business(peer):
    answer = to(peer(whole(b"<html>", b"X-WP-Total: 7", b"Via: a", b"Via: b", status=b"503 No"))).request("GET", "/")
    assert (answer.status, answer.is_success, answer.text) == (503, False, "<html>")
    assert answer.headers["x-wp-total"] == answer.headers.get("X-WP-TOTAL") == "7"
    assert answer.headers["Via"] == "a, b"
    assert "X-Wp-Total" in answer.headers
    assert answer.headers.get("absent") is None


def test_neither_answer_nor_client_shows_what_it_holds(peer):
    shop = peer(whole(b'{"access_token": "S3cr3t"}', b"Set-Cookie: S3cr3t=1"))
    caller = to(shop, headers={"apikey": "S3cr3t"})
    answer = caller.request("GET", "/", params={"consumer_secret": "S3cr3t"})
    assert "S3cr3t" not in f"{answer!r} {caller!r}"
    assert "S3cr3t" in shop.requests[0].target


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>",
        b'{"a": ',
        b"\xff\xfe\x00",
        b"NaN",
        b'{"a": 1e999}',
        b'{"a": -Infinity}',
        b"[" * 100_000,
        b"1e-9999999",
    ],
)
def test_what_is_not_json_is_malformed_only_when_it_is_asked_for(peer, body):
    answer = to(peer(whole(body, b"Content-Type: text/html", b"intuit_tid: t-1")), request_id_header="intuit_tid")
    got = answer.request("GET", "/")
    with pytest.raises(TemporaryError) as caught:
        got.json()
    assert (caught.value.code, caught.value.provider, caught.value.request_id) == ("provider_malformed", "test", "t-1")


def test_a_byte_order_mark_before_json_is_no_harm(peer):
    assert to(peer(whole(b'\xef\xbb\xbf{"a": 1}'))).request("GET", "/").json() == {"a": 1}


def test_cookies_of_one_call_are_not_sent_with_another(peer):
    shop = peer(whole(b"{}", b"Set-Cookie: session=of-another-tenant; Path=/"))
    for _ in range(2):
        to(shop).request("GET", "/")
    assert "cookie" not in shop.requests[1].headers


def test_neither_proxies_nor_passwords_of_the_environment_are_used(peer, monkeypatch, tmp_path):
    shop, proxy = peer(), peer()
    (tmp_path / ".netrc").write_text("default login a password b")
    for name, value in {
        "HTTP_PROXY": proxy.origin,
        "http_proxy": proxy.origin,
        "ALL_PROXY": proxy.origin,
        "NETRC": str(tmp_path / ".netrc"),
    }.items():
        monkeypatch.setenv(name, value)
    to(shop, max_bytes=1001).request("GET", "/")
    assert (len(shop.requests), proxy.connections) == (1, 0)
    assert "authorization" not in shop.requests[0].headers


@pytest.mark.parametrize("value", ["a\r\nHost: b", "a\nb", "ключ"])
def test_a_header_that_cannot_be_written_is_refused_before_it_is_sent(peer, value):
    shop = peer()
    error = refusal(to(shop), headers={"Authorization": f"Bearer {value}"})
    assert isinstance(error, Misconfigured)
    assert value not in str(error)
    assert shop.requests == []


def test_the_providers_own_table_decides_what_a_status_means(peer):
    limited = whole(b"{}", status=b"429 Slow down")
    caller = to(peer(limited), classify=lambda answer: RateLimited(provider="test") if answer.status == 429 else None)
    assert isinstance(refusal(caller), RateLimited)


# --- time and size ---------------------------------------------------------------------------------------------------


def drip(taken: socket.socket, start: bytes) -> None:
    taken.sendall(start)
    for _ in range(200):
        taken.sendall(b"0")
        time.sleep(0.05)


@pytest.mark.parametrize(
    "start",
    [b"", b"HTTP/1.1 200 OK\r\nX-Slow: ", HEAD + b"Content-Length: 100000\r\n\r\n{", b"HTTP/1.1 200 OK\r\n\r\n"],
    ids=["line", "head", "body", "endless"],
)
def test_an_answer_that_drips_ends_with_its_time(peer, start):
    began = time.monotonic()
    error = refusal(to(peer(lambda taken: drip(taken, start)), timeout_s=0.4))
    assert error.code in ("provider_timeout", "provider_malformed")
    assert not isinstance(error, NotSent)
    assert time.monotonic() - began < 1.5


def test_silence_ends_with_the_time_of_this_one_call(peer):
    began = time.monotonic()
    error = refusal(to(peer(lambda taken: time.sleep(3)), timeout_s=30), timeout_s=0.3)
    assert (error.code, isinstance(error, NotSent)) == ("provider_timeout", False)
    assert time.monotonic() - began < 1.5


def test_a_peer_that_takes_nothing_ends_the_call_too():
    listener = socket.create_server(("127.0.0.1", 0))
    caller = Http(provider="test", base_url=f"http://127.0.0.1:{listener.getsockname()[1]}", timeout_s=0.4)
    began = time.monotonic()
    assert refusal(caller, "POST", content=b"x" * (32 << 20)).code == "provider_timeout"
    assert time.monotonic() - began < 1.5
    listener.close()


def test_a_connect_that_hangs_was_not_sent():
    full = socket.socket()  # its queue is full: the next connect waits
    full.bind(("127.0.0.1", 0))
    full.listen(0)
    fillers = [socket.socket() for _ in range(3)]
    for filler in fillers:
        filler.setblocking(False)
        filler.connect_ex(full.getsockname())
    error = refusal(Http(provider="test", base_url=f"http://127.0.0.1:{full.getsockname()[1]}", timeout_s=0.4))
    assert (type(error), error.code) == (NotSent, "provider_timeout")
    for one in (*fillers, full):
        one.close()


def test_a_refused_connect_was_not_sent():
    error = refusal(Http(provider="test", base_url="http://127.0.0.1:1"))
    assert (type(error), error.code) == (NotSent, "provider_unavailable")


@pytest.mark.parametrize("is_packed", [False, True])
@pytest.mark.parametrize("is_chunked", [False, True])
def test_an_answer_that_is_too_long_is_not_read_to_its_end(peer, is_packed, is_chunked):
    body = os.urandom(1 << 20) * 4
    body = gzip.compress(body, 1) if is_packed else body
    kind = b"Content-Encoding: gzip" if is_packed else b"X-Plain: 1"
    chunked = HEAD + kind + b"\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n" % (len(body), body)
    error = refusal(to(peer(chunked if is_chunked else whole(body, kind)), max_bytes=1 << 20))
    assert (error.code, isinstance(error, NotSent)) == ("provider_malformed", False)


def test_as_long_as_allowed_is_not_too_long(peer):
    for body, kind in ((b"x" * 1000, b"X-Plain: 1"), (gzip.compress(b"x" * 1000), b"Content-Encoding: gzip")):
        assert to(peer(whole(body, kind)), max_bytes=1000).request("GET", "/").body == b"x" * 1000
        assert refusal(to(peer(whole(body, kind)), max_bytes=999)).code == "provider_malformed"


@pytest.mark.parametrize("name", ["gzip", "deflate"])
def test_a_bomb_is_stopped_before_it_fills_the_memory(peer, name):
    packer = zlib.compressobj(9, wbits=31 if name == "gzip" else 15)
    bomb = packer.compress(b"\0" * (300 << 20)) + packer.flush()
    shop = peer(whole(bomb, b"Content-Encoding: " + name.encode()))
    tracemalloc.start()
    assert refusal(to(shop, max_bytes=4 << 20, timeout_s=20)).code == "provider_malformed"
    _, highest = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert highest < 24 << 20


@pytest.mark.parametrize("pack", [gzip.compress, zlib.compress, lambda body: zlib.compress(body, wbits=-15)])
def test_packed_answers_are_unpacked(peer, pack):
    name = b"gzip" if pack is gzip.compress else b"deflate"
    body = b'{"a": "' + b"x" * 3_000_000 + b'"}'
    assert to(peer(whole(pack(body), b"Content-Encoding: " + name))).request("GET", "/").body == body


def test_two_packed_pieces_are_one_answer(peer):
    packed = gzip.compress(b'{"a":') + gzip.compress(b"1}")
    assert to(peer(whole(packed, b"Content-Encoding: gzip"))).request("GET", "/").json() == {"a": 1}


@pytest.mark.parametrize(
    "body, kind",
    [
        (gzip.compress(b"x" * 9999)[:-6], b"gzip"),
        (b"not packed at all", b"gzip"),
        (gzip.compress(b"1"), b"br"),
        (gzip.compress(gzip.compress(b"1")), b"gzip, gzip"),
    ],
    ids=["cut", "plain", "br", "twice"],
)
def test_what_is_packed_wrongly_is_malformed(peer, body, kind):
    assert refusal(to(peer(whole(body, b"Content-Encoding: " + kind)))).code == "provider_malformed"


# --- connections that break ------------------------------------------------------------------------------------------


def reset(taken: socket.socket) -> None:
    taken.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    taken.close()


@pytest.mark.parametrize(
    "start", [b"", b"HTTP/1.1 200", HEAD + b"Content-Length: 100\r\n\r\n{"], ids=["at once", "head", "body"]
)
@pytest.mark.parametrize("ending", [reset, socket.socket.close])
def test_a_connection_lost_in_the_middle_may_have_been_acted_on(peer, start, ending):
    def answer(taken: socket.socket) -> None:
        taken.sendall(start)
        time.sleep(0.05)
        ending(taken)

    error = refusal(to(peer(answer)), "POST", json={})
    assert (type(error), error.code) == (TemporaryError, "provider_unavailable")


def test_chunks_that_end_too_soon_are_no_answer(peer):
    def answer(taken: socket.socket) -> None:
        taken.sendall(HEAD + b'Transfer-Encoding: chunked\r\n\r\n5\r\n{"a":\r\n')
        taken.close()

    assert refusal(to(peer(answer))).code == "provider_unavailable"


@pytest.mark.parametrize(
    "said", [b"SSH-2.0-OpenSSH_9.6\r\n\r\n", b"HTTP/9.9 what\r\n\r\n", HEAD + b"Content-Length: -1\r\n\r\n"]
)
def test_what_is_not_http_is_malformed(peer, said):
    assert refusal(to(peer(said))).code == "provider_malformed"


def test_a_head_without_end_is_not_read_to_it(peer):
    assert refusal(to(peer(HEAD + b"X-Long: " + b"x" * (2 << 20)))).code == "provider_malformed"


def test_one_connection_serves_many_calls(peer):
    shop = peer()
    for _ in range(5):
        to(shop).request("GET", "/")
    assert (len(shop.requests), shop.connections) == (5, 1)


def test_a_connection_that_was_closed_meanwhile_is_replaced(peer):
    shop = peer(lambda taken: (taken.sendall(OK), taken.close()))
    for _ in range(3):
        assert to(shop).request("POST", "/", json={}).status == 200
        time.sleep(0.05)
    assert shop.connections == 3


def test_an_answer_that_was_not_read_to_its_end_does_not_reach_the_next_call(peer):
    shop = peer([whole(b"x" * 100_000), whole(b'"mine"')])
    refusal(to(shop, max_bytes=10))
    assert to(shop).request("GET", "/").json() == "mine"


def test_a_process_and_its_child_do_not_share_a_connection(peer):
    shop = peer(lambda taken: taken.sendall(whole(b"%d" % taken.getpeername()[1])))
    mine = to(shop).request("GET", "/").json()
    reading, writing = os.pipe()
    if not (child := os.fork()):
        try:
            os.write(writing, str(to(shop).request("GET", "/").json()).encode())
        finally:
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        theirs = int(pipe.read() or b"0")
    os.waitpid(child, 0)
    assert theirs not in (0, mine)
    assert to(shop).request("GET", "/").json() == mine


def test_threads_do_not_disturb_each_other(peer):
    shop = peer(lambda taken: (time.sleep(0.02), taken.sendall(whole(b"%d" % taken.getpeername()[1]))))
    seen: list[int] = []
    threads = [
        threading.Thread(target=lambda: seen.extend(to(shop).request("GET", "/").status for _ in range(5)))
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert seen == [200] * 40
    assert shop.connections <= 8


# --- redirects -------------------------------------------------------------------------------------------------------


def test_a_redirect_is_an_answer_like_any_other(peer):
    inside = peer()
    shop = peer(redirect(f"{inside.origin}/"))
    answer = to(shop).request("GET", "/")
    assert (answer.status, answer.headers["location"]) == (302, f"{inside.origin}/")
    assert inside.connections == 0


def test_reads_follow_on_the_same_host_so_often_as_allowed(peer):
    shop = peer([redirect("/b?c=1"), redirect("d#e", b"308 There"), whole(b'"here"')])
    answer = to(shop).request("GET", "/a/", auth=("k", "s"), follow_same_host_reads=2)
    assert answer.json() == "here"
    assert [request.target for request in shop.requests] == ["/a/", "/b?c=1", "/d"]
    assert answer.url == f"{shop.origin}/d"
    round_and_round = peer(redirect("/"))
    assert to(round_and_round).request("GET", "/", follow_same_host_reads=3).status == 302
    assert len(round_and_round.requests) == 4


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE"])
def test_writes_follow_nothing(peer, method):
    shop = peer(redirect("/b", b"307 There"))
    assert to(shop).request(method, "/", json={}, follow_same_host_reads=3).status == 307
    assert len(shop.requests) == 1


@pytest.mark.parametrize(
    "place",
    [
        "http://127.0.0.2:{port}/",
        "//127.0.0.2:{port}/",
        "http://127.0.0.1:{other}/",
        "http://127.0.0.1/",
        "ftp://127.0.0.1:{port}/",
        "http://169.254.169.254/latest/",
        "http://127.0.0.1:{port}@127.0.0.2/",
        "http://[::1",
        "http://127.0.0.1:x/",
    ],
)
def test_a_login_is_never_carried_to_another_place(peer, place):
    shop = peer()
    other, elsewhere = peer(host="127.0.0.2", port=shop.port), peer()
    shop.answer = redirect(place.format(port=shop.port, other=elsewhere.port))
    answer = to(shop).request("GET", "/", auth=("k", "s"), follow_same_host_reads=3)
    assert (answer.status, len(shop.requests)) == (302, 1)
    assert (other.connections, elsewhere.connections) == (0, 0)


@pytest.mark.parametrize(
    "old, location, target",
    [
        ("http://shop.example/a", "https://shop.example/a", "https://shop.example/a"),
        ("http://shop.example/a", "https://shop.example:443/a", ""),
        ("http://shop.example/a", "https://www.shop.example/a", ""),
        ("http://shop.example:8080/a", "https://shop.example/a", ""),
        ("https://shop.example/a", "http://shop.example/a", ""),
        ("https://shop.example/a", "https://SHOP.example:443/b", "https://SHOP.example:443/b"),
        ("https://shop.example/a", "https://shop.example:8443/b", ""),
    ],
)
def test_a_plain_host_may_lead_to_its_secure_one_and_never_back(old, location, target):
    answer = Answer(status=301, headers=Headers([("Location", location)]), body=b"", duration_ms=1, url=old)
    assert http._further(old, answer) == target  # the usual ports cannot be had on every machine


def test_a_redirect_is_looked_at_again_before_it_is_followed(peer, settings):
    shop = peer()

    def answer(taken: socket.socket) -> None:
        settings.ALLOW_PRIVATE_NETWORKS = []  # as if the name had moved inward: the next connect is judged anew
        taken.sendall(whole(b"", b"Location: /inside", b"Connection: close", status=b"302 Found"))

    shop.answer = answer
    error = refusal(to(shop), follow_same_host_reads=3)
    assert (error.code, len(shop.requests)) == ("address_not_allowed", 1)
