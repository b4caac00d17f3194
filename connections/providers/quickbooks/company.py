"""The way into one company: a client that counts, made of a connection's access."""

from connections.metering import calls_count
from connections.providers.base import Access
from connections.providers.quickbooks.auth import REALM
from connections.providers.quickbooks.client import QuickBooksClient, Usage
from connections.providers.quickbooks.errors import PROVIDER
from connections.providers.quickbooks.validation import Company

PREFERENCES = "preferences"  # the fact with what the company has switched on, as the last verification found it


def client_of(access: Access) -> QuickBooksClient:
    """A client for the connection's company, by what its last verification learnt of it."""
    realm, known = str(access.facts.get(REALM) or ""), access.facts.get(PREFERENCES) or {}

    def counted(usage: Usage) -> None:
        calls_count(access.connection_id, provider=PROVIDER, account=realm, metered=usage.metered, free=usage.free)

    return QuickBooksClient(
        realm=realm,
        environment=access.environment,
        fresh_token=access.fresh_token,
        connection_id=str(access.connection_id),
        counted=counted,
        company=Company(is_multicurrency=known.get("multicurrency"), has_own_numbers=known.get("own_numbers")),
    )
