"""The one place that speaks HTTP to others: bounded in time and size, guarded, logged, and with one way to fail.

    http = Http(provider="woocommerce", base_url=store_url, connection_id=str(connection_id))
    answer = http.request("GET", "wp-json/wc/v3/orders", params={"page": 1}, auth=(key, secret))
    orders = answer.json()  # numbers are Decimal

Statuses are the caller's business. Transport faults are raised: `NotSent` where the request certainly did not leave,
another `TemporaryError` where it may have been acted on, `Misconfigured` where this address may not be reached at all.
"""

import os
import ssl
import time
from base64 import b64encode
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any
from urllib.parse import quote, urlencode, urljoin, urlsplit

import certifi
import httpcore
import httpx
from django.conf import settings

from config import correlation
from connections import bodies, egress
from connections.calls import log_bodies, log_call, shown_url
from connections.errors import CausewayError, Misconfigured, NotSent, TemporaryError
from connections.sockets import CONNECT_TIMEOUT_S, Backend, deadline

TIMEOUT_S = 30.0
MAX_ANSWER_BYTES = 64 << 20
Params = Mapping[str, Any] | Iterable[tuple[str, Any]]


class Headers(dict[str, str]):
    """Headers by name, whatever its case; repeated ones are joined by commas."""

    def __init__(self, pairs: Iterable[tuple[str, str]] = ()) -> None:
        super().__init__()
        for name, value in pairs:
            known = super().get(name.lower())
            self[name.lower()] = value if known is None else f"{known}, {value}"

    def __getitem__(self, name: str) -> str:
        return super().__getitem__(name.lower())

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and super().__contains__(name.lower())

    def get(self, name: str, default: Any = None) -> Any:
        return super().get(name.lower(), default)


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back. url: where from, after redirects, without secrets. request_id: the provider's name for the call."""

    status: int
    headers: Headers = field(repr=False)
    body: bytes = field(repr=False)
    duration_ms: int
    url: str
    provider: str = ""
    request_id: str = ""

    @property
    def is_success(self) -> bool:
        return 200 <= self.status < 300

    @property
    def text(self) -> str:
        return self.body.decode(errors="replace")

    def json(self) -> Any:
        """The body, every number in it a Decimal. Raises TemporaryError (provider_malformed) where it is not JSON."""
        try:
            return bodies.from_json(self.body)
        except bodies.Unreadable as error:
            kind = self.headers.get("content-type", "no type")
            told = f"{self.url} answered {self.status} with {len(self.body)} bytes of {kind}: {error}"
            raise malformed(self.provider, told, request_id=self.request_id) from error


