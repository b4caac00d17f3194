"""Only a host that proves its name is spoken to, and the person whose host it is learns what is wrong with its proof."""

import socket
import ssl
import threading

import pytest

from connections.errors import NotSent
from connections.http import Http
from tests.connections.peer import Peer, certificate, redirect, whole

pytestmark = pytest.mark.usefixtures("private_networks_allowed")


@pytest.fixture(scope="module")
def authority():
    return certificate()


def refusal(peer: Peer, **more) -> NotSent:
    with pytest.raises(NotSent) as caught:
        Http(provider="test", base_url=peer.origin, timeout_s=5, **more).request("POST", "/", json={"secret": 1})
    assert caught.value.code == "tls_failed"
    assert peer.requests == []
    return caught.value


def test_a_proven_name_is_spoken_to_at_the_checked_address(peer, authority, tmp_path, monkeypatch):
    shop = peer(whole(b'"hello"'), tls=certificate("shop.example", by=authority).context(tmp_path))
    system = socket.getaddrinfo
    monkeypatch.setattr(
        socket,
        "getaddrinfo",
        lambda host, *args, **more: system("127.0.0.1" if host == "shop.example" else host, *args, **more),
    )
    http = Http(provider="test", base_url=f"https://shop.example:{shop.port}", verify=authority.pem)
    assert http.request("GET", "/").json() == "hello"
    assert shop.names == ["shop.example"]
    assert shop.requests[0].headers["host"] == f"shop.example:{shop.port}"


@pytest.mark.parametrize(
    "names, is_expired, why",
    [(["shop.example"], False, "for another address"), (["127.0.0.1"], True, "has expired")],
)
def test_a_certificate_that_does_not_fit_is_told_why(peer, authority, tmp_path, names, is_expired, why):
    made = certificate(*names, by=authority, is_expired=is_expired)
    assert why in refusal(peer(tls=made.context(tmp_path)), verify=authority.pem).detail


def test_a_certificate_signed_by_itself_is_refused(peer, tmp_path):
    shop = peer(tls=certificate("127.0.0.1").context(tmp_path))
    assert "signed by itself" in refusal(shop).detail


def test_an_unknown_authority_is_refused(peer, authority, tmp_path):
    shop = peer(tls=certificate("127.0.0.1", by=authority).context(tmp_path))
    assert "not known here" in refusal(shop).detail
    assert "not known here" in refusal(shop, verify=certificate().pem).detail


def test_an_authority_given_for_one_host_is_not_trusted_for_another(peer, authority, tmp_path):
    shop = peer(tls=certificate("127.0.0.1", by=authority).context(tmp_path))
    assert Http(provider="test", base_url=shop.origin, verify=authority.pem).request("GET", "/").status == 200
    shop.requests.clear()
    refusal(shop)


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion:DeprecationWarning")
def test_tls_older_than_1_2_is_refused(peer, authority, tmp_path):
    context = certificate("127.0.0.1", by=authority).context(tmp_path)
    context.set_ciphers("ALL:@SECLEVEL=0")
    context.minimum_version, context.maximum_version = ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1
    refusal(peer(tls=context), verify=authority.pem)


def test_a_host_that_speaks_no_tls_is_refused():
    listener = socket.create_server(("127.0.0.1", 0))

    def talk() -> None:
        taken, _ = listener.accept()
        with taken:
            taken.recv(65536)
            taken.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    threading.Thread(target=talk, daemon=True).start()
    with pytest.raises(NotSent) as caught:
        Http(provider="test", base_url=f"https://127.0.0.1:{listener.getsockname()[1]}").request("GET", "/")
    assert caught.value.code == "tls_failed"
    listener.close()


def test_a_handshake_that_hangs_was_not_sent():
    listener = socket.create_server(("127.0.0.1", 0))
    http = Http(provider="test", base_url=f"https://127.0.0.1:{listener.getsockname()[1]}", timeout_s=0.4)
    with pytest.raises(NotSent) as caught:
        http.request("GET", "/")
    assert caught.value.code == "provider_timeout"
    listener.close()


def test_https_is_never_left_for_http(peer, authority, tmp_path):
    plain = peer()
    shop = peer(tls=certificate("127.0.0.1", by=authority).context(tmp_path))
    for place in (plain.origin, f"http://127.0.0.1:{shop.port}/", "http://127.0.0.1/"):
        shop.answer = redirect(place)
        http = Http(provider="test", base_url=shop.origin, verify=authority.pem)
        assert http.request("GET", "/", auth=("k", "s"), follow_same_host_reads=3).status == 302
    assert plain.connections == 0
