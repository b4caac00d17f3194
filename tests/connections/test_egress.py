"""Whoever names a host can make this installation connect nowhere but to the public internet, whatever the trick."""

import ipaddress
import socket
import time

import pytest

from connections import egress
from connections.errors import Misconfigured, NotSent
from connections.http import Http
from tests.connections.peer import whole

PRIVATE = ["10.0.0.1", "10.255.255.255", "172.16.0.1", "172.31.255.255", "192.168.1.1"]
LOOPBACK = ["127.0.0.1", "127.255.255.254", "::1"]
LINK_LOCAL = ["169.254.1.1", "fe80::1", "febf::1"]
METADATA = [
    *("169.254.169.254", "169.254.170.2", "100.100.100.200", "192.0.0.192", "168.63.129.16"),
    *("fd00:ec2::254", "fd20:ce::254"),
]
SHARED = ["100.64.0.1", "100.127.255.255"]
RESERVED = [
    *("0.0.0.0", "0.1.2.3", "192.0.0.1", "192.0.2.1", "192.88.99.1", "198.18.0.1", "198.51.100.7", "203.0.113.9"),
    *("240.0.0.1", "255.255.255.255", "::", "100::1", "2001:db8::1", "3fff::1", "2001:20::1", "4000::1"),
]
MULTICAST = ["224.0.0.1", "239.255.255.255", "ff02::1", "ff0e::1"]
LOCAL_V6 = ["fc00::1", "fd12:3456:789a::1", "fec0::1", "feff::1"]
DISGUISED = [
    *("::ffff:127.0.0.1", "::ffff:8.8.8.8", "::127.0.0.1", "::ffff:0:127.0.0.1"),  # mapped, compatible, translated
    *("64:ff9b::7f00:1", "64:ff9b::808:808", "64:ff9b:1::7f00:1"),  # NAT64
    *("2002:7f00:1::1", "2002:a00:1::1"),  # 6to4
    *("2001:0:4136:e378:8000:63bf:3fff:fdd2", "2001::1"),  # Teredo
]
REFUSED = [*PRIVATE, *LOOPBACK, *LINK_LOCAL, *METADATA, *SHARED, *RESERVED, *MULTICAST, *LOCAL_V6, *DISGUISED]
PUBLIC = [
    *("8.8.8.8", "1.1.1.1", "9.255.255.255", "11.0.0.1", "100.63.255.255", "100.128.0.1", "126.255.255.255"),
    *("128.0.0.1", "169.253.255.255", "169.255.0.1", "172.15.255.255", "172.32.0.1", "192.167.0.1", "192.169.0.1"),
    *("198.17.255.255", "198.20.0.1", "223.255.255.255", "2606:4700::1111", "2a00:1450::1", "2001:4860:4860::8888"),
]
MISREAD = [  # what some parser takes for 127.0.0.1 or 169.254.169.254, and another for something else
    *("2130706433", "017700000001", "0x7f000001", "0x7f.0.0.1", "0177.0.0.1", "127.1", "127.0.1", "0"),
    *("127.0.0.01", "0x7f.1", "0xa9fea9fe", "2852039166", "0251.0376.0251.0376", "169.254.43518", "1.2.3.4.5"),
    *("256.1.1.1", "999", "127.0.0.0x1", "１２７.0.0.1", "127。0。0。1", "①②⑦.0.0.1", "127.0.0.１"),
]
NO_NAMES = [
    *("", ".", "..", "a..b", ".a.example", "-a.example", "a-.example", "a b.example", "a\tb.example", "a\0.example"),
    *("a/b", "a?b", "a#b", "a@b", "a%2eb", "a\\b", "*.example", "a,b.example", "x" * 64 + ".example"),
    *(".".join(["a" * 60] * 5), "xn--\u00fc.example", "\u2024.example", "a\u200bb\u2028.example", "fe80::1%eth0"),
    *("::1%25lo", "[::1]", "1:2:3", "::ffff:0x7f.1", "example.com:80", "e\u0338\u202e.example"),
]


