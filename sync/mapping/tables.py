"""Targets and entities that there are rules for."""

from functools import cache

from connections.providers.quickbooks.entities import FLOW_ENTITIES
from sync.mapping import books, stores
from sync.mapping.fields import FieldTable

ENTITIES = tuple(FLOW_ENTITIES)
_MODULES = {books.TARGET: books, stores.TARGET: stores}
TARGETS = tuple(_MODULES)


@cache
def field_table(target: str, entity: str) -> FieldTable:
    """The fields that records of this entity have at this kind of target. Raises KeyError."""
    return _MODULES[target].table(entity)
