"""The providers: key → where its declaration lives, loaded on first use."""

from importlib import import_module

from connections.providers.base import Provider

PROVIDERS: dict[str, str] = {
    "plaid": "connections.providers.plaid.provider",
    "woocommerce": "connections.providers.woocommerce.provider",
    "quickbooks": "connections.providers.quickbooks.provider",
    "supabase": "connections.providers.supabase.provider",
}


def provider(key: str) -> Provider:
    """The provider's declaration. Raises KeyError."""
    return import_module(PROVIDERS[key]).PROVIDER
