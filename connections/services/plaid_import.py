"""Taking over Items that another system linked: their tokens, accounts and cursors, without asking anybody to link again.

One row at a time: asked about at Plaid, judged, then written in one transaction, with no transaction open over a call. A
row is all or nothing, and one that is here already is left as it is: whatever was killed is simply run again. A dry run
asks and judges the same, and stops there.
"""

import hashlib
import time
from array import array
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any, TypeVar

from django.conf import settings
from django.db import IntegrityError, transaction
from django.db import connection as database
from django.db.models import F, Q
from django.utils import timezone

from connections.audit import Action
from connections.errors import (
    CausewayError,
    Conflict,
    Maintenance,
    NeedsReauth,
    PermanentError,
    RateLimited,
    TemporaryError,
)
from connections.events import EventType, event_record
from connections.models import (
    Account,
    Connection,
    Credential,
    Membership,
    PlaidItem,
    PlaidItemAccount,
    PlaidTokenRotation,
    ProviderPause,
    RetiredPlaidItem,
    Role,
)
from connections.models.connection import CLOSED, Provider
from connections.models.connection import Status as ConnectionStatus
from connections.models.credential import fingerprint
from connections.providers.base import BankAccount, ItemDetails
from connections.providers.plaid import records
from connections.providers.plaid.client import PlaidClient
from connections.providers.plaid.errors import classify_error
from connections.providers.plaid.exports import BadRow, ExportedAccount, ExportedItem
from connections.services import lifecycle
from connections.services.accounts import accounts_lock, accounts_update
from connections.services.audit import security_event_record
from connections.services.plaid_items import ACCESS_TOKEN, readable_token, relink_completed
from connections.services.plaid_webhook_address import webhook_address_set, webhook_url
from connections.services.provider_pauses import refusals_noticed
from connections.waking import wake

CALL_TRIES = 3
LONGEST_WAIT_S = 600  # for a rate, in all, over one row
ROWS_UNTIL_STOPPED = 5  # rows in a row that Plaid did not answer
_UNANSWERED = ("provider_unavailable", "provider_timeout")
_STOPPING = ("provider_not_configured", "provider_misconfigured", "provider_credits_exhausted")


class Status(StrEnum):
    CREATED = "created"
    UNCHANGED = "unchanged"
    TOKEN_UPDATED = "token_updated"  # noqa: S105 - a state, not a token
    REPLAYED = "replayed"
    REFUSED = "refused"  # somebody has to decide, or mend the row
    FAILED = "failed"  # the same row may go through later


WENT_WRONG = (Status.REFUSED, Status.FAILED)


@dataclass(frozen=True, slots=True)
class Options:
    """is_offline: judge without asking Plaid; for dry runs. is_replay: read whole histories, whatever cursors are given."""

    is_dry_run: bool = False
    is_offline: bool = False
    is_replay: bool = False
    updates_tokens: bool = False
    allows_duplicates: bool = False


@dataclass(slots=True)
class Accounts:
    """What the export lists, against what the Item shares. is_checked: whether the bank could say.

    matched: (as exported, our account's id; "" in a dry run).
    """

    is_checked: bool = False
    in_export: int | None = None
    found: int | None = None
    matched: list[tuple[ExportedAccount, str]] = field(default_factory=list)
    missing: list[ExportedAccount] = field(default_factory=list)
    unlisted: list[str] = field(default_factory=list)


@dataclass(slots=True)
class Outcome:
    """What became of one row, or would. Nothing secret is in it. history: from_start, from_cursor, or ""."""

    line: int
    status: Status
    reason: str = ""
    detail: str = ""
    workspace: str = ""
    owner: str = ""
    environment: str = ""
    item_id: str = ""
    institution: str = ""
    reference: str = ""
    fingerprint: str = ""
    connection_id: str = ""
    connection_status: str = ""
    history: str = ""
    webhook: str = ""
    accounts: Accounts = field(default_factory=Accounts)


class ImportStopped(Exception):
    """Going on would fail every row after this one the same way. `error` says why, `line` where."""

    def __init__(self, error: CausewayError, *, line: int) -> None:
        super().__init__(error.operator_detail or error.detail)
        self.error, self.line = error, line


class _Refused(Exception):
    """The row cannot be imported as it is."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason, self.detail = reason, detail


@dataclass(frozen=True, slots=True)
class _Found:
    """What Plaid says of an Item. accounts: None where it cannot say now. trouble: the login's, for its owner to end."""

    item: ItemDetails
    webhook: str
    accounts: list[BankAccount] | None
    trouble: NeedsReauth | None