@dataclass(frozen=True, slots=True)
class Http:
    """Calls to one base URL.

    guard: whether the host was given by a user, so that DESIGN's egress rules hold; False for what an operator has set.
    verify: PEM text of the certificate authorities to trust instead of the usual ones.
    timeout_s: for a whole call, its connect (at most 5 s) included; `request` may shorten it.
    request_id_header: the answer's header with the provider's name for the call, such as `intuit_tid`.
    is_confidential: bodies are not written down, at debug neither: those of a token endpoint are nothing but secrets.
    classify: the provider's table of errors; what it returns is raised, and the log line has its code.
    """

    provider: str
    base_url: str
    timeout_s: float = TIMEOUT_S
    guard: bool = True
    verify: str = ""
    connection_id: str = ""
    request_id_header: str = "x-request-id"
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    max_bytes: int = MAX_ANSWER_BYTES
    is_confidential: bool = False
    classify: Callable[[Answer], CausewayError | None] | None = None

    def request(
        self,
        method: str,
        path: str = "",
        *,
        params: Params | None = None,
        headers: Mapping[str, str] | None = None,
        json: Any = None,
        form: Mapping[str, str] | None = None,
        content: bytes | None = None,
        auth: tuple[str, str] | None = None,
        timeout_s: float | None = None,
        follow_same_host_reads: int = 0,
    ) -> Answer:
        """The answer, whatever its status. One of json, form, content is the body; auth is user and password (Basic).

        follow_same_host_reads: so many redirects of a GET are followed, on the same host only and never from https to
        http; the rest comes back as the 3xx that it is.
        """
        sent_headers, body = _body(json, form, content)
        sent_headers |= {**self.headers, **(headers or {})}
        if auth:
            sent_headers["Authorization"] = "Basic " + b64encode(":".join(auth).encode()).decode()
        url = self.url(path, params)
        ends_at = time.monotonic() + (self.timeout_s if timeout_s is None else timeout_s)
        may_follow = follow_same_host_reads if method in ("GET", "HEAD") else 0
        for hops_left in range(may_follow, -1, -1):
            left_s = max(ends_at - time.monotonic(), 0.001)
            answer, further = self._call(method, url, sent_headers, body, left_s, may_follow=bool(hops_left))
            if not further:
                break
            url = further
        return answer

    def url(self, path: str = "", params: Params | None = None) -> str:
        """Where `request` would go: what a signature has to be made over. Spaces are %20, lists repeat their name."""
        url = "/".join(part for part in (self.base_url.rstrip("/"), path.lstrip("/")) if part)
        pairs = [
            (name, _plain(value)) for name, value in (params.items() if isinstance(params, Mapping) else params or ())
        ]
        if not pairs:
            return url
        return f"{url}{'&' if urlsplit(url).query else '?'}{urlencode(pairs, doseq=True, quote_via=quote)}"

    def _call(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes, timeout_s: float, *, may_follow: bool
    ) -> tuple[Answer, str]:
        """One exchange on the wire and its line in the log. Returns where to go on, too, "" for nowhere."""
        started = time.monotonic()
        answer, error = None, None
        try:
            with deadline(timeout_s), _our_errors(self.provider):
                target = egress.checked_url(url, guard=self.guard).geturl()
                answer = self._exchange(method, target, headers, body, timeout_s)
            further = _further(url, answer) if may_follow else ""
            if self.classify and not further and (error := self.classify(answer)):
                raise error
            return answer, further
        except CausewayError as fault:
            error = fault
            raise
        finally:
            self._log(method, url, body, answer, error, started)

    def _exchange(self, method: str, url: str, headers: Mapping[str, str], body: bytes, timeout_s: float) -> Answer:
        started = time.monotonic()
        sent = {"User-Agent": f"Causeway/{settings.VERSION}", "Accept-Encoding": "gzip", "Accept": "application/json"}
        if correlation_id := correlation.current():
            sent[correlation.HEADER] = correlation_id
        wait_s = min(CONNECT_TIMEOUT_S, timeout_s)
        limits = {"connect": wait_s, "pool": wait_s}  # reads and writes are bounded by the deadline
        request = httpx.Request(method, url, headers=sent | dict(headers), content=body, extensions={"timeout": limits})
        with closing(_transport(os.getpid(), self.guard, self.verify).handle_request(request)) as response:
            received = Headers(response.headers.multi_items())
            raw = bodies.unpacked(response.iter_raw(), received.get("content-encoding", ""), at_most=self.max_bytes)
        return Answer(
            status=response.status_code,
            headers=received,
            body=raw,
            duration_ms=_ms_since(started),
            url=shown_url(url),
            provider=self.provider,
            request_id=received.get(self.request_id_header, "")[:200],
        )

    def _log(
        self, method: str, url: str, body: bytes, answer: Answer | None, error: CausewayError | None, started: float
    ) -> None:
        log_call(
            provider=self.provider,
            connection_id=self.connection_id,
            method=method,
            url=url,
            status=answer.status if answer else 0,
            duration_ms=_ms_since(started),
            request_bytes=len(body),
            response_bytes=len(answer.body) if answer else 0,
            request_id=answer.request_id if answer else "",
            error=error,
        )
        if self.is_confidential:
            return
        log_bodies(provider=self.provider, url=url, sent=body, received=answer.body if answer else b"")


def malformed(provider: str, told: str, *, request_id: str = "") -> TemporaryError:
    """The error for an answer that nobody can read. told: what it was, without quoting it."""
    return TemporaryError(code="provider_malformed", provider=provider, operator_detail=told, request_id=request_id)


class _Transport(httpx.HTTPTransport):
    """httpx over our own sockets: its pool is made anew, because it takes no other backend."""

    def __init__(self, context: ssl.SSLContext, *, is_guarded: bool) -> None:
        super().__init__(verify=context, trust_env=False)
        self._pool = httpcore.ConnectionPool(
            ssl_context=context,
            max_connections=64,
            max_keepalive_connections=16,
            keepalive_expiry=15,
            network_backend=Backend(is_guarded=is_guarded),
        )


