"""The one taxonomy of what can go wrong. The class says what the engine does, the code says what a person reads.

Every error carries a `code` of the `CATALOGUE`, which holds its HTTP status, who can mend it and the words for a user.
`operator_detail` is for logs and operators: what happened, without secrets.
"""

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any


class FixedBy(StrEnum):
    USER = "user"
    OPERATOR = "operator"
    PROVIDER = "provider"
    US = "us"


@dataclass(frozen=True, slots=True)
class Entry:
    """What a code means to the person who meets it."""

    status: int
    title: str
    detail: str
    remediation: str
    fixed_by: FixedBy
    is_retryable: bool = False


_USER, _OPERATOR, _PROVIDER, _US = FixedBy

CATALOGUE: dict[str, Entry] = {
    # --- the request itself ---
    "malformed_request": Entry(
        400, "Malformed request", "The request body could not be read.", "Send a JSON object in UTF-8.", _USER
    ),
    "validation_failed": Entry(
        400,
        "Invalid input",
        "Some fields are missing or not valid.",
        "Correct the fields listed under errors and send the request again.",
        _USER,
    ),
    "confirmation_required": Entry(
        400,
        "Confirmation required",
        "This cannot be undone, so it has to be confirmed.",
        'Send {"confirmed": true} in the body.',
        _USER,
    ),
    "workspace_required": Entry(
        400,
        "Choose a workspace",
        "You belong to several workspaces and the request names none.",
        "Send the X-Workspace header with the slug or id of one of your workspaces.",
        _USER,
    ),
    "not_authenticated": Entry(
        401,
        "Sign in",
        "The request carries no valid access token.",
        "Get a token from auth/token and send it as Authorization: Bearer.",
        _USER,
    ),
    "token_expired": Entry(
        401, "Token expired", "This access token has expired or was revoked.", "Get a new token from auth/token.", _USER
    ),
    "invalid_login": Entry(
        401,
        "Sign-in failed",
        "No active account matches that username and password.",
        "Check both and try again.",
        _USER,
    ),
    "permission_denied": Entry(
        403,
        "Not allowed",
        "Your role in this workspace does not allow this.",
        "Ask an owner of the workspace to do it or to change your role.",
        _OPERATOR,
    ),
    "not_found": Entry(
        404, "Not found", "There is nothing here, or you may not see it.", "Check the id and the workspace.", _USER
    ),
    "method_not_allowed": Entry(
        405,
        "Method not allowed",
        "This address does not answer that method.",
        "See the API documentation for the methods it answers.",
        _USER,
    ),
    "not_acceptable": Entry(
        406, "Not acceptable", "The answer is not available in that format.", "Accept application/json.", _USER
    ),
    "request_timeout": Entry(
        408,
        "Request timeout",
        "The request did not arrive in time.",
        "Send it again, all of it at once.",
        _USER,
        True,
    ),
    "request_too_large": Entry(
        413, "Request too large", "The body is larger than 1 MiB.", "Send less in one request.", _USER
    ),
    "unsupported_media_type": Entry(
        415,
        "Unsupported media type",
        "The body is not plain JSON in UTF-8.",
        "Send Content-Type: application/json.",
        _USER,
    ),
    "throttled": Entry(
        429,
        "Too many requests",
        "You have sent too many requests in a short time.",
        "Wait as long as Retry-After says.",
        _USER,
        True,
    ),
    "webhook_unverified": Entry(
        401,
        "Signature refused",
        "This webhook has no signature, or one that does not fit it. It was not kept.",
        "If you are the provider, check the environment and the secret that are set here and there.",
        _OPERATOR,
    ),
    "gone": Entry(410, "Gone", "This endpoint has been replaced.", "See the detail for what to call instead.", _USER),
    # --- connections and their state ---
    "conflict": Entry(
        409, "Conflict", "The current state does not allow this.", "Read the resource again and decide anew.", _USER
    ),
    "connection_paused": Entry(
        409, "Connection paused", "This connection is paused; nothing is synced meanwhile.", "Resume it first.", _USER
    ),
    "connection_not_active": Entry(
        409,
        "Connection not active",
        "This connection is not active yet or no longer.",
        "Activate it, or connect again.",
        _USER,
    ),
    "connection_misconfigured": Entry(
        409,
        "Settings not accepted",
        "The provider does not accept this connection's settings, or some are missing. Nothing was lost.",
        "Verify the connection: its checks say what to correct.",
        _USER,
    ),
    "verification_required": Entry(
        409,
        "Verify it first",
        "The settings as they are now have not been verified.",
        "Send POST verify, and activate the connection once that has passed.",
        _USER,
    ),
    "verification_running": Entry(
        409,
        "Being verified",
        "The settings are being verified right now.",
        "Wait until the verification has finished, then activate the connection.",
        _USER,
        True,
    ),
    "verification_failed": Entry(
        409,
        "Verification failed",
        "The provider was asked, and something of these settings does not work. Nothing was activated.",
        "See what each of the checks says, correct it and verify again.",
        _USER,
    ),
    "reauth_required": Entry(
        409,
        "Sign in again",
        "Your bank asks you to sign in again. What was synced before is safe.",
        "Ask for a link token with this connection_id and sign in at your bank.",
        _USER,
    ),
    "rate_limit_wait": Entry(
        409,
        "Waiting for the provider",
        "The provider asked us to slow down. The sync continues by itself.",
        "Wait until next_attempt_at.",
        _PROVIDER,
        True,
    ),
    "duplicate_item": Entry(
        409,
        "Already connected",
        "These accounts at this bank are already connected.",
        "Repair or refresh the existing connection, or send allow_duplicate to connect them twice.",
        _USER,
    ),
    "public_token_used": Entry(
        409,
        "Already exchanged",
        "This public token has already been exchanged.",
        "See the connection it made, or start Link again.",
        _USER,
    ),
    "exchange_in_progress": Entry(
        409,
        "Exchange under way",
        "This public token is being exchanged right now.",
        "Wait a moment and look at your connections.",
        _USER,
        True,
    ),
    "outcome_unknown": Entry(
        409,
        "Outcome unknown",
        "The provider's answer was lost, so we do not know whether the connection was made there.",
        "Start Link again. The attempt is kept under Exchanges in the console, for an operator to look at.",
        _OPERATOR,
    ),
    "idempotency_mismatch": Entry(
        409,
        "Key used for another request",
        "This idempotency key was sent before, with another request.",
        "Send the first request again as it was, or this one under a new key.",
        _USER,
    ),
    "idempotency_in_progress": Entry(
        409,
        "Still at work",
        "A request with this idempotency key is being worked on.",
        "Send it again, with the same key, as soon as Retry-After says.",
        _USER,
        True,
    ),
    "wrong_environment": Entry(
        400,
        "Wrong environment",
        "This token belongs to the provider's other environment.",
        "Use a token of the environment you named.",
        _USER,
    ),
    "invalid_public_token": Entry(
        400,
        "Link expired",
        "The public token is not valid or has expired.",
        "Start Link again; a public token lives 30 minutes.",
        _USER,
    ),
    # --- signing in at a provider, and the access that it gives ---
    "authorization_expired": Entry(
        400,
        "Start again",
        "This sign-in was used already, has expired, or was not begun here. Nothing was changed.",
        "Go back to the connection and start again: each sign-in is good once, for ten minutes.",
        _USER,
    ),
    "authorization_denied": Entry(
        409,
        "Access not given",
        "The access that was asked for was not given. Nothing was changed.",
        "Start again from the connection if you want to connect it after all.",
        _USER,
    ),
    "authorization_refused": Entry(
        409,
        "Sign-in not accepted",
        "The provider did not accept the sign-in: it took too long, or was used already. Nothing was changed.",
        "Start again from the connection.",
        _USER,
    ),
    "authorization_unknown": Entry(
        409,
        "Answer lost",
        "The provider's answer was lost, so the sign-in could not be finished. What was synced before is safe.",
        "Start again from the connection: signing in once more is safe.",
        _USER,
    ),
    "account_in_use": Entry(
        409,
        "Already connected",
        "This account at the provider is connected already, here or in another workspace of this installation.",
        "Use that connection, or disconnect it first.",
        _USER,
    ),
    "other_account": Entry(
        409,
        "Another account",
        "This connection belongs to another account at the provider, and the books of two must not be mixed.",
        "Start again and choose the account it had; for the other one make a connection of its own.",
        _USER,
    ),
    "https_required": Entry(
        409,
        "Address not secure",
        "In this environment the provider sends people back to an https address only, and this installation has none.",
        "An operator has to set PUBLIC_URL to an https address, and register the redirect URI at the provider.",
        _OPERATOR,
    ),
    "access_refused": Entry(
        409,
        "Connect again",
        "The provider does not accept our access any more: it was withdrawn there, or was not used for too long. What was synced before is safe.",
        "Reconnect it: sign in at the provider and choose the same account. Everything stays.",
        _USER,
    ),
    "access_lost": Entry(
        409,
        "Connect again",
        "The provider renewed our access, its answer was lost before it could be kept, and the former one is not accepted any more. What was synced before is safe.",
        "Reconnect it: sign in at the provider and choose the same account. Everything stays.",
        _USER,
    ),
    # --- providers, as the user meets them ---
    "provider_unavailable": Entry(
        503,
        "Provider unavailable",
        "The provider cannot be reached right now. Nothing was lost.",
        "Try again in a minute; syncs try again by themselves.",
        _PROVIDER,
        True,
    ),
    "provider_timeout": Entry(
        504,
        "Provider too slow",
        "The provider did not answer in time. Nothing was lost.",
        "Try again in a minute; syncs try again by themselves.",
        _PROVIDER,
        True,
    ),
    "provider_malformed": Entry(
        502,
        "Provider answered nonsense",
        "The provider's answer could not be read. Nothing was lost.",
        "Try again in a minute; syncs try again by themselves. Tell an operator if it lasts.",
        _PROVIDER,
        True,
    ),
    "host_not_found": Entry(
        502,
        "Host not found",
        "The host has no address: its name is misspelt, has expired, or its name servers do not answer. Nothing was lost.",
        "Check the address for typing errors. If it is right, try again in a minute.",
        _USER,
        True,
    ),
    "tls_failed": Entry(
        502,
        "No secure connection",
        "The host offers no connection that can be trusted: its certificate is not valid for it. Nothing was sent.",
        "Have the host's certificate renewed or corrected, with all intermediate certificates.",
        _USER,
        True,
    ),
    "address_not_allowed": Entry(
        400,
        "Address not allowed",
        "This address is not one that this installation connects to.",
        "Use the public address of your server. For one in a private network, an operator has to set ALLOW_PRIVATE_NETWORKS.",
        _USER,
    ),
    "provider_rate_limited": Entry(
        503,
        "Provider is limiting us",
        "The provider asked us to slow down. Nothing was lost.",
        "Try again in a minute; syncs try again by themselves.",
        _PROVIDER,
        True,
    ),
    "provider_error": Entry(
        502,
        "Provider refused",
        "The provider answered with an error we do not know yet. Your data is safe.",
        "Tell an operator, with the correlation id.",
        _OPERATOR,
    ),
    "provider_not_configured": Entry(
        503,
        "Provider not configured",
        "This installation has no keys for this provider.",
        "An operator has to set the provider's keys.",
        _OPERATOR,
    ),
    "provider_misconfigured": Entry(
        503,
        "Provider refuses our keys",
        "The provider does not accept this installation's keys. Nothing was lost.",
        "An operator has to correct the provider's keys.",
        _OPERATOR,
    ),
    "provider_credits_exhausted": Entry(
        503,
        "Allowance used up",
        "This installation has used up what it may ask of the provider. Nothing was lost.",
        "An operator has to raise the limit at the provider.",
        _OPERATOR,
    ),
    "bank_not_registered": Entry(
        503,
        "Bank not enabled",
        "This bank asks for a registration that this installation does not have yet.",
        "An operator has to register for this bank on the provider's dashboard.",
        _OPERATOR,
    ),
    "bank_accounts_changed": Entry(
        503,
        "Accounts changed",
        "The bank knows an account of yours under another name now. Nothing was lost; the accounts are read again.",
        "Nothing to do.",
        _PROVIDER,
        True,
    ),
    "bank_unavailable": Entry(
        503,
        "Bank unavailable",
        "Your bank cannot be reached right now. What was synced before is safe; we keep trying.",
        "Nothing to do; this usually passes within hours.",
        _PROVIDER,
        True,
    ),
    "bank_sign_in_required": Entry(
        409,
        "Sign in again",
        "Your bank asks you to sign in again. Your transactions are safe.",
        "Sign in at your bank again.",
        _USER,
    ),
    "bank_link_again": Entry(
        409,
        "Connect the bank again",
        "Your bank does not accept the user name of this connection, also after you signed in again. Your transactions are safe.",
        "Connect the bank anew, with the user name that it knows now. Accounts, transactions and notes stay.",
        _USER,
    ),
    "bank_action_required": Entry(
        409,
        "Your bank needs you",
        "Your bank wants you to do something on its own site first. Your transactions are safe.",
        "Sign in at your bank's site, do what it asks, then sign in here again.",
        _USER,
    ),
    "bank_no_accounts": Entry(
        409,
        "No accounts shared",
        "Your bank shares no account with us any more.",
        "Choose the accounts again, or disconnect this bank.",
        _USER,
    ),
    "bank_consent_required": Entry(
        409,
        "Consent needed",
        "Your bank asks for your consent to share transactions. What was synced before is safe.",
        "Sign in at your bank again and agree to share your transactions.",
        _USER,
    ),
    "bank_token_refused": Entry(
        409,
        "Access not accepted",
        "The provider no longer accepts our access to this bank. What was synced before is safe.",
        "Connect the bank again; if that does not help, tell an operator.",
        _USER,
    ),
    "bank_revoked": Entry(
        409,
        "Access revoked",
        "The access to this bank was withdrawn. What was synced before is safe.",
        "Connect the bank again if you want it back.",
        _USER,
    ),
    "bank_not_supported": Entry(
        409,
        "Bank not supported",
        "This bank can no longer be read. What was synced before is safe.",
        "Disconnect it, or ask an operator.",
        _OPERATOR,
    ),
    "feature_not_enabled": Entry(
        409,
        "Feature not enabled",
        "The provider has not enabled this feature for the connection.",
        "An operator can enable it at the provider.",
        _OPERATOR,
    ),
    "rotation_unknown": Entry(
        409,
        "Rotation unknown",
        "The access token of this bank was to be replaced, and the provider's answer was lost: the one that is kept may not work any more.",
        "Wait for the next sync. If the bank refuses its token, link it again.",
        _OPERATOR,
    ),
    "subscription_ended": Entry(
        409,
        "Subscription ended",
        "The company's subscription at the provider has ended or is suspended. What was synced before is safe.",
        "Renew the subscription at the provider; the connection then goes on by itself.",
        _USER,
    ),
    "removal_failed": Entry(
        503,
        "Still connected at the provider",
        "The access could not be withdrawn at the provider, so it may still be billed.",
        "An operator can see under items to remove why it fails, and whether it is tried again by itself.",
        _OPERATOR,
        True,
    ),
    "shop_keys_refused": Entry(
        409,
        "Shop refuses the keys",
        "The shop does not accept this connection's keys, or they may not do this. What was synced before is safe.",
        "Make a new key with the permission Read/Write under WooCommerce › Settings › Advanced › REST API, and enter it.",
        _USER,
    ),
    "shop_api_missing": Entry(
        409,
        "Shop without its API",
        "The shop answers, but not with WooCommerce's API. What was synced before is safe.",
        "See that the plugin WooCommerce is active, and that Settings › Permalinks is not set to Plain.",
        _USER,
    ),
    "shop_moved": Entry(
        409,
        "Shop has moved",
        "The shop sends us on to another address. What was synced before is safe.",
        "Enter the address that the shop has now, and verify the connection.",
        _USER,
    ),
    "shop_blocked": Entry(
        503,
        "Something stands before the shop",
        "A firewall, a maintenance page or a cache answered in the shop's place. Nothing was lost.",
        "Have the shop's host let this installation pass: its user agent begins with Causeway/.",
        _USER,
        True,
    ),
    "store_key_refused": Entry(
        409,
        "Store refuses the key",
        "The store does not accept this connection's key or password. What was synced before is safe.",
        "Copy the secret key, or the connection string with its password, from the store's dashboard again.",
        _USER,
    ),
    "store_not_prepared": Entry(
        409,
        "Store not prepared",
        "The store lacks a table, a column, a unique key or a permission. What was synced before is safe.",
        "Run the connection's SQL file in the store, which may be run again at any time, and verify the connection.",
        _USER,
    ),
    "store_api_missing": Entry(
        409,
        "No store at this address",
        "What answers at this address is not a store's Data API. What was synced before is safe.",
        "Enter the project's URL as Supabase shows it under Project settings › Data API, and see that the Data API is on.",
        _USER,
    ),
    "store_paused": Entry(
        503,
        "Store paused",
        "The project does not answer: projects without use are paused. Nothing was lost; it is tried again by itself.",
        "Resume the project in Supabase's dashboard.",
        _USER,
        True,
    ),
    "store_restricted": Entry(
        503,
        "Store restricted",
        "Supabase has restricted the project, for a quota or a bill. Nothing was lost; it is tried again by itself.",
        "See the project's usage and billing in Supabase's dashboard.",
        _USER,
        True,
    ),
    "store_read_only": Entry(
        503,
        "Store takes no writes",
        "The database is read-only: its disk is full, or it is a replica. Nothing was lost; it is tried again by itself.",
        "See the database's disk in Supabase's dashboard; do not connect to a read replica.",
        _USER,
        True,
    ),
    "store_value_taken": Entry(
        422,
        "Value taken",
        "Another row of the store has a value of this record that may be there once only.",
        "Look at the other row, and remove it or the store's own unique key; then try the record again.",
        _USER,
    ),
    "store_parent_missing": Entry(
        422,
        "Parent missing",
        "The store asks for another record to be there first.",
        "Nothing to do if that record is synced, too: this one is tried again after it.",
        _USER,
        True,
    ),
    "store_touches_too_much": Entry(
        409,
        "Too many rows",
        "A change would have touched more rows of the store than it was meant for, so it was not made.",
        "An operator has to look at the table's unique key; nothing was changed.",
        _OPERATOR,
    ),
    "sync_mutation": Entry(
        503,
        "Data changed while reading",
        "The bank's data kept changing while we read it. Nothing was lost; we try again by ourselves.",
        "Nothing to do.",
        _PROVIDER,
        True,
    ),
    "cursor_disowned": Entry(
        409,
        "Position lost",
        "The provider no longer knows our position; the history is read again.",
        "Nothing to do.",
        _PROVIDER,
        True,
    ),
    "run_lost": Entry(
        409, "Work handed over", "The worker lost its claim; another one goes on.", "Nothing to do.", _US, True
    ),
    # --- flows ---
    "flow_not_ready": Entry(
        409,
        "Flow not ready",
        "Something is missing before this flow can move records. Nothing was changed.",
        "See gaps: each says what to do. Then activate the flow again.",
        _USER,
    ),
    "flow_exists": Entry(
        409,
        "Flow exists already",
        "There is a flow between these two connections already, and two would undo what each other does.",
        "Change the flow that is there, or remove it first.",
        _USER,
    ),
    "mapping_exists": Entry(
        409,
        "Mapping exists already",
        "This flow has a mapping for these records already, and of two none could be followed.",
        "Change the mapping that is there, or remove it first.",
        _USER,
    ),
    "mapping_changed": Entry(
        409,
        "Changed meanwhile",
        "Somebody has changed this mapping since you read it. Nothing was overwritten.",
        "Read it again and make your change to the version that is there now.",
        _USER,
    ),
    "mapping_in_use": Entry(
        409,
        "Mapping in use",
        "An active flow follows this mapping. Nothing was removed.",
        "Pause the flow first; without a mapping it then follows what is built in.",
        _USER,
    ),
    "no_active_flow": Entry(
        409,
        "No active flow",
        "No active flow keeps up records of this kind, so there is nothing to sync.",
        "Make a flow for it, or activate the one that is there.",
        _USER,
    ),
    "sandbox_mode": Entry(
        409,
        "Sandbox mode",
        "This workspace is in sandbox mode, in which nothing is written to a production connection.",
        "Leave sandbox mode, or use a target of the sandbox.",
        _USER,
    ),
    "ledger_unbalanced": Entry(
        500,
        "Run does not add up",
        "The outcomes of this run do not add up to what it fetched, so it counts as failed. Nothing was lost.",
        "Run a full sync: what arrived already costs nothing. Tell an operator the correlation id.",
        _US,
    ),
    "parent_missing": Entry(
        409,
        "Waits for another record",
        "This record belongs to one that is not at the target yet, and waits for it.",
        "Nothing to do: it follows by itself once the other one has arrived.",
        _US,
        True,
    ),
    "not_available": Entry(
        501,
        "Not available",
        "This version of Causeway cannot do that yet. Nothing was changed.",
        "See the detail for what can be done instead.",
        _OPERATOR,
    ),
    # --- ours ---
    "record_rejected": Entry(
        422,
        "Record rejected",
        "This record could not be stored and was set aside.",
        "An operator can look at the failed record.",
        _OPERATOR,
    ),
    "record_changed": Entry(
        409,
        "Changed meanwhile",
        "Somebody changed this record at the provider while it was being written. Nothing was overwritten.",
        "Nothing to do: it is read again and tried again.",
        _PROVIDER,
        True,
    ),
    "record_exists": Entry(
        422,
        "Exists already",
        "The provider already has a record with this name or number, so this one was set aside.",
        "Link the existing record, or give this one another name or number.",
        _USER,
    ),
    "books_closed": Entry(
        422,
        "Books are closed",
        "The date lies in a period that is closed in the books, so this record was set aside.",
        "Reopen the period in the books, or have the record posted on an open day.",
        _USER,
    ),
    "credential_unreadable": Entry(
        500,
        "Credential unreadable",
        "The stored credential cannot be decrypted with the keys at hand.",
        "An operator has to restore the encryption key it was stored with.",
        _OPERATOR,
    ),
    "not_ready": Entry(
        503, "Not ready", "A part of the system is not available right now.", "Try again in a moment.", _US, True
    ),
    "internal_error": Entry(
        500,
        "Something broke on our side",
        "The request failed because of a defect on our side. Nothing was half done.",
        "Try again; if it fails again, tell an operator the correlation id.",
        _US,
    ),
}


