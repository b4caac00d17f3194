"""Products as items, and the items of lines: linked, else found by SKU, else by name, else made or stood in for."""

from decimal import ROUND_HALF_UP, Decimal

from connections.providers.base import Json, TargetRecord
from sync.canonical import Line, Product
from sync.targets.quickbooks.books import Books
from sync.targets.quickbooks.outcome import Existing, Hold, Match, Need, Nothing, Outcome, drafted, held
from sync.targets.quickbooks.texts import item_name, longest, single_line

NOT_SOLD = frozenset({"variable", "grouped", "external", "variable-subscription"})
ITEM, ENTITY = "Item", "products"
MAX_PRICE = Decimal(99_999_999_999)
_PRICE = Decimal("0.00001")


@held
def product_item(
    product: Product,
    books: Books,
    *,
    parent: Product | None = None,
    existing: Existing | None = None,
    is_ours: bool = True,
) -> Outcome:
    """The item of a product or a variation; nothing for one that is only there to choose from.

    parent: of a variation, for its name. existing, is_ours: the item there is, and whether the hub made it; one that
    somebody else made is never changed.
    """
    if product.kind in NOT_SOLD:
        return Nothing("not_sold")
    if existing is not None and not is_ours:
        return Nothing("not_ours")
    values = _values(item_name(*_named(product, parent)), product.sku, product.is_taxable, books)
    values |= _price(product, books)
    if description := product.description.strip():
        values["Description"] = description[: longest(ITEM, "Description")]
    if existing is not None:  # its kind of item and its accounts are an accountant's to change
        values = {name: value for name, value in values.items() if name not in ("Type", *_ACCOUNTS)}
    return drafted(ITEM, product.source_id, values, existing=existing)


def item_of_line(line: Line, books: Books) -> str | Need:
    """What the line sold. A product that the shop has deleted is still found by its SKU, else something stands in for it."""
    if not line.item_id and not line.sku:
        return _fallback(books)
    name, choice = _sold(line)
    name = item_name(name, choice)
    steps = [Match(ITEM, "Sku", line.sku)] if line.sku else []
    if name:
        steps.append(Match(ITEM, "Name", name))
    source_id = line.item_id or f"sku:{line.sku}"
    if books.options.item_rule == "fallback" or not name:
        return Need(ENTITY, source_id, tuple(steps), fallback=_fallback(books))
    values = _values(name, line.sku, bool(line.tax_total or line.subtotal_tax), books)
    return Need(ENTITY, source_id, tuple(steps), create=TargetRecord(ITEM, source_id, values))


def renamed_item(record: TargetRecord) -> TargetRecord:
    """The same under a name that nobody else has, for when QuickBooks says that it is taken (6240)."""
    mark = f" (WC-{record.key.removeprefix('sku:')})"
    return TargetRecord(ITEM, record.key, record.values | {"Name": item_name(record.values["Name"], mark=mark)})


_ACCOUNTS = ("IncomeAccountRef", "ExpenseAccountRef")


def _values(name: str, sku: str, is_taxable: bool, books: Books) -> Json:
    """Not stock: an item that QuickBooks counts would post costs of its own with every sale."""
    if not books.income_account:
        raise Hold("income_account_missing", "No income account is chosen.", "Choose it in the flow's settings.")
    if not name:
        raise Hold("name_missing", "The product has no name.", "Give it one in the shop.")
    values: Json = {"Name": name, "Type": "NonInventory", "IncomeAccountRef": {"value": books.income_account}}
    if books.cost_account:
        values["ExpenseAccountRef"] = {"value": books.cost_account}
    if sku:
        values["Sku"] = single_line(sku)[: longest(ITEM, "Sku")]
    if books.is_american:
        values["Taxable"] = is_taxable
    return values


def _price(product: Product, books: Books) -> Json:
    """For people who enter sales by hand; documents have the order's own. Not one in another currency, or with tax in it."""
    price = product.price
    is_home = not product.currency or product.currency == books.home_currency
    if price is None or not is_home or books.shop.prices_include_tax or not 0 <= price <= MAX_PRICE:
        return {}
    return {"UnitPrice": price.quantize(_PRICE, ROUND_HALF_UP)}


def _named(product: Product, parent: Product | None) -> tuple[str, str]:
    choice = ", ".join(choice for _name, choice in product.options if choice)
    if parent is None:
        return _split(product.name, choice)
    return parent.name, choice or product.name


def _sold(line: Line) -> tuple[str, str]:
    return _split(line.description, ", ".join(choice for _name, choice in line.options if choice))


def _split(name: str, choice: str) -> tuple[str, str]:
    """Shops often have the choice in the name already."""
    return (name, "") if not choice or single_line(name).endswith(single_line(choice)) else (name, choice)


def _fallback(books: Books) -> str:
    if books.items.fallback:
        return books.items.fallback
    raise Hold(
        "item_missing",
        "No item is chosen for products that are not in the books.",
        "Choose the fallback item among the flow's default items.",
    )
