"""Plaid: banks."""

from django.conf import settings

from connections.providers.base import Provider
from connections.providers.plaid.verifying import Verifier


def _unavailable() -> str:
    if settings.PLAID_CLIENT_ID and settings.PLAID_SECRET:
        return ""
    return "PLAID_CLIENT_ID and PLAID_SECRET are not set."


PROVIDER = Provider(key="plaid", label="Plaid", unavailable=_unavailable, verifies=Verifier())