class CausewayError(Exception):
    """An error with a code of the catalogue. Subclasses say what the engine does about it."""

    default_code = "internal_error"
    is_service_wide = False  # whoever asks the provider meets it: its work rests until a probe gets through

    def __init__(
        self,
        detail: str = "",
        *,
        code: str = "",
        remediation: str = "",
        operator_detail: str = "",
        provider: str = "",
        provider_code: str = "",
        provider_type: str = "",
        request_id: str = "",
        retry_after_s: float | None = None,
        fields: dict[str, list[str]] | None = None,
        extra: dict[str, Any] | None = None,
    ) -> None:
        self.code = code or self.default_code
        self.entry = CATALOGUE[self.code]
        self.detail = detail or self.entry.detail
        self.remediation = remediation or self.entry.remediation
        self.operator_detail = operator_detail
        self.provider, self.request_id = (provider, request_id)
        self.provider_code, self.provider_type = (provider_code, provider_type)
        self.retry_after_s = retry_after_s
        self.fields = fields
        self.extra = extra or {}
        super().__init__(f"{self.code}: {operator_detail or self.detail}")


class RequestError(CausewayError):
    """The caller asked for something that cannot be done as asked."""

    default_code = "validation_failed"


class NotFound(CausewayError):
    default_code = "not_found"