@dataclass(frozen=True, slots=True)
class _Verdict:
    """stored: the fingerprint of the token that is here; "" without one."""

    status: Status
    item: PlaidItem | None = None
    stored: str = ""


def plaid_import(rows: Iterable[ExportedItem | BadRow], *, options: Options) -> Iterator[Outcome]:
    """Import row by row; yields what became of each. Raises ImportStopped where Plaid lets nobody through."""
    seen, unanswered = _Seen(), 0
    for row in rows:
        if isinstance(row, BadRow):
            yield Outcome(row.line, Status.REFUSED, reason="invalid_row", detail="; ".join(row.errors))
            continue
        try:
            outcome = _imported(row, options, seen)
        except _Refused as refused:
            outcome = _outcome(row, Status.REFUSED, reason=refused.reason, detail=refused.detail)
        except CausewayError as error:
            if error.is_service_wide or error.code in _STOPPING:
                raise ImportStopped(error, line=row.line) from error
            is_final = isinstance(error, PermanentError)
            status = Status.REFUSED if is_final else Status.FAILED
            outcome = _outcome(row, status, reason=error.code, detail=error.operator_detail or error.detail)
            if error.code in _UNANSWERED and unanswered + 1 >= ROWS_UNTIL_STOPPED:
                yield outcome
                raise ImportStopped(error, line=row.line) from error
        yield outcome
        unanswered = unanswered + 1 if outcome.reason in _UNANSWERED else 0


def _outcome(row: ExportedItem, status: Status, **facts: Any) -> Outcome:
    given = {
        "workspace": row.workspace,
        "owner": row.owner,
        "environment": row.environment,
        "item_id": row.item_id,
        "institution": row.institution_name or row.institution_id,
        "reference": row.reference,
        "fingerprint": fingerprint(row.access_token),
    }
    return Outcome(row.line, status, **(given | facts))


class _Seen:
    """Which tokens and Items the file has named so far, and where: sixteen bytes of each, however long they are."""

    def __init__(self) -> None:
        self._digests, self._lines = array("Q"), array("Q")

    def refuse_second(self, kind: str, name: str, line: int) -> None:
        if (first := self.first_line(kind, name, line)) != line:
            raise _Refused("twice_in_file", f"Line {first} names the same {kind}.")

    def first_line(self, kind: str, name: str, line: int) -> int:
        """Where the file named it first; `line` where it has not yet."""
        digest = int.from_bytes(hashlib.blake2b(f"{kind}:{name}".encode(), digest_size=8).digest())
        at = bisect_left(self._digests, digest)
        if at < len(self._digests) and self._digests[at] == digest:
            return self._lines[at]
        self._digests.insert(at, digest)
        self._lines.insert(at, line)
        return line


def _imported(row: ExportedItem, options: Options, seen: _Seen) -> Outcome:
    seen.refuse_second("token", row.access_token, row.line)
    if row.item_id:
        seen.refuse_second("Item", row.item_id, row.line)
    member = _member(row)
    found = None
    verdict = _judge(row, member, None, options) if row.item_id else _Verdict(Status.CREATED)
    if verdict.status in (Status.CREATED, Status.TOKEN_UPDATED) and not options.is_offline:
        found = _ask(row)
        if not row.item_id:
            seen.refuse_second("Item", found.item.external_id, row.line)
            row = replace(row, item_id=found.item.external_id)
        before, verdict = verdict, _judge(row, member, found, options)
        if verdict.stored != before.stored and verdict.status is Status.TOKEN_UPDATED:
            found = _ask(row)  # what is here now may be newer than the answer
    if options.is_dry_run and found and verdict.status is Status.CREATED and not options.allows_duplicates:
        _refuse_twin_in_file(row, found, seen)
    if not options.is_dry_run:
        try:
            verdict = _write(row, member, found, options, stored=verdict.stored)
        except IntegrityError:  # somebody else has just made it
            verdict = _write(row, member, found, options, stored=verdict.stored)
        found = _with_webhooks(row, verdict, found)
    return _told(row, verdict, found, options)


# --- judging ---
def _member(row: ExportedItem) -> Membership:
    """Whose it becomes: somebody who may link banks there."""
    members = Membership.objects.filter(workspace__slug=row.workspace).select_related("workspace", "user")
    member = members.filter(user__username=row.owner).first()
    if member is None and not members.exists():
        raise _Refused("unknown_workspace", "There is no such workspace, or nobody works in it.")
    if member is None or not member.user.is_active:
        raise _Refused("unknown_owner", "Nobody of that name works in the workspace.")
    if not Role(member.role).covers(Role.MEMBER):
        raise _Refused("owner_may_not_link", "The owner is a viewer there, and viewers link no banks.")
    return member


