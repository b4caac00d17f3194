"""Where this installation may connect to when somebody else names the host: looked at before, held to at the connect.

A name is resolved once, every address it has is judged, and the connection goes to an address that was judged: what the
name says a moment later changes nothing. docs/explanation/egress.md has the why.
"""

import ipaddress
import re
import socket
import threading
from collections.abc import Collection
from urllib.parse import SplitResult, urlsplit

import idna
from django.conf import settings

from connections.errors import Misconfigured, NotSent

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

WEB_PORTS = frozenset({80, 443, 8080, 8443})
POSTGRES_PORTS = frozenset({5432, 6432, 6543})  # PostgreSQL, PgBouncer, Supabase's pooler
RESOLVE_TIMEOUT_S = 5.0


def _networks(*texts: str) -> tuple[Network, ...]:
    return tuple(ipaddress.ip_network(text) for text in texts)


# Nobody's setting opens these: link-local, multicast, unspecified, and where clouds tell machines their credentials.
_NEVER = _networks(
    *("169.254.0.0/16", "100.100.100.200", "168.63.129.16", "192.0.0.192", "0.0.0.0/8", "224.0.0.0/4"),
    *("255.255.255.255", "::/128", "fe80::/10", "ff00::/8", "fd00:ec2::/32", "fd20:ce::/32"),
    # An IPv4 address in IPv6 clothes: whatever it means, nobody needs it, and it means something else to everybody.
    *("::ffff:0:0/96", "64:ff9b::/96", "64:ff9b:1::/48", "2001::/32", "2002::/16"),
)
# IANA's special-purpose registries, written out: `is_global` of older Pythons lets several of them pass.
_NOT_PUBLIC = _networks(
    *("10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "172.16.0.0/12", "192.0.0.0/24", "192.0.2.0/24"),
    *("192.88.99.0/24", "192.168.0.0/16", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24", "240.0.0.0/4"),
    *("2001::/23", "2001:db8::/32", "3fff::/20"),
)
_PUBLIC_V6 = ipaddress.ip_network("2000::/3")  # all that is given out; ULA, site-local and the rest lie outside
_LABEL = re.compile(r"(?!-)[a-z0-9_-]{1,63}(?<!-)", re.ASCII)
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*", re.ASCII)
_UNFIT = re.compile(r"[\x00-\x20\x7f-\xa0\\\u2028\u2029]")


def checked_url(url: str, *, guard: bool = True) -> SplitResult:
    """The URL's parts, its host as it goes on the wire. Nothing is resolved yet. Raises Misconfigured.

    guard: False for a URL that an operator has set: then only its form counts, and any port is fine.
    """
    if _UNFIT.search(url):
        raise refused("The address contains a character that no address has.")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise refused("The address is not a URL.") from error
    if parts.scheme not in ("http", "https"):
        raise refused("The address has to start with https:// or http://.")
    if "@" in parts.netloc:
        raise refused("The address must not contain a user name or a password.")
    if port == 0:
        raise refused("The port 0 is not one to connect to.")
    host = checked_host(parts.hostname or "") if guard else (parts.hostname or "")
    shown = f"[{host}]" if ":" in host else host
    return parts._replace(netloc=shown if port is None else f"{shown}:{port}")


def checked_host(host: str) -> str:
    """The host in the one form that means the same to everybody: an address as usual, or a name in ASCII.

    Raises Misconfigured for what some parser would read differently: 2130706433, 0x7f.1, 0177.0.0.1, fe80::1%eth0, …
    """
    host = host.lower()
    if ":" in host:
        return str(_literal(host))
    name = host if host.isascii() else _international(host)
    labels = name.split(".")
    if _NUMBER.fullmatch(labels[-1]):
        return str(_literal(host))  # as it was given: digits of other scripts are none in an address
    if len(name) > 253 or not all(_LABEL.fullmatch(label) for label in labels):
        raise refused("The host name is not a valid one.")
    return name


def checked_address(host: str, port: int, *, ports: Collection[int] = WEB_PORTS | POSTGRES_PORTS) -> str:
    """An address of this host that may be connected to now: for a DSN's `hostaddr`. Raises as `checked_addresses`."""
    return checked_addresses(host, port, ports=ports)[0]


def checked_addresses(
    host: str, port: int, *, ports: Collection[int] = WEB_PORTS, timeout_s: float = RESOLVE_TIMEOUT_S
) -> list[str]:
    """All addresses of this host, in the order to try them. Connect to them, never to the name again.

    Raises Misconfigured (address_not_allowed) where one of them may not be reached from here, NotSent (host_not_found).
    """
    host = checked_host(host)
    found = resolve(host, port, timeout_s=timeout_s)
    for text in found:
        _judge(host, text, port, ports)
    return found


def resolve(host: str, port: int, *, timeout_s: float = RESOLVE_TIMEOUT_S) -> list[str]:
    """The host's addresses, unjudged. The system's resolver knows no deadline, so it is asked beside. Raises NotSent."""
    outcome: list[list[str] | OSError | UnicodeError] = []

    def ask() -> None:
        try:
            answers = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
            outcome.append(list(dict.fromkeys(str(answer[4][0]) for answer in answers)))
        except (OSError, UnicodeError) as error:
            outcome.append(error)

    asking = threading.Thread(target=ask, name="resolve", daemon=True)
    asking.start()
    asking.join(max(timeout_s, 0.001))
    answer = outcome[0] if outcome else TimeoutError("no answer in time")
    if isinstance(answer, list) and answer:
        return answer
    raise NotSent(code="host_not_found", operator_detail=f"{host} could not be resolved: {answer}")


def is_allowed(address: Address) -> bool:
    """Whether the operator opened a network that holds it (ALLOW_PRIVATE_NETWORKS), and it can be opened at all."""
    return not _within(address, _NEVER) and _within(address, settings.ALLOW_PRIVATE_NETWORKS)


def is_public(address: Address) -> bool:
    """Whether it is anybody's on the internet."""
    if address.version == 6 and address not in _PUBLIC_V6:
        return False
    return address.is_global and not address.is_multicast and not _within(address, (*_NEVER, *_NOT_PUBLIC))


def refused(detail: str = "", *, operator_detail: str = "") -> Misconfigured:
    """What to raise. `detail` is read by the person who gave the host, so it never names what the host resolves to."""
    return Misconfigured(detail, code="address_not_allowed", operator_detail=operator_detail or detail)


def _judge(host: str, text: str, port: int, ports: Collection[int]) -> None:
    address = None if "%" in text else ipaddress.ip_address(text)
    if address and is_allowed(address):
        return
    if not (address and is_public(address)):
        raise refused(operator_detail=f"{host} is at {text}, which is not a public address")
    if port not in ports:
        shown = ", ".join(map(str, sorted(ports)))
        raise refused(
            f"The port {port} is not one of {shown}.", operator_detail=f"{host} was to be reached at port {port}"
        )


def _international(host: str) -> str:
    """The name in ASCII, as browsers write it (IDNA 2008 after UTS 46's mapping)."""
    try:
        return idna.encode(host, uts46=True).decode("ascii").lower()
    except (idna.IDNAError, UnicodeError) as error:
        raise refused("The host name is not a valid one.") from error


def _literal(host: str) -> Address:
    """An address in its usual form; `ipaddress` takes no other (no leading zeros, no hex, no missing parts)."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError as error:
        raise refused("The host is neither a name nor an address in its usual form.") from error
    if "%" in host:
        raise refused("The host is an address of one network interface only.")
    return address


def _within(address: Address, networks: Collection[Network]) -> bool:
    return any(network.version == address.version and address in network for network in networks)
