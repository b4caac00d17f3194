"""List requests: parameters as WordPress checks them, and what they ask of a table."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any
from urllib.parse import quote_plus

from . import woocommerce_dates as dates
from .woocommerce_auth import php_pairs
from .woocommerce_errors import invalid
from .woocommerce_money import number
from .woocommerce_rows import UNLISTED, Row, Wanted

if TYPE_CHECKING:
    from .woocommerce_store import Store

POSTS = ("date", "id", "include", "title", "slug", "modified")
ORDER_BY: dict[str, tuple[str, ...]] = {
    "orders": POSTS,
    "refunds": POSTS,
    "coupons": POSTS,
    "variations": (*POSTS, "menu_order"),
    "products": (*POSTS, "price", "popularity", "rating", "menu_order"),
    "customers": ("id", "include", "name", "registered_date"),
    "taxes": ("id", "order", "priority"),
    "webhooks": ("date", "id", "title"),
}
DEFAULT_ORDER = {"customers": ("name", "asc"), "taxes": ("order", "asc")}
DATED = frozenset({"orders", "refunds", "coupons", "variations", "products"})
ORDER_STATUSES = (
    "any", "trash", "auto-draft", "pending", "processing", "on-hold", "completed", "cancelled", "refunded", "failed", "checkout-draft",
)  # fmt: skip
POST_STATUSES = ("any", "future", "trash", "draft", "pending", "private", "publish")
ROLES = ("all", "administrator", "editor", "author", "contributor", "subscriber", "customer", "shop_manager")


class Parameters:
    """The query of a request. Each reader notes what is wrong; `check` then refuses them all at once."""

    def __init__(self, raw_query: str):
        self.pairs = php_pairs(raw_query)
        self.problems: dict[str, tuple[str, str]] = {}

    def check(self) -> None:
        """Raises WooError."""
        if self.problems:
            raise invalid(self.problems)

    def has(self, name: str) -> bool:
        return name in self.pairs or f"{name}[0]" in self.pairs

    def text(self, name: str, default: str = "") -> str:
        return self.pairs.get(name, default)

    def texts(self, name: str) -> list[str]:
        """A list: comma-joined, or `name[]` several times."""
        several = [value for key, value in self.pairs.items() if key.startswith(f"{name}[")]
        joined = self.pairs.get(name, "")
        return several or [part.strip() for part in joined.replace(" ", ",").split(",") if part.strip()]

    def choice(self, name: str, allowed: tuple[str, ...], default: str) -> str:
        value = self.text(name, default)
        if value not in allowed:
            self._refuse(name, "rest_not_in_enum", f"{name} is not one of {_listed(allowed)}.")
        return value

    def choices(self, name: str, allowed: tuple[str, ...]) -> list[str]:
        values = self.texts(name)
        for place, value in enumerate(values):
            if value not in allowed:
                self._refuse(name, "rest_not_in_enum", f"{name}[{place}] is not one of {_listed(allowed)}.")
        return values

    def whole(self, name: str, default: int, low: int | None = None, high: int | None = None) -> int:
        value = self.text(name, str(default))
        if not value.strip().removeprefix("-").isdigit():
            self._refuse(name, "rest_invalid_type", f"{name} is not of type integer.")
            return default
        amount = int(value)
        if low is not None and high is not None and not low <= amount <= high:
            text = f"{name} must be between {low} (inclusive) and {high} (inclusive)"
            self._refuse(name, "rest_out_of_bounds", text)
        elif low is not None and amount < low:
            self._refuse(name, "rest_out_of_bounds", f"{name} must be greater than or equal to {low}")
        return amount

    def ids(self, name: str) -> list[int]:
        values = self.texts(name)
        for place, value in enumerate(values):
            if not value.isdigit():
                self._refuse(name, "rest_invalid_type", f"{name}[{place}] is not of type integer.")
        return [int(value) for value in values if value.isdigit()]

    def flag(self, name: str) -> bool:
        value = self.text(name, "false").lower()
        if value not in ("true", "false", "1", "0", ""):
            self._refuse(name, "rest_invalid_type", f"{name} is not of type boolean.")
        return value in ("true", "1")

    def bound(self, name: str, store: Store, *, are_gmt: bool) -> int | None:
        if name not in self.pairs:
            return None
        try:
            return dates.bound(self.pairs[name], store.zone, are_gmt=are_gmt)
        except ValueError:
            self._refuse(name, "rest_invalid_date", "Invalid date.")
            return None

    def _refuse(self, name: str, code: str, sentence: str) -> None:
        self.problems.setdefault(name, (code, sentence))


def _listed(names: tuple[str, ...]) -> str:
    return f"{', '.join(names[:-1])}, and {names[-1]}"


def wanted_from(parameters: Parameters, table: str, store: Store) -> tuple[Wanted, int, int]:
    """(what is asked of the table, page, per page). Problems are noted in `parameters`."""
    default_by, default_order = DEFAULT_ORDER.get(table, ("date", "desc"))
    page, per_page = parameters.whole("page", 1, 1), parameters.whole("per_page", 10, 1, 100)
    offset = parameters.whole("offset", 0, 0) if parameters.has("offset") else (page - 1) * per_page
    order_by = parameters.choice("orderby", ORDER_BY[table], default_by)
    wanted = Wanted(
        order_by="date" if order_by == "registered_date" else order_by,
        is_descending=parameters.choice("order", ("asc", "desc"), default_order) == "desc",
        offset=offset,
        limit=per_page,
        exclude=frozenset(parameters.ids("exclude")),
        include=parameters.ids("include") or None,
    )
    if table in DATED:
        are_gmt = parameters.flag("dates_are_gmt")
        wanted.created_after = parameters.bound("after", store, are_gmt=are_gmt)
        wanted.created_before = parameters.bound("before", store, are_gmt=are_gmt)
        wanted.modified_after = parameters.bound("modified_after", store, are_gmt=are_gmt)
        wanted.modified_before = parameters.bound("modified_before", store, are_gmt=are_gmt)
    return wanted, page, per_page


def narrow(wanted: Wanted, parameters: Parameters, table: str, store: Store) -> None:
    """Add the filters of this kind of object."""
    tests: list[Callable[[Row], bool]] = []
    own = store.tables[table]
    if table == "orders":
        _by_status(wanted, parameters.choices("status", ORDER_STATUSES), tests, own.by_id, own.unlisted)
        _orders(wanted, parameters, store, tests)
    elif table in ("products", "variations", "coupons"):
        _by_status(wanted, parameters.choices("status", POST_STATUSES), tests, own.by_id, own.unlisted)
        _goods(parameters, table, store, tests)
    elif table == "customers":
        role = parameters.choice("role", ROLES, "customer")
        if role != "all":
            tests.append(lambda row: row.status == role)
        if email := parameters.text("email"):
            tests.append(lambda row: store.body(table, row)["email"].lower() == email.lower())
    elif table == "taxes" and (tax_class := parameters.text("class")):
        tests.append(lambda row: (row.body or {})["class"] == tax_class)
    if sought := parameters.text("search").lower():
        tests.append(lambda row: sought in _searchable(store, table, row))
    if tests:
        wanted.passes = lambda row: all(test(row) for test in tests)


def _by_status(
    wanted: Wanted, statuses: list[str], tests: list[Callable[[Row], bool]], listed: list[int], unlisted: set[int]
) -> None:
    if not statuses or "any" in statuses:
        if wanted.pool is not None:
            tests.append(lambda row: row.status not in UNLISTED)
        return
    asked = frozenset(statuses)
    if wanted.pool is None and asked & UNLISTED:
        wanted.pool = unlisted if asked <= UNLISTED else [*listed, *unlisted]
    tests.append(lambda row: row.status in asked)


def _orders(wanted: Wanted, parameters: Parameters, store: Store, tests: list[Callable[[Row], bool]]) -> None:
    if parameters.has("customer"):
        customer = parameters.whole("customer", 0)
        tests.append(lambda row: row.owner == customer)
    if parameters.has("product"):
        product = parameters.whole("product", 0)
        tests.append(lambda row: any(line["product_id"] == product for line in store.body("orders", row)["line_items"]))
    if parents := parameters.ids("parent"):
        tests.append(lambda row: store.body("orders", row)["parent_id"] in parents)


def _goods(parameters: Parameters, table: str, store: Store, tests: list[Callable[[Row], bool]]) -> None:
    names = [name for name in ("sku", "slug", "type", "stock_status", "code") if parameters.has(name)]
    tests += [_one_of(store, table, name, frozenset(map(str.lower, parameters.texts(name)))) for name in names]


def _one_of(store: Store, table: str, name: str, values: frozenset[str]) -> Callable[[Row], bool]:
    return lambda row: str(store.body(table, row).get(name, "")).lower() in values


def _searchable(store: Store, table: str, row: Row) -> str:
    body = store.body(table, row)
    if table == "orders":
        billing = body["billing"]
        names = [
            billing["first_name"],
            billing["last_name"],
            billing["email"],
            *(line["name"] for line in body["line_items"]),
        ]
        return " ".join([str(row.id), *names]).lower()
    words = ("name", "sku", "description", "email", "username", "first_name", "last_name", "code")
    return " ".join(str(body.get(word) or "") for word in words).lower()


def sort_rows(wanted: Wanted, table: str, store: Store, parameters: Parameters) -> None:
    """Set the order of lists that no index keeps."""
    asked = parameters.text("orderby", DEFAULT_ORDER.get(table, ("date", ""))[0])
    keys: dict[str, Callable[[Row], Any]] = {
        "price": lambda row: number(store.shown(table, row)["price"]),
        "popularity": lambda row: store.body(table, row)["total_sales"],
        "rating": lambda row: number(store.body(table, row)["average_rating"]),
        "menu_order": lambda row: store.body(table, row)["menu_order"],
        "order": lambda row: store.body(table, row)["order"],
        "priority": lambda row: store.body(table, row)["priority"],
    }
    wanted.sort_key = keys.get(asked)


def paging_headers(
    store: Store, path: str, parameters: Parameters, table: str, total: int, page: int, per_page: int
) -> list[tuple[str, str]]:
    pages = -(-total // per_page)
    headers = [("X-WP-Total", str(total)), ("X-WP-TotalPages", str(pages))]
    pairs = {name: value for name, value in parameters.pairs.items() if name != "page"}
    if table == "orders":  # the shop puts these into the request on its way
        pairs = {name: value for name, value in pairs.items() if not name.startswith("status")}
        statuses = parameters.texts("status") or ["any"]
        pairs |= {f"status[{place}]": status for place, status in enumerate(statuses)}
        pairs.setdefault("dp", str(store.decimals))
        pairs.setdefault("context", "view")
    found = []
    if page > 1:
        found.append(f'<{_link(store, path, pairs, min(page - 1, max(pages, 1)))}>; rel="prev"')
    if page < pages:
        found.append(f'<{_link(store, path, pairs, page + 1)}>; rel="next"')
    return headers + ([("Link", ", ".join(found))] if found else [])


def _link(store: Store, path: str, pairs: dict[str, str], page: int) -> str:
    query = "&".join(f"{quote_plus(name)}={quote_plus(value)}" for name, value in (pairs | {"page": str(page)}).items())
    return f"{store.rest_url}{path}?{query}"


def pick(shown: dict[str, Any], fields: Iterable[str], *, is_list: bool) -> dict[str, Any]:
    """What `_fields` leaves. Nested names reach nothing in lists; a single object keeps its links."""
    asked = list(fields)
    kept = {name: value for name, value in shown.items() if name in asked}
    if is_list:
        return kept
    for name in asked:
        head, dot, tail = name.partition(".")
        inner = shown.get(head)
        if dot and isinstance(inner, dict) and tail in inner and head not in asked:
            kept.setdefault(head, {})[tail] = inner[tail]
    return kept | ({"_links": shown["_links"]} if "_links" in shown else {})
