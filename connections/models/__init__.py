from connections.models.account import Account, PlaidItemAccount
from connections.models.audit import AuditSeal, SecurityEvent
from connections.models.connection import Connection
from connections.models.credential import Credential
from connections.models.event import DomainEvent, EventDelivery
from connections.models.idempotency import IdempotencyKey
from connections.models.metered_calls import MeteredCalls
from connections.models.oauth import OAuthGrant, OAuthState
from connections.models.plaid_item import PlaidItem
from connections.models.plaid_link import PlaidExchange, PlaidLink
from connections.models.provider_pause import ProviderPause
from connections.models.record_news import RecordNews
from connections.models.retired_item import RetiredPlaidItem
from connections.models.token_rotation import PlaidTokenRotation
from connections.models.verification import Verification
from connections.models.workspace import AccessToken, Membership, Role, User, Workspace

__all__ = [
    "AccessToken",
    "Account",
    "AuditSeal",
    "Connection",
    "Credential",
    "DomainEvent",
    "EventDelivery",
    "IdempotencyKey",
    "Membership",
    "MeteredCalls",
    "OAuthGrant",
    "OAuthState",
    "PlaidExchange",
    "PlaidItem",
    "PlaidItemAccount",
    "PlaidLink",
    "PlaidTokenRotation",
    "ProviderPause",
    "RecordNews",
    "RetiredPlaidItem",
    "Role",
    "SecurityEvent",
    "User",
    "Verification",
    "Workspace",
]
