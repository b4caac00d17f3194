"""Plaid's errors: code -> type, HTTP status, words. `PlaidError` is what a route raises."""

from __future__ import annotations

from typing import Any

_LOGIN = "The login details of this Item changed or expired. Use Link in update mode."

# code: (type, HTTP status, developer text, text for the user or None)
ERRORS: dict[str, tuple[str, int, str, str | None]] = {
    "MISSING_FIELDS": ("INVALID_REQUEST", 400, "required fields are missing", None),
    "UNKNOWN_FIELDS": ("INVALID_REQUEST", 400, "fields are not recognized by this endpoint", None),
    "INVALID_FIELD": ("INVALID_REQUEST", 400, "a field has an invalid value", None),
    "INVALID_BODY": ("INVALID_REQUEST", 400, "body could not be parsed as a JSON object", None),
    "INVALID_HEADERS": ("INVALID_REQUEST", 400, "Content-Type must be application/json", None),
    "NOT_FOUND": ("INVALID_REQUEST", 404, "there is no such endpoint", None),
    "INVALID_API_KEYS": ("INVALID_INPUT", 400, "invalid client_id or secret provided", None),
    "INVALID_ACCESS_TOKEN": ("INVALID_INPUT", 400, "could not find matching access token", None),
    "INVALID_PUBLIC_TOKEN": ("INVALID_INPUT", 400, "could not find matching public token", None),
    "INVALID_LINK_TOKEN": ("INVALID_INPUT", 400, "the link token is invalid or has expired", None),
    "INVALID_ACCOUNT_ID": ("INVALID_INPUT", 400, "one of the account ids is not an account of this Item", None),
    "INVALID_INSTITUTION": ("INVALID_INPUT", 400, "invalid institution_id provided", None),
    "INVALID_PRODUCT": ("INVALID_INPUT", 400, "the client is not authorized for this product", None),
    "UNAUTHORIZED_ENVIRONMENT": ("INVALID_INPUT", 400, "the client may not use this environment", None),
    "UNAUTHORIZED_ROUTE_ACCESS": ("INVALID_INPUT", 400, "the client may not use this endpoint", None),
    "INVALID_WEBHOOK_VERIFICATION_KEY_ID": ("INVALID_INPUT", 400, "no key with this id in this environment", None),
    "ADDITIONAL_CONSENT_REQUIRED": ("INVALID_INPUT", 400, "the user has not consented to this product", None),
    "USER_PERMISSION_REVOKED": ("INVALID_INPUT", 400, "the user revoked access to this Item", None),
    "ITEM_LOGIN_REQUIRED": ("ITEM_ERROR", 400, _LOGIN, "Please sign in to your bank again."),
    "INVALID_CREDENTIALS": ("ITEM_ERROR", 400, "the credentials were not correct", "The user name or password is wrong."),
    "INVALID_MFA": ("ITEM_ERROR", 400, "the answer to the challenge was not correct", "The code is wrong."),
    "INSUFFICIENT_CREDENTIALS": ("ITEM_ERROR", 400, "the user did not finish signing in", "Please sign in again."),
    "ITEM_LOCKED": ("ITEM_ERROR", 400, "the account is locked", "Your bank locked this login. Unlock it there first."),
    "USER_SETUP_REQUIRED": ("ITEM_ERROR", 400, "the user must act at the bank", "Your bank has a question for you."),
    "PASSWORD_RESET_REQUIRED": ("ITEM_ERROR", 400, "the password must be reset", "Your bank asks for a new password."),
    "ACCESS_NOT_GRANTED": ("ITEM_ERROR", 400, "the user did not grant access", "Access to the accounts was not given."),
    "NO_ACCOUNTS": ("ITEM_ERROR", 400, "there are no accounts to share", "No accounts were found."),
    "ITEM_NOT_FOUND": ("ITEM_ERROR", 400, "the Item you requested cannot be found; it was removed", None),
    "ITEM_NOT_SUPPORTED": ("ITEM_ERROR", 400, "this kind of account is not supported", None),
    "PRODUCT_NOT_READY": ("ITEM_ERROR", 400, "the product is not ready yet; try again later", None),
    "PRODUCTS_NOT_SUPPORTED": ("ITEM_ERROR", 400, "the institution does not support this product", None),
    "PRODUCT_NOT_ENABLED": ("ITEM_ERROR", 400, "the product is not enabled for this Item", None),
    "ITEM_CONCURRENTLY_DELETED": ("ITEM_ERROR", 400, "the Item was removed during this request", None),
    "TRANSACTIONS_SYNC_MUTATION_DURING_PAGINATION": (
        "TRANSACTIONS_ERROR",
        400,
        "Underlying data changed while pages were read. Start again from the first cursor of this update.",
        None,
    ),
    "INSTITUTION_DOWN": ("INSTITUTION_ERROR", 400, "the institution is down", "Your bank cannot be reached right now."),
    "INSTITUTION_NOT_RESPONDING": ("INSTITUTION_ERROR", 400, "the institution does not respond", "Your bank does not answer."),
    "INSTITUTION_NOT_AVAILABLE": ("INSTITUTION_ERROR", 400, "the institution is not available", "Your bank is not available."),
    "INSTITUTION_NO_LONGER_SUPPORTED": ("INSTITUTION_ERROR", 400, "the institution is no longer supported", None),
    "UNAUTHORIZED_INSTITUTION": ("INSTITUTION_ERROR", 400, "the client is not registered with this institution", None),
    "TRANSACTIONS_SYNC_LIMIT": ("RATE_LIMIT_EXCEEDED", 429, "rate limit exceeded for this Item or client", None),
    "TRANSACTIONS_LIMIT": ("RATE_LIMIT_EXCEEDED", 429, "rate limit exceeded for this Item or client", None),
    "ACCOUNTS_LIMIT": ("RATE_LIMIT_EXCEEDED", 429, "rate limit exceeded for this Item or client", None),
    "ITEM_GET_LIMIT": ("RATE_LIMIT_EXCEEDED", 429, "rate limit exceeded for this Item or client", None),
    "INSTITUTIONS_GET_BY_ID_LIMIT": ("RATE_LIMIT_EXCEEDED", 429, "rate limit exceeded for this client", None),
    "INSTITUTION_RATE_LIMIT": ("RATE_LIMIT_EXCEEDED", 429, "the institution limits requests", None),
    "CREDITS_EXHAUSTED": ("RATE_LIMIT_EXCEEDED", 429, "no credits left", None),
    "RATE_LIMIT": ("RATE_LIMIT_EXCEEDED", 429, "rate limit exceeded", None),
    "INTERNAL_SERVER_ERROR": ("API_ERROR", 500, "an unexpected error occurred", None),
    "PLANNED_MAINTENANCE": ("API_ERROR", 503, "the service is under maintenance", None),
    "SANDBOX_WEBHOOK_INVALID": ("SANDBOX_ERROR", 400, "the Item has no webhook", None),
    "SANDBOX_TRANSACTIONS_CREATE_INVALID": ("SANDBOX_ERROR", 400, "the transactions cannot be created", None),
}  # fmt: skip


class PlaidError(Exception):
    """An error answer. `code` unknown to the table needs `kind`."""

    def __init__(self, code: str, message: str | None = None, *, kind: str | None = None, status: int | None = None):
        known = ERRORS.get(code, (kind or "API_ERROR", status or 400, code, None))
        self.code = code
        self.type = kind or known[0]
        self.status = status or known[1]
        self.message = message or known[2]
        self.display_message = known[3]
        super().__init__(f"{self.type}/{self.code}: {self.message}")

    def body(self, request_id: str | None = None) -> dict[str, Any]:
        """The error object: with `request_id` in answers, with `status` instead in webhooks and on the Item."""
        shown: dict[str, Any] = {
            "display_message": self.display_message,
            "documentation_url": "https://plaid.com/docs/?ref=error#" + self.code.lower(),
            "error_code": self.code,
            "error_message": self.message,
            "error_type": self.type,
            "suggested_action": None,
        }
        if request_id is None:
            return shown | {"status": self.status}
        return shown | {"request_id": request_id}