def _judge(row: ExportedItem, member: Membership, found: _Found | None, options: Options) -> _Verdict:
    """What is to be done about a row whose Item is known by id. Reads only; raises _Refused."""
    if RetiredPlaidItem.objects.filter(item_id=row.item_id).exists():
        raise _Refused("item_removed", "A connection here had this Item and replaced it; it is removed at Plaid.")
    item = PlaidItem.objects.filter(item_id=row.item_id).select_related("connection").first()
    if item is None:
        if found and not options.allows_duplicates:
            _refuse_twin(member, found)
        return _Verdict(Status.CREATED)
    if item.workspace_id != member.workspace_id:
        raise _Refused("item_of_another_workspace", "Another workspace has linked this Item.")
    if item.connection.owner_id != member.user_id:
        raise _Refused("item_of_another_person", "Somebody else in the workspace has linked this Item.")
    if item.connection.status in CLOSED or item.removed_at:
        raise _Refused("item_removed", "This Item was disconnected here.")
    stored = readable_token(item.connection)
    if stored != row.access_token:
        if not options.updates_tokens:
            raise _Refused("other_token", "The Item is here with another token; --update-tokens replaces it.")
        return _Verdict(Status.TOKEN_UPDATED, item, fingerprint(stored))
    return _Verdict(Status.REPLAYED if _is_replay_due(item, options) else Status.UNCHANGED, item, fingerprint(stored))


def _is_replay_due(item: PlaidItem, options: Options) -> bool:
    return options.is_replay and item.is_history_partial and item.cursor != ""


def _refuse_twin(member: Membership, found: _Found) -> None:
    """The same accounts of the same bank under another Item of the same person: their money would count twice."""
    if not found.item.institution_id:
        return
    known = Account.objects.filter(
        workspace_id=member.workspace_id,
        connection__owner_id=member.user_id,
        connection__plaid_item__institution_id=found.item.institution_id,
        connection__plaid_item__removed_at=None,
    ).exclude(connection__status__in=CLOSED)
    offered = {(account.name, account.mask) for account in found.accounts or ()}
    persistent = {account.persistent_id for account in found.accounts or ()} - {""}
    same = Q(persistent_id__in=persistent) | Q(name__in={name for name, _mask in offered})
    for account in known.filter(same).only("name", "mask", "persistent_id", "connection_id"):
        if (account.name, account.mask) in offered or account.persistent_id in persistent:
            raise _Refused(
                "duplicate_login",
                f"Connection {account.connection_id} has the same accounts of the same bank; --allow-duplicates imports "
                "them once more.",
            )


def _refuse_twin_in_file(row: ExportedItem, found: _Found, seen: _Seen) -> None:
    """The same where the file has both, and an import would have made the first of them by now."""
    whose = f"{row.workspace}:{row.owner}:{found.item.institution_id}"
    for account in (found.accounts or ()) if found.item.institution_id else ():
        names = [f"name:{account.name}:{account.mask}"]
        names += [f"id:{account.persistent_id}"] if account.persistent_id else []
        for name in names:
            if (first := seen.first_line("account", f"{whose}:{name}", row.line)) != row.line:
                raise _Refused("duplicate_login", f"Line {first} has the same accounts of the same bank.")


# --- asking ---
def _ask(row: ExportedItem) -> _Found:
    """Read-only and free. Raises _Refused, and whatever the class of Plaid's error says."""
    at_rest = ProviderPause.objects.filter(provider=Provider.PLAID, environment=row.environment).first()
    if at_rest:
        raise Maintenance(code=at_rest.code, operator_detail="all work at Plaid rests: " + at_rest.operator_detail)
    client = PlaidClient(row.environment, item_key=fingerprint(row.access_token))
    with refusals_noticed(row.environment):
        answer = _patiently(lambda: client.item_get(row.access_token))
    item = records.item_details(answer)
    if not item.external_id:
        raise records.malformed("/item/get says no usable item_id")
    if row.item_id and row.item_id != item.external_id:
        raise _Refused("item_id_differs", "The token opens another Item than the row says.")
    error = records.item_error(answer)
    trouble = classify_error(error) if error else None
    if isinstance(trouble, PermanentError):
        raise trouble
    accounts = None
    if not isinstance(trouble, NeedsReauth):
        try:
            accounts = records.bank_accounts(_patiently(lambda: client.accounts_get(row.access_token)))
            if not accounts:
                trouble = NeedsReauth(code="bank_no_accounts", operator_detail="the bank shares no account any more")
        except NeedsReauth as needs:
            trouble = needs
        except TemporaryError as error:
            if error.code != "bank_unavailable":  # a bank may be away for days; its Item can come all the same
                raise
    return _Found(item, records.item_webhook(answer), accounts, trouble if isinstance(trouble, NeedsReauth) else None)


