"""What is read of a shop, entity by entity. A module with the capability `Pulls`.

orders, products, coupons: by the date of their change; those in the bin come as removed. refunds never change: by the
date they were made. customers and taxes know no such filter: all of them, by id. What was destroyed, and whatever else
shows up nowhere among changes, is found by comparing with `ids`.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from connections import errors
from connections.providers.base import Access, Json, Page, SourceRecord
from connections.providers.woocommerce import answers, records
from connections.providers.woocommerce.client import Shop, comma_joined
from connections.providers.woocommerce.errors import Gone
from connections.providers.woocommerce.seek import DatedList, by_date, by_id
from connections.providers.woocommerce.windows import window, zone_of

entities: tuple[str, ...] = ("customers", "products", "orders", "refunds", "coupons", "taxes")

REFUNDS_SINCE, VARIATIONS_SINCE = (9, 0), (10, 3)  # WooCommerce versions with a list of all refunds, of all variations
FETCH_AT_ONCE = 50

Maker = Callable[[Json], SourceRecord]
EXACT = {"dp": 6}  # money with all its decimals: unit prices of a few cents are not rounded before we see them


@dataclass(frozen=True, slots=True)
class _Stream:
    """One list of an entity that has several. since_version: of the shop, below which it is read another way."""

    name: str
    source: DatedList
    make: Maker


def _maker(entity: str) -> Maker:
    return lambda row: records.source_record(entity, row)


def _streams(access: Access, entity: str) -> list[_Stream]:
    bin_of = {"status": "trash"}
    if entity == "orders":
        return [
            _Stream("orders", DatedList("orders", EXACT), _maker("orders")),
            _Stream("bin", DatedList("orders", EXACT | bin_of), _maker("orders")),
        ]
    if entity == "refunds":
        dated = DatedList("refunds", EXACT, "date_created_gmt", "after", "before", "date")
        return [_Stream("refunds", dated, records.refund_record)]
    if entity == "products":
        found = [
            _Stream("products", DatedList("products"), _maker("products")),
            _Stream("bin", DatedList("products", bin_of), _maker("products")),
        ]
        if is_at_least(access, VARIATIONS_SINCE):
            found.insert(1, _Stream("variations", DatedList("variations"), records.variation_record))
        return found
    return [_Stream("coupons", DatedList("coupons"), _maker("coupons"))]


def pull(access: Access, entity: str, position: Json, *, until: datetime | None = None) -> Iterator[Page]:
    """Everything that changed since `position`, oldest first; customers and taxes: all of them, each time."""
    shop = Shop.of(access)
    if entity in ("customers", "taxes"):
        yield from _pull_all(shop, entity, position)
    elif entity == "refunds" and not is_at_least(access, REFUNDS_SINCE):
        yield from _pull_refunds_of_orders(shop, position, until)
    else:
        yield from _pull_streams(shop, entity, position, until)


def _pull_streams(shop: Shop, entity: str, position: Json, until: datetime | None) -> Iterator[Page]:
    """One list after the other; each has its place in the position."""
    kept = {name: value for name, value in position.items() if name != "at"}
    streams = _streams(shop.access, entity)
    names = [stream.name for stream in streams]
    first = names.index(position["at"]) if position.get("at") in names else 0
    for number, stream in enumerate(streams[first:], first):
        for rows, place, has_more in by_date(shop, stream.source, kept.get(stream.name) or {}, until=until):
            expected = _expected(shop) if not kept.get(stream.name) and number == 0 else None
            before = dict(kept)
            kept[stream.name] = place
            is_last = not has_more and stream is streams[-1]
            here = {} if is_last else {"at": stream.name if has_more else names[number + 1]}
            made = [stream.make(row) for row in rows]
            variable = _variable(shop.access, stream, rows)
            if not variable:
                yield Page(made, kept | here, not is_last, expected)
                continue
            yield Page(made, before | {"at": stream.name}, True, expected)  # not past them before their variations
            for parent in variable:
                yield from _variations_of(shop, parent, before | {"at": stream.name})
            yield Page([], kept | here, not is_last)


def _variable(access: Access, stream: _Stream, rows: Sequence[Json]) -> list[str]:
    """Products whose variations have to be asked for one by one, at shops without a list of all."""
    if stream.name != "products" or is_at_least(access, VARIATIONS_SINCE):
        return []
    return [records.identifier(row) for row in rows if row.get("type") == "variable"]


def _variations_of(shop: Shop, parent: str, position: Json) -> Iterator[Page]:
    try:
        for rows, _place, _more in by_id(shop, f"products/{parent}/variations", {}, {}):
            yield Page([records.variation_record(row, parent_id=parent) for row in rows], position, True)
    except Gone:  # deleted since its page was read
        return


def _pull_all(shop: Shop, entity: str, position: Json) -> Iterator[Page]:
    for rows, place, has_more in by_id(shop, entity, _all_of(entity), position):
        expected = None if position else _expected(shop)
        yield Page([records.source_record(entity, row) for row in rows], place, has_more, expected)


def _pull_refunds_of_orders(shop: Shop, position: Json, until: datetime | None) -> Iterator[Page]:
    """A refund changes its order: at older shops refunds are those of the orders that changed."""
    for rows, place, has_more in by_date(shop, DatedList("orders"), position, until=until):
        for row in rows:
            if records.refund_ids(row):
                yield Page(list(_refunds_of(shop, records.identifier(row))), position, True)
        position = place
        yield Page([], place, has_more)


def _refunds_of(shop: Shop, order_id: str) -> Iterator[SourceRecord]:
    for rows, _place, _more in by_id(shop, f"orders/{order_id}/refunds", EXACT, {}):
        yield from (records.refund_record(row, order_id=order_id) for row in rows)


# --- some, by id ---
def fetch(access: Access, entity: str, external_ids: Sequence[str]) -> Iterator[SourceRecord]:
    """These records as they are now; one that the shop does not have, or has in the bin, is removed."""
    shop = Shop.of(access)
    wanted = list(dict.fromkeys(external_ids))
    if entity == "refunds" and not is_at_least(access, REFUNDS_SINCE):
        raise errors.PermanentError(
            code="feature_not_enabled", provider="woocommerce", operator_detail="refunds by id need WooCommerce 9.0"
        )
    for start in range(0, len(wanted), FETCH_AT_ONCE):
        yield from _fetch_some(shop, entity, wanted[start : start + FETCH_AT_ONCE])


def _fetch_some(shop: Shop, entity: str, ids: Sequence[str]) -> Iterator[SourceRecord]:
    missing = list(ids)
    for path, make in _lists_of(shop.access, entity):
        if missing:
            params = {**_all_of(entity), "include": comma_joined(missing), "per_page": len(missing)}
            for row in shop.rows(path, params):
                made = make(row)
                if made.external_id in missing:  # each once, and none that was not asked for
                    missing.remove(made.external_id)
                    yield made
    for one in missing:  # no list has it: gone, in the bin, or of a kind that lists leave out
        yield _fetch_one(shop, entity, one)


def _lists_of(access: Access, entity: str) -> list[tuple[str, Maker]]:
    if entity == "taxes":
        return []  # this list knows no `include`
    found = [(entity, records.refund_record if entity == "refunds" else _maker(entity))]
    if entity == "products" and is_at_least(access, VARIATIONS_SINCE):
        found.append(("variations", records.variation_record))
    return found


def _fetch_one(shop: Shop, entity: str, external_id: str) -> SourceRecord:
    if entity == "refunds":
        return records.removed(entity, external_id)  # a single one is only found below its order
    try:
        row = shop.get(f"{entity}/{external_id}", _all_of(entity) if entity == "orders" else None)
    except Gone:
        return records.removed(entity, external_id)
    is_variation = entity == "products" and row.get("type") == "variation"
    return records.variation_record(row) if is_variation else records.source_record(entity, row)


# --- all ids, for the nightly comparison ---
def ids(access: Access, entity: str, *, since: datetime | None = None) -> Iterator[Sequence[str]]:
    """Ids of all there are (of those made since, where the shop can tell), in batches; without the bin's."""
    shop = Shop.of(access)
    if entity == "refunds" and not is_at_least(access, REFUNDS_SINCE):
        for rows in _id_rows(shop, "orders", since, "id,refunds"):
            yield [one for row in rows for one in records.refund_ids(row)]
        return
    has_variations = is_at_least(access, VARIATIONS_SINCE)
    fields = "id,variations" if entity == "products" and not has_variations else "id"
    for rows in _id_rows(shop, entity, since, fields):
        yield [one for row in rows for one in (records.identifier(row), *_variation_ids(row))]
    if entity == "products" and has_variations:
        for rows in _id_rows(shop, "variations", since, "id"):
            yield [records.identifier(row) for row in rows]