@pytest.fixture(autouse=True)
def nothing_is_open(settings) -> None:
    """As an installation is without ALLOW_PRIVATE_NETWORKS."""
    settings.ALLOW_PRIVATE_NETWORKS = []


def told(caught) -> str:
    """What a person reads of it."""
    return f"{caught.value.detail} {caught.value.remediation} {caught.value.entry.title}"


@pytest.fixture
def names(monkeypatch):
    """A name server that answers as told. Each list is one answer; the last one is repeated."""
    answers: dict[str, list[list[str]]] = {}
    asked: list[str] = []
    system = socket.getaddrinfo

    def answer(host, port, *args, **kwargs):
        if host not in answers:
            return system(host, port, *args, **kwargs)
        asked.append(host)
        found = answers[host].pop(0) if len(answers[host]) > 1 else answers[host][0]
        return [
            (socket.AF_INET6 if ":" in text else socket.AF_INET, socket.SOCK_STREAM, 6, "", (text, port))
            for text in found
        ]

    monkeypatch.setattr(socket, "getaddrinfo", answer)
    answers["asked"] = asked  # type: ignore[assignment]
    return answers


@pytest.mark.parametrize("address", REFUSED)
def test_an_address_that_is_not_public_is_refused(address):
    with pytest.raises(Misconfigured) as caught:
        egress.checked_address(address, 443)
    assert caught.value.code == "address_not_allowed"


@pytest.mark.parametrize("address", PUBLIC)
def test_a_public_address_is_taken_as_it_is(address):
    assert egress.checked_address(address, 443) == address


@pytest.mark.parametrize("address", REFUSED)
def test_a_name_for_such_an_address_is_refused_and_never_tells_it(names, address):
    names["shop.example"] = [[address]]
    with pytest.raises(Misconfigured) as caught:
        egress.checked_address("shop.example", 443)
    assert address not in told(caught)
    assert address in caught.value.operator_detail


@pytest.mark.parametrize("address", ["10.0.0.1", "127.0.0.1", "169.254.169.254", "fd00:ec2::254", "64:ff9b::a00:1"])
@pytest.mark.parametrize("is_first", [True, False])
def test_one_such_address_among_public_ones_is_enough_to_refuse(names, address, is_first):
    names["shop.example"] = [[address, "8.8.8.8"] if is_first else ["8.8.8.8", address]]
    with pytest.raises(Misconfigured):
        egress.checked_address("shop.example", 443)


def test_public_addresses_come_back_in_the_order_to_try_them(names):
    names["shop.example"] = [["2606:4700::1111", "8.8.8.8"]]
    assert egress.checked_addresses("shop.example", 443) == ["2606:4700::1111", "8.8.8.8"]


@pytest.mark.parametrize("host", [*MISREAD, *NO_NAMES])
def test_a_host_that_parsers_read_differently_is_refused_unasked(names, monkeypatch, host):
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_args, **_more: pytest.fail("it was looked up"))
    with pytest.raises(Misconfigured) as caught:
        egress.checked_address(host, 443)
    assert caught.value.code == "address_not_allowed"


@pytest.mark.parametrize("host", MISREAD)
def test_nor_is_it_taken_with_private_networks_open(nothing_is_open, private_networks_allowed, host):
    with pytest.raises(Misconfigured):
        egress.checked_address(host, 443)


@pytest.mark.parametrize(
    "given, meant",
    [
        ("Shop.Example.COM", "shop.example.com"),
        ("bücher.example", "xn--bcher-kva.example"),
        ("straße.example", "xn--strae-oqa.example"),
        ("SHOP。example", "shop.example"),
        ("my_shop.example", "my_shop.example"),
        ("2606:4700:0:0::1111", "2606:4700::1111"),
        ("1.2.3.4", "1.2.3.4"),
        ("1and1.example", "1and1.example"),
    ],
)
def test_a_name_has_one_form(given, meant):
    assert egress.checked_host(given) == meant