@lru_cache(maxsize=16)
def _transport(_pid: int, is_guarded: bool, ca_pem: str) -> _Transport:
    """One pool a process and kind: sockets must not cross a fork, nor a guarded host find an unguarded connection.

    A transport, not a client: it keeps no cookies (one tenant's would reach another's shop), reads no proxy or password
    from the environment, follows nothing and repeats nothing.
    """
    context = ssl.create_default_context(cadata=ca_pem or None, cafile=None if ca_pem else certifi.where())
    return _Transport(context, is_guarded=is_guarded)


@contextmanager
def _our_errors(provider: str) -> Iterator[None]:
    """Whatever the transport raises, as one of ours."""
    try:
        yield
    except CausewayError as refused:
        refused.provider = provider
        raise
    except (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError, UnicodeError, bodies.Unreadable) as fault:
        error = _translated(fault)
        error.provider = provider
        raise error from fault


def _translated(fault: Exception) -> CausewayError:
    told = f"{type(fault).__name__}: {fault}"
    if isinstance(fault, httpx.ConnectError) and (tls := _cause(fault, ssl.SSLError)):
        return NotSent(_why_untrusted(tls), code="tls_failed", operator_detail=told)
    match fault:
        case httpx.ConnectTimeout() | httpx.PoolTimeout():
            return NotSent(code="provider_timeout", operator_detail=told)
        case httpx.TimeoutException():
            return TemporaryError(code="provider_timeout", operator_detail=told)
        case httpx.ConnectError():
            return NotSent(operator_detail=told)
        case httpx.NetworkError():
            return TemporaryError(operator_detail=told)
        case httpx.RemoteProtocolError() if "closed connection" in told or "disconnected" in told:
            return TemporaryError(operator_detail=told)
        case httpx.RemoteProtocolError() | bodies.Unreadable():
            return TemporaryError(code="provider_malformed", operator_detail=told)
    return Misconfigured(operator_detail=f"the request cannot be written as HTTP ({type(fault).__name__})")


_UNTRUSTED = {  # OpenSSL's X509_V_ERR_*
    7: "Its certificate was not signed by whom it names.",
    9: "Its certificate is not valid yet.",
    10: "Its certificate has expired.",
    18: "Its certificate is signed by itself.",
    19: "Its certificate is signed by an authority that nobody knows.",
    20: "Its certificate is signed by an authority that is not known here, or an intermediate certificate is missing.",
    21: "An intermediate certificate is missing.",
    62: "Its certificate is for another name.",
    64: "Its certificate is for another address.",
}


def _why_untrusted(error: BaseException) -> str:
    """The cause for the person whose host it is; "" where there is nothing better than the code's own words."""
    why = _UNTRUSTED.get(getattr(error, "verify_code", 0), "")
    return f"The host offers no connection that can be trusted. {why} Nothing was sent." if why else ""


def _cause(error: BaseException | None, kind: type[BaseException]) -> BaseException | None:
    while error and not isinstance(error, kind):
        error = error.__cause__ or error.__context__
    return error


def _further(url: str, answer: Answer) -> str:
    """Where a redirect leads, if it is the same service: else a credential would be sent where nobody meant it."""
    location = answer.headers.get("location", "")
    if answer.status not in (301, 302, 303, 307, 308) or not location:
        return ""
    try:
        old, new = urlsplit(url), urlsplit(urljoin(url, location))
        is_same = _place(old.scheme, old.hostname, old.port) == _place(new.scheme, new.hostname, new.port)
        is_upgrade = (old.scheme, new.scheme) == ("http", "https") and not (old.port or new.port)
    except ValueError:
        return ""
    if is_same or (is_upgrade and old.hostname == new.hostname):
        return new._replace(fragment="").geturl()
    return ""


def _body(json: Any, form: Mapping[str, str] | None, content: bytes | None) -> tuple[dict[str, str], bytes]:
    if json is not None:
        return {"Content-Type": "application/json"}, bodies.to_json(json)
    if form is not None:
        return {"Content-Type": "application/x-www-form-urlencoded"}, urlencode(form).encode()
    return {}, content or b""


def _plain(value: Any) -> Any:
    return str(value).lower() if isinstance(value, bool) else value


def _place(scheme: str, host: str | None, port: int | None) -> tuple[str, str | None, int]:
    return (scheme, host, port or (443 if scheme == "https" else 80))


def _ms_since(started: float) -> int:
    return round((time.monotonic() - started) * 1000)
