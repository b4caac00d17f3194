"""What is written into a shop: products, the state of orders, customers. A module with the capability `Upserts`.

A shop knows no idempotency keys, so whatever would be made is looked up first, by the natural key that a shop keeps
unique (a product's SKU, a customer's address): a repeat after a lost answer finds what the first one made. Changes may
be repeated as they are. Deleting goes one by one, because in a batch it would destroy instead of putting into the bin.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from decimal import Decimal, InvalidOperation
from typing import Any

from connections.errors import NotSent, OutcomeUnknown, RejectedRecord, TemporaryError
from connections.providers.base import Access, Json, TargetRecord, Written
from connections.providers.woocommerce import records
from connections.providers.woocommerce.client import Shop, base_url_of
from connections.providers.woocommerce.errors import PROVIDER, Exists, Gone, classify_body

entities: tuple[str, ...] = ("customers", "products", "orders")
batch_size = 100  # the most that a shop takes, of all kinds together

_EDIT = {
    "products": "wp-admin/post.php?post={id}&action=edit",
    "orders": "wp-admin/admin.php?page=wc-orders&action=edit&id={id}",
    "customers": "wp-admin/user-edit.php?user_id={id}",
}


def upsert(access: Access, entity: str, given: Sequence[TargetRecord], *, idempotency_key: str) -> Iterable[Written]:
    """Write at most `batch_size` records. Raises OutcomeUnknown where new ones may or may not have been made."""
    shop = Shop.of(access)
    ready: list[tuple[TargetRecord, Json]] = []
    for record in given:
        try:
            if record.operation == "delete":
                yield _deleted(shop, record)
                continue
            ready.append((record, _checked_body(record)))
        except RejectedRecord as error:
            yield Written(record.key, "failed", error=error)
    yield from _written(shop, entity, ready)


def find(access: Access, record: TargetRecord) -> Written | None:
    """The record as the shop has it, by its id or its natural key; None where there is none."""
    shop = Shop.of(access)
    if record.external_id:
        try:
            return _told(shop, record, shop.get(f"{record.entity}/{record.external_id}"), "unchanged")
        except Gone:
            return None
    row = _by_natural_key(shop, record.entity, [record]).get(_natural_key(record))
    return _told(shop, record, row, "created" if records.key_of(row) == record.key else "unchanged") if row else None


# --- a batch ---
def _written(shop: Shop, entity: str, ready: Sequence[tuple[TargetRecord, Json]]) -> Iterator[Written]:
    """Those whose id is known are changed; the others are looked up, and made where nothing was found."""
    new = [record for record, _body in ready if not record.external_id]
    there = _by_natural_key(shop, entity, new) if new else {}
    create: list[tuple[TargetRecord, Json]] = []
    update: list[tuple[TargetRecord, Json]] = []
    for record, body in ready:
        row = None if record.external_id else there.get(_natural_key(record))
        if record.external_id:
            update.append((record, body))
        elif row:
            update.append((record, {**body, "id": int(records.identifier(row))}))
        else:
            create.append((record, body))
    if not create and not update:
        return
    told = _batch(shop, entity, create=[body for _, body in create], update=[body for _, body in update])
    yield from _answers(shop, create, told.get("create"), "created")
    made_before = {
        record.key for record in new if (row := there.get(_natural_key(record))) and records.key_of(row) == record.key
    }
    for written in _answers(shop, update, told.get("update"), "updated"):
        is_ours = written.key in made_before and written.error is None
        yield Written(**{**_fields(written), "outcome": "created"}) if is_ours else written


def _fields(written: Written) -> dict[str, Any]:
    return {name: getattr(written, name) for name in Written.__slots__}


def _batch(shop: Shop, entity: str, *, create: list[Json], update: list[Json]) -> Json:
    body = {name: rows for name, rows in (("create", create), ("update", update)) if rows}
    try:
        return shop.write("POST", f"{entity}/batch", body)
    except NotSent:
        raise
    except TemporaryError as error:
        if not create:
            raise  # the same change again changes nothing more
        raise OutcomeUnknown(
            provider=PROVIDER, provider_code=error.provider_code, operator_detail=error.operator_detail
        ) from error


def _answers(shop: Shop, sent: Sequence[tuple[TargetRecord, Json]], told: Any, outcome: Any) -> Iterator[Written]:
    """One answer each, at the index of what was sent."""
    rows = told if isinstance(told, list) else []
    for number, (record, _body) in enumerate(sent):
        row = rows[number] if number < len(rows) and isinstance(rows[number], dict) else None
        if row is None:
            lost = OutcomeUnknown(provider=PROVIDER, operator_detail="the shop's answer left this record out")
            yield Written(record.key, "failed", error=lost)
        elif isinstance(row.get("error"), dict):
            yield _refused(record, row["error"])
        else:
            yield _told(shop, record, row, outcome)


def _refused(record: TargetRecord, told: Mapping[str, Any]) -> Written:
    error = classify_body(told)
    external_id = error.external_id if isinstance(error, Exists) else ""
    return Written(record.key, "failed", external_id=external_id, error=error)


def _told(shop: Shop, record: TargetRecord, row: Json, outcome: Any) -> Written:
    external_id = records.identifier(row)
    place = _EDIT[record.entity].format(id=external_id)
    return Written(
        record.key,
        outcome,
        external_id=external_id,
        version=str(row.get("date_modified_gmt") or ""),
        payload=row,
        total=_money(row.get("total")) if record.entity == "orders" else None,
        link=f"{base_url_of(shop.access)}/{place}",
    )


def _money(value: Any) -> Decimal | None:
    try:
        return Decimal(value) if value else None
    except (InvalidOperation, TypeError, ValueError):
        return None


# --- what may be written ---
def _checked_body(record: TargetRecord) -> Json:
    """The body. Raises RejectedRecord where the shop would not, and should."""
    if record.operation == "void" and record.entity != "orders":
        raise RejectedRecord(f"Only orders are cancelled, not {record.entity}.")
    if not record.external_id and record.entity in _NATURAL and not _natural_key(record):
        name = _NATURAL[record.entity]
        raise RejectedRecord(
            f"A record of {record.entity} can only be made with a value for {name}: by it a lost answer is made good.",
            fields={name: ["Missing."]},
        )
    return records.body_of(record)


def _deleted(shop: Shop, record: TargetRecord) -> Written:
    """Into the bin. What is there already, or is gone, is removed."""
    if record.entity != "products" or not record.external_id:
        raise RejectedRecord(f"The shop's {record.entity} are not deleted from here.")
    try:
        row = shop.write("DELETE", f"products/{record.external_id}", None)
    except Gone:
        return Written(record.key, "removed", external_id=record.external_id)
    return Written(record.key, "removed", external_id=record.external_id, payload=row)


# --- looking up ---
_NATURAL = {"products": "sku", "customers": "email"}


def _natural_key(record: TargetRecord) -> str:
    found = record.values.get(_NATURAL.get(record.entity, ""))
    return _folded(record.entity, found) if isinstance(found, str) else ""


def _folded(entity: str, value: str) -> str:
    return value.strip().lower() if entity == "customers" else value.strip()


def _by_natural_key(shop: Shop, entity: str, wanted: Sequence[TargetRecord]) -> dict[str, Json]:
    keys = list(dict.fromkeys(key for key in map(_natural_key, wanted) if key))
    look: Callable[[Shop, list[str]], Iterator[Json]] = _products_with if entity == "products" else _customers_with
    name = _NATURAL.get(entity, "")
    found: dict[str, Json] = {}
    for row in look(shop, keys) if keys else ():
        found.setdefault(_folded(entity, str(row.get(name) or "")), row)
    return found


def _products_with(shop: Shop, skus: list[str]) -> Iterator[Json]:
    """By SKU, several at once; one with a comma alone, which the shop would take for two, is found by the refusal."""
    plain = [sku for sku in skus if "," not in sku]
    for start in range(0, len(plain), 25):
        yield from shop.rows("products", {"sku": ",".join(plain[start : start + 25]), "per_page": 100})


def _customers_with(shop: Shop, addresses: list[str]) -> Iterator[Json]:
    for address in addresses:
        yield from shop.rows("customers", {"email": address, "role": "all", "per_page": 1})