_Answer = TypeVar("_Answer")


def _patiently(call: Callable[[], _Answer]) -> _Answer:
    """Wait for the provider's rate, and try a lost call again: all of them only read."""
    waited, tries = 0.0, 0
    while True:
        try:
            return call()
        except RateLimited as limited:
            wait_s = limited.retry_after_s or settings.RATE_LIMIT_WAIT_S
            waited += wait_s
            if waited > LONGEST_WAIT_S:
                raise
        except TemporaryError as error:
            tries += 1
            if error.is_service_wide or error.code == "bank_unavailable" or tries >= CALL_TRIES:
                raise
            wait_s = lifecycle.backoff_s(tries)
        time.sleep(wait_s)


# --- writing ---
@transaction.atomic
def _write(row: ExportedItem, member: Membership, found: _Found | None, options: Options, *, stored: str) -> _Verdict:
    """Judge once more, now under locks, and do it: all of the row or nothing.

    stored: the fingerprint of the token that was here before Plaid was asked.
    """
    if found:  # nobody links the same bank for this person meanwhile
        _lock(f"exchange:{member.user_id}:{found.item.institution_id}")
    if known := PlaidItem.objects.filter(item_id=row.item_id).first():
        accounts_lock(known.pk)
        Connection.objects.select_for_update(no_key=True).get(pk=known.connection_id)
    verdict = _judge(row, member, found, options)
    if verdict.status is Status.UNCHANGED:
        return verdict
    item = _create_or_update(row, member, found, options, verdict, stored)
    if _is_replay_due(item, options):
        _replay(item)
    _record(row, item, verdict.status, options)
    wake("sync.tasks.dispatch")
    return replace(verdict, item=item)


def _create_or_update(
    row: ExportedItem, member: Membership, found: _Found | None, options: Options, verdict: _Verdict, stored: str
) -> PlaidItem:
    if verdict.item and verdict.status is Status.REPLAYED:
        return verdict.item
    if found is None:
        raise Conflict(operator_detail="the Item changed here meanwhile; run the import again")
    if verdict.item is None:
        return _create(row, member, found, options)
    under_way = PlaidTokenRotation.objects.filter(item_id=row.item_id, status=PlaidTokenRotation.Status.STARTED)
    if verdict.stored != stored or under_way.exists():
        raise Conflict(operator_detail="its token is being replaced here at this moment; run the import again")
    _update_token(row, verdict.item, found)
    return verdict.item


def _lock(name: str) -> None:
    """Hold this name until the transaction ends."""
    with database.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", [name])


def _create(row: ExportedItem, member: Membership, found: _Found, options: Options) -> PlaidItem:
    """Connection, Item, token and accounts. The Item is dirty; institution and looks are read with its first sync."""
    name = found.item.institution_name or row.institution_name
    connection = Connection.objects.create(
        workspace_id=member.workspace_id,
        owner_id=member.user_id,
        provider=Provider.PLAID,
        name=name or "Bank",
        environment=row.environment,
        status=ConnectionStatus.ACTIVE,
        reauth_due_at=found.item.consent_expires_at,
    )
    cursor = "" if options.is_replay else row.cursor
    item = PlaidItem.objects.create(
        workspace_id=member.workspace_id,
        connection=connection,
        item_id=row.item_id,
        institution_id=found.item.institution_id or row.institution_id,
        institution_name=name,
        cursor=cursor,
        is_history_partial=bool(cursor),
        consent_expires_at=found.item.consent_expires_at,
        webhook_url=found.webhook,
    )
    credential = Credential(workspace_id=member.workspace_id, connection=connection, name=ACCESS_TOKEN)
    credential.seal(row.access_token)
    credential.save()
    told = {"provider": connection.provider, "environment": connection.environment}
    event_record(EventType.CONNECTION_CREATED, connection_id=connection.pk, payload=told)
    event_record(EventType.CONNECTION_ACTIVATED, connection_id=connection.pk, payload={"was": ""})
    accounts = found.accounts if found.accounts is not None else _as_exported(row)
    accounts_update(item=item, accounts=accounts, is_complete=found.accounts is not None)
    if found.trouble:
        _needs_owner(connection, item, found.trouble)
    item.connection = connection
    return item