@pytest.mark.parametrize(
    "url",
    [
        *("ftp://shop.example/", "file:///etc/passwd", "gopher://shop.example/", "//shop.example/", "shop.example", ""),
        *("javascript:alert(1)", "dict://127.0.0.1:11211/", "HTTP+unix://x/", "https:shop.example", "https:///path"),
        *(
            "https://user@shop.example/",
            "https://user:secret@shop.example/",
            "https://8.8.8.8@127.0.0.1/",
            "https://@a.b/",
        ),
        *("https://shop.example:0/", "https://shop.example:99999/", "https://shop.example:x/", "https://[::1/"),
        *(
            "https://shop.example\\@127.0.0.1/",
            "https://shop.example /",
            "https://shop.example\r\nHost: a/",
            "https://a\x00b/",
        ),
        *(
            "https://shop.example\u3000/",
            "http://2130706433/",
            "http://0x7f.1/",
            "http://[fe80::1%25eth0]/",
            "http://127.1:80/",
        ),
    ],
)
def test_a_url_with_a_trick_in_it_is_refused(url):
    with pytest.raises(Misconfigured) as caught:
        egress.checked_url(url)
    assert caught.value.code == "address_not_allowed"
    assert "secret" not in f"{told(caught)} {caught.value}"


def test_a_plain_url_keeps_all_its_parts():
    assert egress.checked_url("https://Bücher.example:8443/a/b?c=d#e").geturl() == (
        "https://xn--bcher-kva.example:8443/a/b?c=d#e"
    )
    assert egress.checked_url("http://[2606:4700::1111]:8080/").netloc == "[2606:4700::1111]:8080"


@pytest.mark.parametrize("port", [22, 25, 81, 3306, 5432, 6379, 8000, 9200, 11211])
def test_the_web_is_at_four_ports(port):
    with pytest.raises(Misconfigured) as caught:
        egress.checked_addresses("8.8.8.8", port)
    assert str(port) in caught.value.detail
    assert [egress.checked_addresses("8.8.8.8", known) for known in (80, 443, 8080, 8443)] == [["8.8.8.8"]] * 4


def test_postgresql_is_at_three(names):
    ports = {"ports": egress.POSTGRES_PORTS}
    assert [egress.checked_address("8.8.8.8", port, **ports) for port in (5432, 6432, 6543)] == ["8.8.8.8"] * 3
    for port in (80, 443, 5433):
        with pytest.raises(Misconfigured):
            egress.checked_address("8.8.8.8", port, **ports)


@pytest.mark.parametrize("address", [*PRIVATE, *LOOPBACK, "fc00::1"])
def test_private_networks_may_be_opened_at_any_port(nothing_is_open, private_networks_allowed, address):
    assert egress.checked_address(address, 31337) == address


@pytest.mark.parametrize("address", [*LINK_LOCAL, *METADATA, *SHARED, *RESERVED, *MULTICAST, *DISGUISED, "fec0::1"])
def test_opening_private_networks_opens_nothing_else(nothing_is_open, private_networks_allowed, address):
    with pytest.raises(Misconfigured):
        egress.checked_address(address, 443)


def test_a_network_opened_by_name_is_the_only_one(settings):
    settings.ALLOW_PRIVATE_NETWORKS = [ipaddress.ip_network("10.1.0.0/16"), ipaddress.ip_network("100.64.0.0/10")]
    assert egress.checked_address("10.1.2.3", 8000) == "10.1.2.3"
    assert egress.checked_address("100.64.0.1", 443) == "100.64.0.1"
    for address in ("10.2.0.1", "127.0.0.1", "100.100.100.200"):
        with pytest.raises(Misconfigured):
            egress.checked_address(address, 443)


