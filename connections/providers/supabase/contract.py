"""The tables that a store keeps for us, declared as data: the owner's SQL, the checks and every write follow from it.

A table holds the columns of its entity and, before and after them, the same ones in every table: whose record it is
(`KEY`) and what is known of it. Lines of a document are a table of their own, replaced as a set with their document.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

NAME = re.compile(r"[a-z_][a-z0-9_]{0,54}", re.ASCII)  # shorter than PostgreSQL's 63: names are made from it
TYPE = re.compile(
    r"text|uuid|jsonb|boolean|integer|bigint|date|timestamptz|numeric|numeric\((\d{1,3}),(\d{1,3})\)|char\((\d{1,3})\)"
)
MONEY = "numeric(18,4)"
CURRENCY = "char(3)"
VERSION = 1


@dataclass(frozen=True, slots=True)
class Column:
    """One column. type: one of `TYPE`. is_required: NOT NULL. Raises ValueError for what could not stand in SQL."""

    name: str
    type: str = "text"
    comment: str = ""
    is_required: bool = False

    def __post_init__(self) -> None:
        if not NAME.fullmatch(self.name):
            raise ValueError(f"{self.name!r} is not the name of a column: small letters, digits and _, at most 55.")
        if not TYPE.fullmatch(self.type):
            raise ValueError(f"{self.type!r} is not a type that a column can have.")


SCOPE = (
    Column("connection_id", "uuid", "The connection that the record comes from, as Causeway names it.", True),
    Column("source_system", "text", "What kind of system that is: woocommerce, quickbooks.", True),
)
SOURCE_ID = Column("source_id", "text", "The record's id there.", True)
STATE = (
    Column("raw", "jsonb", "The record as its source told it, where the mapping keeps that."),
    Column("source_modified_at", "timestamptz", "When it last changed, by the source's clock."),
    Column("source_hash", "text", "Of what was written here last: what is equal is not written again."),
    Column("deleted_at", "timestamptz", "When it went at its source; empty while it is there."),
)
SYNCED_AT = "synced_at"  # the database sets it: a value of ours would make equal rows differ


@dataclass(frozen=True)
class Lines:
    """The rows below a document. name: of their table. field: of the value that holds them, a list of objects."""

    name: str
    field: str
    parent: str
    columns: tuple[Column, ...]
    comment: str = ""

    def __post_init__(self) -> None:
        _check(self.name, (column.name for column in self.all_columns))

    @cached_property
    def all_columns(self) -> tuple[Column, ...]:
        return (*SCOPE, self.parent_id, self.line_id, *self.columns)

    @property
    def parent_id(self) -> Column:
        return Column(self.parent, "text", "The document's id at its source.", True)

    @property
    def line_id(self) -> Column:
        return Column("line_id", "text", "The line's id in its document.", True)

    @cached_property
    def key(self) -> tuple[str, ...]:
        return (*(column.name for column in SCOPE), self.parent, "line_id")

    @property
    def replace(self) -> str:
        """The function that replaces the lines of some documents, in one transaction."""
        return f"causeway_replace_{self.name}"


@dataclass(frozen=True)
class Table:
    """One entity's table. columns: those of the entity; see `all_columns` for what the table has."""

    entity: str
    name: str
    columns: tuple[Column, ...]
    comment: str = ""
    lines: Lines | None = None

    def __post_init__(self) -> None:
        _check(self.name, (column.name for column in self.all_columns))

    @cached_property
    def all_columns(self) -> tuple[Column, ...]:
        """Everything that a write sets, always all of it."""
        return (*SCOPE, SOURCE_ID, *self.columns, *STATE)

    @cached_property
    def key(self) -> tuple[str, ...]:
        return (*(column.name for column in SCOPE), SOURCE_ID.name)


def _check(name: str, columns: Iterable[str]) -> None:
    if not NAME.fullmatch(name):
        raise ValueError(f"{name!r} is not the name of a table: small letters, digits and _, at most 55.")
    names = [*columns, SYNCED_AT]
    if twice := {one for one in names if names.count(one) > 1}:
        raise ValueError(f"{name} has several columns called {', '.join(sorted(twice))}.")


def _columns(text: str) -> tuple[Column, ...]:
    """`name [type] [# comment]`, a line each; text where no type stands."""
    return tuple(_column(line) for line in text.strip().splitlines())


def _column(line: str) -> Column:
    declared, _, comment = line.partition("#")
    name, *kind = declared.split()
    return Column(name, {"money": MONEY, "currency": CURRENCY}.get(*kind, *kind) if kind else "text", comment.strip())


_PARTY = """
    name            # As it stands on documents.
    first_name
    last_name
    company
    email
    phone
    currency currency
    billing_address jsonb
    shipping_address jsonb
    is_active boolean
    source_created_at timestamptz
"""
_TABLES = (
    Table("customers", "customers", _columns(_PARTY), "Those who buy."),
    Table(
        "products",
        "products",
        _columns("""
            sku
            name
            description
            kind            # simple, variation, service, inventory …
            status
            parent_source_id    # Of a variation: its product.
            price money
            currency currency
            stock_quantity numeric
            is_active boolean
            source_created_at timestamptz
        """),
        "What is sold: products, their variations, services.",
    ),
    Table(
        "orders",
        "orders",
        _columns("""
            number          # For people.
            document        # order, invoice or sales_receipt.
            status
            currency currency
            customer_source_id
            ordered_at timestamptz
            due_on date
            subtotal money
            discount_total money
            shipping_total money
            tax_total money
            total money     # What the customer owes in all.
            balance money   # What of it is still open.
            billing_address jsonb
            shipping_address jsonb
            memo
        """),
        "Orders, invoices and sales receipts.",
        Lines(
            "order_lines",
            "lines",
            "order_source_id",
            _columns("""
                position integer
                kind            # product, shipping, fee, discount, tax or text.
                product_source_id
                sku
                description
                quantity numeric
                unit_price numeric
                subtotal money
                tax_total money
                total money
            """),
            "The lines of orders.",
        ),
    ),
    Table(
        "refunds",
        "refunds",
        _columns("""
            number
            document        # refund, refund_receipt or credit_memo.
            status
            currency currency
            order_source_id
            customer_source_id
            refunded_at timestamptz
            tax_total money
            total money     # What goes back, as a positive amount.
            reason
        """),
        "Refunds, refund receipts and credit memos.",
    ),
    Table(
        "payments",
        "payments",
        _columns("""
            number
            status
            currency currency
            customer_source_id
            order_source_id
            method
            paid_at timestamptz
            total money
            unapplied money # What is not set against any invoice.
            memo
        """),
        "What customers paid.",
    ),
    Table("vendors", "vendors", _columns(f"{_PARTY.strip()}\n balance money"), "Those from whom is bought."),
    Table(
        "bills",
        "bills",
        _columns("""
            number
            status
            currency currency
            vendor_source_id
            billed_on date
            due_on date
            tax_total money
            total money
            balance money
            memo
        """),
        "What vendors ask to be paid.",
    ),
)
DEFAULTS: dict[str, Table] = {table.entity: table for table in _TABLES}


def wanted(config: Mapping[str, Any]) -> list[Table]:
    """The tables that a connection's store has to have, in the order in which records have to be written."""
    names = str(config.get("entities") or ", ".join(DEFAULTS)).split(", ")
    return [table for table in DEFAULTS.values() if table.entity in names]
