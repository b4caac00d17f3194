"""One shop's API: signed as its verification has found out, at most two requests at a time, pages as large as it bears.

Reads follow no redirect: the verification has settled on the shop's final address. A list parameter is sent with
commas, because the repeated form breaks OAuth signatures.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import structlog

from connections import budgets, errors
from connections.http import Answer, Http
from connections.providers.base import Access, Json
from connections.providers.woocommerce import answers
from connections.providers.woocommerce.auth import Keys, Signing, credentials
from connections.providers.woocommerce.errors import PROVIDER, Overloaded, classify

log = structlog.get_logger(__name__)

API = "wp-json/wc/v3"
TIMEOUT_S = 60.0
AT_ONCE = 2  # requests a shop, from all our processes together
SEAT_WAIT_S = 30.0
PAGE_SIZES = (100, 50, 25, 10)  # what a shop breaks down over, half of it may get through

Params = Mapping[str, Any]


def http_of(access: Access, *, base_url: str = "", timeout_s: float = TIMEOUT_S, is_classified: bool = True) -> Http:
    """Calls to this shop, unsigned; to its final address where none is given."""
    return Http(
        provider=PROVIDER,
        base_url=base_url or base_url_of(access),
        timeout_s=timeout_s,
        connection_id=str(access.connection_id),
        classify=classify if is_classified else None,
    )


def base_url_of(access: Access) -> str:
    """Where the shop was found by its last verification, if its configured address is still the one it began with."""
    found = access.facts.get("address") or {}
    configured = str(access.config.get("store_url", ""))
    return str(found.get("final", "")) if found.get("configured") == configured and found.get("final") else configured


def signing_of(access: Access) -> Signing:
    """The way in that the last verification found; before there was one, what the address suggests."""
    found = access.facts.get("signing") or {}
    base_url = base_url_of(access)
    if found.get("way") in ("basic", "query") and not base_url.startswith("https://"):
        found = {}  # the address has changed since: keys never travel readable
    if found.get("way") in ("basic", "query", "oauth1"):
        return Signing(found["way"], str(found.get("home") or base_url))
    return Signing("basic" if base_url.startswith("https://") else "oauth1", base_url)


def keys_of(access: Access) -> Keys:
    return Keys(access.secret("consumer_key"), access.secret("consumer_secret"))


@dataclass(slots=True)
class Shop:
    """One shop, for one piece of work: its keys are read once."""

    access: Access
    http: Http
    signing: Signing
    keys: Keys
    per_page: int = PAGE_SIZES[0]
    last_answer: Answer | None = field(default=None, repr=False)

    @classmethod
    def of(cls, access: Access, *, signing: Signing | None = None, timeout_s: float = TIMEOUT_S) -> "Shop":
        remembered = access.facts.get("per_page")
        return cls(
            access,
            http_of(access, timeout_s=timeout_s),
            signing or signing_of(access),
            keys_of(access),
            per_page=remembered if remembered in PAGE_SIZES else PAGE_SIZES[0],
        )

    def request(
        self, method: str, path: str, *, params: Params | None = None, json: Any = None, http: Http | None = None
    ) -> Answer:
        """The answer, if it is a good one. Raises what the table of errors says. path: below /wp-json/wc/v3."""
        where = f"{API}/{path}".rstrip("/")
        query = {name: _plain(value) for name, value in (params or {}).items() if value is not None}
        carried = credentials(self.signing, self.keys, method=method, path=where, params=query)
        with seat(self.http.base_url):
            self.last_answer = (http or self.http).request(
                method, where, params={**query, **carried.params}, json=json, auth=carried.basic
            )
        return self.last_answer

    def get(self, path: str, params: Params | None = None) -> Json:
        """One object."""
        return _shaped(self.request("GET", path, params=params), dict)

    def rows(self, path: str, params: Params | None = None) -> list[Json]:
        """One page of a list, of as many as `params` say."""
        return [row for row in _shaped(self.request("GET", path, params=params), list) if isinstance(row, dict)]

    def page(self, path: str, params: Params) -> list[Json]:
        """One page of a list, as large as the shop bears: a size that it breaks down over is halved, and remembered.

        `self.per_page` is the size that this page was asked with: a shorter one is the last.
        """
        while True:
            try:
                found = self.rows(path, {**params, "per_page": self.per_page})
            except errors.TemporaryError as fault:
                if not _is_too_much(fault) or self.per_page == PAGE_SIZES[-1]:
                    raise
                self.per_page = PAGE_SIZES[PAGE_SIZES.index(self.per_page) + 1]
                log.info("shop_pages_halved", connection=str(self.access.connection_id), per_page=self.per_page)
                continue
            if self.per_page < self.access.facts.get("per_page", PAGE_SIZES[0]):
                self.access.remember({"per_page": self.per_page})  # not before it got through: the shop may be down
            return found

    def write(self, method: str, path: str, body: Any, *, params: Params | None = None) -> Json:
        """The object as it is stored now. Raises NotSent where it may be repeated, TemporaryError where nobody knows."""
        return _shaped(self.request(method, path, params=params, json=body), dict)


@contextmanager
def seat(base_url: str) -> Iterator[None]:
    """One of the few requests that a shop gets at once. Raises RateLimited where others keep it busy for too long."""
    with budgets.seat(PROVIDER, base_url, at_most=AT_ONCE, held_s=TIMEOUT_S + 5, wait_s=SEAT_WAIT_S) as is_seated:
        if not is_seated:
            raise errors.RateLimited(
                provider=PROVIDER, retry_after_s=5.0, operator_detail="other requests keep this shop busy"
            )
        yield


def comma_joined(ids: Sequence[Any]) -> str:
    return ",".join(map(str, ids))


def _is_too_much(fault: errors.TemporaryError) -> bool:
    if isinstance(fault, errors.NotSent | errors.RateLimited):
        return False
    return isinstance(fault, Overloaded) or fault.code in ("provider_timeout", "provider_malformed")


def _plain(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return comma_joined(value) if isinstance(value, list | tuple) else str(value)


def _shaped(answer: Answer, shape: type) -> Any:
    found = answers.body_of(answer)
    if isinstance(found, shape):
        return found
    raise errors.TemporaryError(
        code="shop_blocked",
        provider=PROVIDER,
        operator_detail=f"{answer.url} answered {answer.status} with another shape than a {shape.__name__}",
    )