@pytest.mark.parametrize(
    "address", ["169.254.169.254", "224.0.0.1", "0.0.0.0", "fe80::1", "fd00:ec2::254", "::ffff:10.0.0.1"]
)
def test_nobody_can_open_link_local_multicast_or_metadata(settings, address):
    settings.ALLOW_PRIVATE_NETWORKS = [ipaddress.ip_network("0.0.0.0/0"), ipaddress.ip_network("::/0")]
    with pytest.raises(Misconfigured):
        egress.checked_address(address, 443)
    assert egress.checked_address("10.0.0.1", 443) == "10.0.0.1"


def test_a_name_without_an_address_was_not_called():
    with pytest.raises(NotSent) as caught:
        egress.checked_address("nobody.invalid", 443)
    assert caught.value.code == "host_not_found"


def test_a_name_server_that_is_silent_holds_nobody_up(monkeypatch):
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_args, **_more: time.sleep(1) or [])
    began = time.monotonic()
    with pytest.raises(NotSent) as caught:
        egress.checked_addresses("slow.example", 443, timeout_s=0.1)
    assert caught.value.code == "host_not_found"
    assert time.monotonic() - began < 1


# --- at the connect --------------------------------------------------------------------------------------------------


def test_a_name_that_changes_its_address_after_the_check_is_not_followed(
    nothing_is_open, private_networks_allowed, peer, names
):
    checked = peer(whole(b'"the one that was checked"', b"Connection: close"))
    other = peer(whole(b'"another"'), host="127.0.0.2", port=checked.port)
    names["shop.example"] = [["127.0.0.1"], ["127.0.0.2"]]
    shop = Http(provider="test", base_url=f"http://shop.example:{checked.port}")
    assert shop.request("GET", "/").json() == "the one that was checked"
    assert (names["asked"], other.connections) == (["shop.example"], 0)  # asked once: nothing is left to change
    assert checked.requests[0].headers["host"] == f"shop.example:{checked.port}"


def test_a_name_that_turns_inward_later_is_refused_at_its_next_connect(settings, peer, names):
    settings.ALLOW_PRIVATE_NETWORKS = [ipaddress.ip_network("127.0.0.1/32")]
    outside = peer(whole(b"1", b"Connection: close"))
    inside = peer(whole(b"2"), host="127.0.0.2", port=outside.port)
    names["shop.example"] = [["127.0.0.1"], ["127.0.0.2"]]
    shop = Http(provider="test", base_url=f"http://shop.example:{outside.port}")
    assert shop.request("GET", "/").json() == 1
    with pytest.raises(Misconfigured) as caught:
        shop.request("GET", "/")
    assert caught.value.code == "address_not_allowed"
    assert "127.0.0.2" not in told(caught)
    assert inside.connections == 0


def test_the_second_address_is_tried_where_the_first_does_not_answer(
    nothing_is_open, private_networks_allowed, peer, names
):
    there = peer(host="127.0.0.2")
    names["shop.example"] = [["127.0.0.3", "127.0.0.2"]]
    assert Http(provider="test", base_url=f"http://shop.example:{there.port}").request("GET", "/").status == 200


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "[::1]", "[::ffff:127.0.0.1]", "2130706433", "0x7f.1"])
def test_loopback_is_not_reached_by_any_of_its_names(peer, host):
    inside = peer()
    for port in (inside.port, 80):
        with pytest.raises(Misconfigured):
            Http(provider="test", base_url=f"http://{host}:{port}").request("GET", "/")
    assert inside.connections == 0


def test_a_connection_opened_for_an_operators_url_is_not_lent_to_a_users(peer):
    inside = peer()
    assert Http(provider="test", base_url=inside.origin, guard=False).request("GET", "/").status == 200
    with pytest.raises(Misconfigured):
        Http(provider="test", base_url=inside.origin).request("GET", "/")