def _as_exported(row: ExportedItem) -> list[BankAccount]:
    """While the bank does not say, the export's word is taken; the first complete reading corrects it."""
    return records.bank_accounts([{"account_id": a.account_id, "name": a.name} for a in row.accounts or ()])


def _needs_owner(connection: Connection, item: PlaidItem, trouble: NeedsReauth) -> None:
    lifecycle.record_failure(connection, trouble)
    connection.save()
    item.reauth_needed_at, item.last_sync_error = timezone.now(), trouble.operator_detail
    item.save(update_fields=["reauth_needed_at", "last_sync_error"])


def _update_token(row: ExportedItem, item: PlaidItem, found: _Found) -> None:
    """The Item goes on under this token, which Plaid has just accepted."""
    credential = Credential.objects.filter(connection_id=item.connection_id, name=ACCESS_TOKEN).first()
    credential = credential or Credential(
        workspace_id=item.workspace_id, connection_id=item.connection_id, name=ACCESS_TOKEN
    )
    credential.seal(row.access_token)
    credential.save()
    if found.trouble is None:
        relink_completed(connection=item.connection, repaired_at=timezone.now())
    else:
        PlaidItem.objects.filter(pk=item.pk).update(dirty_seq=F("dirty_seq") + 1, details_at=None, offered_until=None)
    item.connection.refresh_from_db()


def _replay(item: PlaidItem) -> None:
    """Read everything from the start; whoever reads from the cursor now loses its claim, and with it the cursor's move."""
    PlaidItem.objects.filter(pk=item.pk).update(
        cursor="", lease_token=None, lease_expires_at=None, offered_until=None, dirty_seq=F("dirty_seq") + 1
    )


def _record(row: ExportedItem, item: PlaidItem, status: Status, options: Options) -> None:
    security_event_record(
        Action.CONNECTION_IMPORTED,
        actor=None,
        workspace_id=item.workspace_id,
        subject=item.connection,
        change=str(status),
        environment=row.environment,
        item_id=row.item_id,
        is_from_cursor=bool(row.cursor) and not options.is_replay,
    )


def _with_webhooks(row: ExportedItem, verdict: _Verdict, found: _Found | None) -> _Found | None:
    """Its webhooks come to us from now on, where they may. A call of its own, after the row is written."""
    if found is None or verdict.item is None or verdict.status not in (Status.CREATED, Status.TOKEN_UPDATED):
        return found
    client = PlaidClient(row.environment, item_key=fingerprint(row.access_token))
    is_set = webhook_address_set(item=verdict.item, client=client, access_token=row.access_token, told=found.webhook)
    return replace(found, webhook=webhook_url()) if is_set else found


# --- telling ---
def _told(row: ExportedItem, verdict: _Verdict, found: _Found | None, options: Options) -> Outcome:
    item = verdict.item
    outcome = _outcome(row, verdict.status, accounts=_accounts(row, item, found))
    if found:
        outcome.institution = found.item.institution_name or outcome.institution
        outcome.webhook = "none" if not found.webhook else "here" if found.webhook == webhook_url() else "elsewhere"
        outcome.connection_status = ConnectionStatus.NEEDS_REAUTH if found.trouble else ConnectionStatus.ACTIVE
        if found.trouble:
            outcome.reason, outcome.detail = found.trouble.code, found.trouble.detail
    if item:
        outcome.institution = item.institution_name or outcome.institution
        outcome.connection_id, outcome.connection_status = str(item.connection_id), item.connection.status
    is_partial = item.is_history_partial if item else row.cursor != ""
    outcome.history = "from_cursor" if is_partial and not options.is_replay else "from_start"
    return outcome


def _accounts(row: ExportedItem, item: PlaidItem | None, found: _Found | None) -> Accounts:
    """What the export lists against what the bank shares, as read just now or with the last sync."""
    ours = {}
    if item:
        mappings = PlaidItemAccount.objects.filter(item=item, replaced_at=None)
        mappings = mappings.exclude(account__status=Account.Status.MISSING)
        ours = {external_id: str(pk) for external_id, pk in mappings.values_list("plaid_account_id", "account_id")}
    told = Accounts(in_export=None if row.accounts is None else len(row.accounts))
    if found and found.accounts is not None:
        shared = {account.external_id for account in found.accounts}
    elif item and not found:
        shared = set(ours)
    else:
        return told
    told.is_checked, told.found = True, len(shared)
    if row.accounts is None:
        return told
    told.matched = [(a, ours.get(a.account_id, "")) for a in row.accounts if a.account_id in shared]
    told.missing = [account for account in row.accounts if account.account_id not in shared]
    told.unlisted = sorted(shared - {account.account_id for account in row.accounts})
    return told