class Conflict(CausewayError):
    default_code = "conflict"


class ConfirmationNeeded(Conflict):
    """It affects more than may happen unasked. The same code as for what cannot be undone, as a conflict."""

    default_code = "confirmation_required"

    def __init__(self, detail: str = "", **said: Any) -> None:
        super().__init__(detail, **said)
        self.entry = replace(self.entry, status=409)


class PermissionRefused(CausewayError):
    default_code = "permission_denied"


class ProviderError(CausewayError):
    """Anything a provider did; subclasses are the policies. This one: nobody classified it yet, three tries, then failed."""

    default_code = "provider_error"


class TemporaryError(ProviderError):
    """Back off with jitter and try again."""

    default_code = "provider_unavailable"


class NotSent(TemporaryError):
    """The request did not leave: whatever it was, it may be repeated."""


class RateLimited(TemporaryError):
    """Wait at least `retry_after_s`; not counted as a failure."""

    default_code = "provider_rate_limited"


class OutcomeUnknown(TemporaryError):
    """A call that must not be repeated was sent and its answer never came."""

    default_code = "outcome_unknown"


class NeedsReauth(ProviderError):
    """Stop and ask the owner to sign in again."""

    default_code = "bank_sign_in_required"


class PermanentError(ProviderError):
    """Trying again cannot help: the connection fails at once."""

    default_code = "bank_not_supported"


