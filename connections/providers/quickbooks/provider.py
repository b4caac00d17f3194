"""QuickBooks Online: books."""

from django.conf import settings

from connections.providers.base import Provider
from connections.providers.quickbooks import pulling, verification, webhooks, writing
from connections.providers.quickbooks.auth import REALM, Authorizer

_AUTHORIZER = Authorizer()


def _unavailable() -> str:
    if settings.QUICKBOOKS_CLIENT_ID and settings.QUICKBOOKS_CLIENT_SECRET:
        return ""
    return "QUICKBOOKS_CLIENT_ID and QUICKBOOKS_CLIENT_SECRET are not set."


# Nothing to type in: the company is chosen, and the access given, at Intuit.
PROVIDER = Provider(
    key="quickbooks",
    label="QuickBooks Online",
    unavailable=_unavailable,
    authorizes=_AUTHORIZER,
    account_fact=REALM,
    disconnecting=_AUTHORIZER.revoke,
    probe=_AUTHORIZER.probe,
    verifies=verification,
    pulls=pulling,
    upserts=writing,
    notifies=webhooks,
)
