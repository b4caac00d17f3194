"""Keeping our accounts equal to what the bank shares now."""

from collections.abc import Iterable
from uuid import UUID

from django.db import connection, transaction
from django.utils import timezone

from connections.models import Account, PlaidItem, PlaidItemAccount
from connections.models.connection import CLOSED
from connections.providers.base import BankAccount


def accounts_lock(item_id: UUID) -> None:
    """Hold the Item's accounts until the end of the transaction: the first of all locks, before rows of any table.

    The whole order: this one, account rows, run, connection, Item row. Not the Item's row, which receivers of webhooks
    need all the time.
    """
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", [f"accounts:{item_id}"])


@transaction.atomic
def accounts_update(*, item: PlaidItem, accounts: Iterable[BankAccount], is_complete: bool) -> None:
    """Upsert `accounts`; with `is_complete`, those of ours that are not among them are marked missing, never deleted.

    A Plaid account id that we do not know may be an old account under a new name (account churn): it takes over the
    account with the same persistent id, or with the same name, mask and type, where that account's own id is not
    shared any more. Two callers cannot create an account twice: they queue for `accounts_lock`. Does nothing where the
    connection was re-linked as another Item, or disconnected, since `item` was read. An account that its owner removed
    stays as it was then.
    """
    accounts = list(accounts)
    accounts_lock(item.pk)
    if not _is_read(item):
        return
    mappings = {m.plaid_account_id: m for m in PlaidItemAccount.objects.filter(item=item).select_related("account")}
    seen_ids = {account.external_id for account in accounts}
    for incoming in accounts:
        mapping = mappings.get(incoming.external_id)
        account = mapping.account if mapping else _churned(incoming, mappings, seen_ids if is_complete else None)
        account = _write(account or Account(workspace_id=item.workspace_id, connection_id=item.connection_id), incoming)
        if mapping is None or mapping.replaced_at:
            _replace(mappings, account)
        if mapping is None:
            mapping = PlaidItemAccount(
                workspace_id=item.workspace_id, item=item, account=account, plaid_account_id=incoming.external_id
            )
            mapping.save()
            mappings[incoming.external_id] = mapping
        elif mapping.replaced_at:
            mapping.replaced_at = None
            mapping.save(update_fields=["replaced_at"])
    if is_complete:
        shared = {mappings[external_id].account_id for external_id in seen_ids}
        gone = Account.objects.filter(connection_id=item.connection_id, status=Account.Status.ACTIVE).exclude(
            pk__in=shared
        )
        gone.update(status=Account.Status.MISSING, updated_at=timezone.now())


def has_accounts(connection_id: UUID) -> bool:
    """Whether the bank shares any account that its owner has not removed here, as it was last read."""
    return Account.objects.filter(connection_id=connection_id, status=Account.Status.ACTIVE).exists()


def is_any_wanted(item: PlaidItem, accounts: Iterable[BankAccount]) -> bool:
    """Whether these, which the bank shares, are more than what its owner has removed here."""
    removed = PlaidItemAccount.objects.filter(item=item, account__status=Account.Status.ARCHIVED)
    return bool({account.external_id for account in accounts} - set(removed.values_list("plaid_account_id", flat=True)))


@transaction.atomic
def accounts_keep_past(*, item: PlaidItem, accounts: Iterable[BankAccount]) -> None:
    """Make room for the history of accounts that the bank lists no more: missing ones, or an old id of one we have."""
    accounts_lock(item.pk)
    if not _is_read(item):
        return
    known = set(PlaidItemAccount.objects.filter(item=item).values_list("plaid_account_id", flat=True))
    for past in accounts:
        if past.external_id in known:
            continue
        same = Account.objects.filter(connection_id=item.connection_id, persistent_id=past.persistent_id)
        account = same.first() if past.persistent_id else None
        ended_at = timezone.now() if account else None
        if account is None:
            account = _write(Account(workspace_id=item.workspace_id, connection_id=item.connection_id), past)
            account.status = Account.Status.MISSING
            account.save(update_fields=["status"])
        PlaidItemAccount.objects.create(
            workspace_id=item.workspace_id,
            item=item,
            account=account,
            plaid_account_id=past.external_id,
            replaced_at=ended_at,
        )


def _is_read(item: PlaidItem) -> bool:
    same = PlaidItem.objects.filter(pk=item.pk, item_id=item.item_id)
    return same.exclude(connection__status__in=CLOSED).exists()


def _replace(mappings: dict[str, PlaidItemAccount], account: Account) -> None:
    """Whatever id meant this account ends now."""
    for mapping in mappings.values():
        if mapping.account_id == account.pk and mapping.replaced_at is None:
            mapping.replaced_at = timezone.now()
            mapping.save(update_fields=["replaced_at"])


def _churned(incoming: BankAccount, mappings: dict[str, PlaidItemAccount], seen_ids: set[str] | None) -> Account | None:
    """The account that this new id most likely means. seen_ids: the ids shared now, where that list is complete."""
    current = [
        mapping
        for mapping in mappings.values()
        if mapping.replaced_at is None and not (seen_ids and mapping.plaid_account_id in seen_ids)
    ]
    if incoming.persistent_id:
        for mapping in current:
            if mapping.account.persistent_id == incoming.persistent_id:
                return mapping.account
    if seen_ids is None:
        return None
    likeness = (incoming.name, incoming.mask, incoming.type, incoming.subtype)
    alike = [
        mapping.account
        for mapping in current
        if (mapping.account.name, mapping.account.mask, mapping.account.type, mapping.account.subtype) == likeness
    ]
    return alike[0] if len(alike) == 1 else None


def _write(account: Account, incoming: BankAccount) -> Account:
    """Save what differs; the balances' time moves with every look. What its owner removed is not looked at any more."""
    if account.status == Account.Status.ARCHIVED:
        return account
    account.name, account.official_name, account.mask = (incoming.name, incoming.official_name, incoming.mask)
    account.type, account.subtype, account.persistent_id = (incoming.type, incoming.subtype, incoming.persistent_id)
    account.iso_currency, account.unofficial_currency = (incoming.iso_currency, incoming.unofficial_currency)
    account.balance_current, account.balance_available = (incoming.balance_current, incoming.balance_available)
    account.balance_limit = incoming.balance_limit
    account.balances_at = timezone.now()
    if account.status == Account.Status.MISSING:
        account.status = Account.Status.ACTIVE
    account.save()
    return account