class AccessWithdrawn(PermanentError):
    """The person took the access back: nothing is asked any more but its removal at the provider."""

    default_code = "bank_revoked"


class RemovedMeanwhile(AccessWithdrawn):
    """Somebody removed it while it was asked for: over like any other, and no news to anybody."""


class Misconfigured(ProviderError):
    """The installation's own keys or set-up are wrong: connections keep their states, an operator acts."""

    default_code = "provider_misconfigured"


class KeysRefused(Misconfigured):
    """The provider takes nothing from this installation."""

    is_service_wide = True


class Maintenance(TemporaryError):
    """The provider has announced that it is away."""

    is_service_wide = True


class RejectedRecord(ProviderError):
    """One record cannot be stored; the run goes on."""

    default_code = "record_rejected"


class DuplicateRecord(RejectedRecord):
    """The target has such a record already. existing_id: its id there, existing_entity: its kind; "" where it does not tell."""

    default_code = "record_exists"
    existing_id = existing_entity = ""


class StaleObject(ProviderError):
    """The record was changed since it was read: read it again, apply the change again, at most three times."""

    default_code = "record_changed"


class MutationDuringPagination(TemporaryError):
    """Start the loop again from the cursor with which it began."""

    default_code = "sync_mutation"


class AccountsChanged(TemporaryError):
    """An account is not known by that id any more: read the accounts again before the next try."""

    default_code = "bank_accounts_changed"


class CursorDisowned(ProviderError):
    """Read the whole history again from an empty cursor."""

    default_code = "cursor_disowned"


class LeaseLost(CausewayError):
    """Another worker owns this work now: drop everything, change nothing."""

    default_code = "run_lost"
