"""What sources tell as canonical records: one module a provider, pure functions payload → record."""

from collections.abc import Mapping
from typing import Any

from connections.providers.base import SourceRecord
from sync.canonical import Canonical
from sync.sources import quickbooks, woocommerce

_MODULES = {quickbooks.PROVIDER: quickbooks, woocommerce.PROVIDER: woocommerce}


def canonical_of(provider: str, record: SourceRecord, facts: Mapping[str, Any]) -> Canonical | None:
    """The record in canonical form, or None where there is nothing of it to sync: it is removed, a draft, or of a kind
    that no flow carries (coupons, tax rates).

    facts: of the source's connection. A shop's refund names no currency: whoever knows its order adds that order's
    `currency` to them. Raises RejectedRecord with the path of each field that cannot be understood.
    """
    module = _MODULES[provider]
    if record.is_removed or record.entity not in module.ENTITIES:
        return None
    return module.canonical(record, facts)