def _id_rows(shop: Shop, path: str, since: datetime | None, fields: str) -> Iterator[list[Json]]:
    params: Json = {"_fields": fields, **_all_of(path, with_decimals=False)}
    if since and path not in ("customers", "taxes"):
        params |= window(zone_of(shop.access), after=("after", since))
    for rows, _place, _more in by_id(shop, path, params, {}):
        yield rows


def _variation_ids(row: Json) -> list[str]:
    found = row.get("variations")
    return [str(one) for one in found] if isinstance(found, list) else []


def _all_of(entity: str, *, with_decimals: bool = True) -> Json:
    """What has to be asked for so that none is left out."""
    if entity == "customers":
        return {"role": "all"}
    return dict(EXACT) if with_decimals and entity in ("orders", "refunds") else {}


def is_at_least(access: Access, version: tuple[int, int]) -> bool:
    """Whether the shop was seen to run this WooCommerce version, or a later one."""
    return version_of(str((access.facts.get("shop") or {}).get("version", ""))) >= version


def version_of(text: str) -> tuple[int, ...]:
    """The first two numbers of a version; () where there are none."""
    parts: list[Any] = text.split(".")[:2]
    return tuple(int(part) for part in parts) if parts and all(part.isdecimal() for part in parts) else ()


def _expected(shop: Shop) -> int | None:
    return answers.total_of(shop.last_answer) if shop.last_answer else None
