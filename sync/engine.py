"""The cursor sync: from a claimed Item to its transactions, all of an update or nothing of it.

1. Claim the Item; open its run, or go on with the one a worker left behind.
2. Read pages from the run's position. A single-page update is applied directly, a longer one is staged page by page.
3. When there is no more, one transaction merges the pages in order, writes the run's ledger, and last moves the cursor,
   if the claim still holds. So the cursor moves if and only if everything before it is applied.

No database transaction is ever open across a provider call. docs/explanation/cursor-sync.md tells why each rule is there.
"""

import random
import time
from collections.abc import Callable
from dataclasses import replace
from enum import StrEnum
from uuid import UUID

import structlog
from django.conf import settings
from django.db import DataError, InterfaceError, OperationalError, transaction
from django.db.models import F

from config import correlation
from connections.errors import (
    CausewayError,
    CursorDisowned,
    LeaseLost,
    MutationDuringPagination,
    NeedsReauth,
    PermanentError,
    RateLimited,
    TemporaryError,
)
from connections.models import Connection, PlaidItem, PlaidItemAccount
from connections.providers.base import SyncPage
from connections.providers.plaid import records
from connections.providers.plaid.client import PlaidClient
from connections.services.accounts import accounts_keep_past, accounts_lock, has_accounts
from connections.services.plaid_items import details_fetch
from connections.waking import wake
from sync import merge, staging
from sync.claimed_run import Position, records_set_aside, run_end, run_fail, run_hold, run_open, run_suspend
from sync.leases import Claim, Renewal, claim, fence, renewed
from sync.ledger import Ledger
from sync.poison import Poisoned

log = structlog.get_logger(__name__)

IN_CALL_TRIES = 2
IN_PLACE_WAIT_S = 2.0  # a budget that is free again this soon is waited for; a longer wait is a row


class Outcome(StrEnum):
    NOTHING = "nothing"  # not dirty, not due, or somebody else's
    SYNCED = "synced"
    CONTINUES = "continues"  # stopped voluntarily; a later task goes on after the last staged page
    WAITS = "waits"  # the provider's rate; goes on at next_attempt_at
    FAILED = "failed"
    LOST = "lost"  # another worker has taken over


def sync_item(item_id: UUID | str, *, deadline: float, is_large_queue: bool = False) -> Outcome:
    """Sync one Item if it is dirty, due and free. deadline: time.monotonic() at which to stop and let another task go on."""
    held = claim(item_id)
    if held is None:
        return Outcome.NOTHING
    position = run_open(held)
    if position is None:
        return Outcome.LOST
    with correlation.bound(position.correlation_id or None), renewed(held) as renewal:
        try:
            return _settled(_Sync(held, position, renewal, deadline=deadline, is_large_queue=is_large_queue))
        except LeaseLost:
            log.warning("lease_lost", item=str(held.item_id), run=str(position.run_id))
            return Outcome.LOST


def _settled(turn: "_Sync") -> Outcome:
    """Run the turn; whatever goes wrong ends or suspends its run as the error's class says. Raises LeaseLost, and bugs."""
    try:
        return turn.run()
    except LeaseLost:
        raise
    except RateLimited as wait:
        run_suspend(turn.held, turn.position, wait)
        return Outcome.WAITS
    except CausewayError as error:
        if error.is_service_wide:
            run_hold(turn.held, turn.position, error)
            return Outcome.WAITS
        run_fail(turn.held, turn.position, error)
        return Outcome.FAILED
    except Exception as bug:
        if _is_database_away(bug):
            raise  # nothing can be written now; the lease runs out and another worker goes on
        log.exception("sync_broke", item=str(turn.held.item_id), run=str(turn.position.run_id))
        said = f"{type(bug).__name__}: {bug}"
        run_fail(turn.held, turn.position, CausewayError(code="internal_error", operator_detail=said))
        raise


def _is_database_away(error: BaseException) -> bool:
    """Refused, cut off or restarting, or a deadlock that a later try resolves: not a statement that fails for ever."""
    if not isinstance(error, OperationalError | InterfaceError):
        return False
    state = getattr(error.__cause__, "sqlstate", None)
    return state is None or state[:2] in ("08", "40", "57")


class _Sync:
    """One worker's turn at one run."""

    def __init__(
        self, held: Claim, position: Position, renewal: Renewal, *, deadline: float, is_large_queue: bool
    ) -> None:
        self.held, self.position, self.renewal = held, position, renewal
        self.deadline, self.is_large_queue = deadline, is_large_queue
        self.known_accounts: set[str] | None = None
        self.is_bare = False  # the bank shares no account any more
        self.is_in_doubt = False  # rows are here that a replay of an incomplete history did not tell

    def run(self) -> Outcome:
        if not self.held.credential_id:
            raise PermanentError(code="connection_not_active", operator_detail="the connection has no access token")
        self.access_token = self.held.access_token()
        self.client = PlaidClient(self.held.environment, item_key=self.held.plaid_item_id)
        if self.position.is_resumed and not self._stage_is_whole():
            self._restart(self.held.cursor, is_restart=False)
        while True:
            try:
                page = self._fetch()
            except MutationDuringPagination as error:
                self._mutated(error)
                continue
            except CursorDisowned as error:
                self._disowned(error)
                continue
            if self._is_whole_update(page):
                return self._apply(page, is_staged=False)
            self._stage(page)
            if not page.has_more:
                return self._apply(page, is_staged=True)
            if self._should_stop():
                return self._hand_over()

    # --- reading ---
    def _fetch(self) -> SyncPage:
        """The next page. A transport failure is tried once more at once: reading the same cursor again is safe."""
        tries = 0
        while True:
            self.renewal.check()
            try:
                page = self.client.transactions_sync(self.access_token, self.position.next_cursor)
                if page.has_more and page.next_position in ("", self.position.next_cursor):
                    raise TemporaryError(
                        code="provider_malformed", operator_detail="more pages, but no position after this one"
                    )
                return page
            except RateLimited as limited:
                wait_s = limited.retry_after_s or settings.RATE_LIMIT_WAIT_S
                if limited.provider_code or wait_s > IN_PLACE_WAIT_S or time.monotonic() + wait_s > self.deadline:
                    raise
                time.sleep(wait_s)
            except TemporaryError as error:
                tries += 1
                if error.provider_code or error.code == "provider_timeout" or tries >= IN_CALL_TRIES:
                    raise
                log.info("page_tried_again", run=str(self.position.run_id), code=error.code)

    def _mutated(self, error: MutationDuringPagination) -> None:
        """The history changed under the loop: only starting again from the loop's first cursor helps. Bounded, with jitter."""
        if self.position.restarts >= settings.SYNC_MAX_RESTARTS:
            raise error
        log.info("mutation_restart", run=str(self.position.run_id), restarts=self.position.restarts + 1)
        time.sleep(random.uniform(0, settings.SYNC_RESTART_JITTER_S))  # noqa: S311 - jitter
        self._restart(self.position.first_cursor, is_restart=True)

    def _disowned(self, error: CursorDisowned) -> None:
        """Plaid no longer knows our cursor: the whole history is read again; local rows and what users attached stay."""
        if self.position.next_cursor == "" or self.position.restarts >= settings.SYNC_MAX_RESTARTS:
            raise PermanentError(
                code="provider_error", provider="plaid", provider_code=error.provider_code, operator_detail=str(error)
            ) from error
        log.warning("cursor_disowned", item=str(self.held.item_id), run=str(self.position.run_id))
        self._restart("", is_restart=True)

    def _restart(self, first_cursor: str, *, is_restart: bool) -> None:
        staging.drop(self.held, self.position.run_id, first_cursor=first_cursor, is_restart=is_restart)
        self.position = replace(
            self.position,
            first_cursor=first_cursor,
            next_cursor=first_cursor,
            page_count=0,
            restarts=self.position.restarts + is_restart,
            source_id=self.held.plaid_item_id,
        )

    def _stage_is_whole(self) -> bool:
        """What a worker left behind counts only if it began where the Item stands (or is a replay) and no page is missing."""
        began_right = self.position.source_id == self.held.plaid_item_id and self.position.first_cursor in (
            self.held.cursor,
            "",
        )
        return began_right and staging.is_contiguous(self.position.run_id, self.position.page_count)

    # --- keeping ---
    @property
    def _is_reading_due(self) -> bool:
        """Accounts and consent are read daily, after every repair, and before a replay is judged by what it leaves out."""
        return self.held.is_details_due or (self.is_replay and self.known_accounts is None)

    @property
    def is_replay(self) -> bool:
        """The whole history again, over rows that are there already: what it does not tell was removed at the source."""
        return self.position.first_cursor == "" and self.held.has_synced_before

    def _is_whole_update(self, page: SyncPage) -> bool:
        return self.position.page_count == 0 and not page.has_more and not self.is_replay

    def _stage(self, page: SyncPage) -> None:
        self._learn_accounts(page)
        number = self.position.page_count + 1
        staging.stage(self.held, self.position.run_id, page_number=number, raw=page.raw, next_cursor=page.next_position)
        self.position.page_count, self.position.next_cursor = number, page.next_position

    def _learn_accounts(self, page: SyncPage) -> None:
        """Before rows point at an account it must be known: new, renamed or never read accounts are read now."""
        is_reading_due = self._is_reading_due
        if self.known_accounts is None:
            mappings = PlaidItemAccount.objects.filter(item_id=self.held.item_id)
            self.known_accounts = set(mappings.values_list("plaid_account_id", flat=True))
        if page.account_ids <= self.known_accounts and not is_reading_due:
            return
        self.held.is_details_due = False  # asked once a claim, whatever came of it
        bank = Connection.objects.get(pk=self.held.connection_id)
        if details_fetch(connection=bank, access_token=self.access_token):
            self.is_bare = not has_accounts(bank.pk)
        mappings = PlaidItemAccount.objects.filter(item_id=self.held.item_id)
        self.known_accounts = set(mappings.values_list("plaid_account_id", flat=True))
        # An account that is closed or no longer shared is not listed any more, but its history still comes.
        if unlisted := page.account_ids - self.known_accounts:
            item = PlaidItem.objects.get(pk=self.held.item_id)
            accounts_keep_past(item=item, accounts=records.unlisted_accounts(unlisted, page.accounts))
        self.known_accounts |= page.account_ids

    # --- applying ---
    def _apply(self, final: SyncPage, *, is_staged: bool) -> Outcome:
        """Everything of this update, its ledger and the cursor, or nothing. final: the last page, or the only one."""
        is_direct = not is_staged and not final.is_empty
        if is_direct or self.held.is_details_due:
            self._learn_accounts(final)
        if self.is_bare and final.is_empty and not is_staged:
            raise NeedsReauth(code="bank_no_accounts", operator_detail="the bank shares no account any more")
        self.renewal.check()
        if is_staged:
            ledger = self._commit(final, lambda: self._merge_stage(final))
        elif is_direct:
            ledger = self._apply_directly(final)
        else:
            ledger = self._commit(final, None)
        if self.is_bare:  # its last news is here; the next turn, which finds none, asks its owner
            self._look_again()
        log.info(
            "synced",
            run=str(self.position.run_id),
            pages=self.position.page_count or 1,
            fetched=ledger.fetched,
            created=ledger.created,
        )
        return Outcome.SYNCED

    def _look_again(self) -> None:
        mine = PlaidItem.objects.filter(pk=self.held.item_id, item_id=self.held.plaid_item_id)
        mine.update(details_at=None, dirty_seq=F("dirty_seq") + 1, offered_until=None)
        wake("sync.tasks.dispatch")

    def _apply_directly(self, final: SyncPage) -> Ledger:
        try:
            return self._commit(final, lambda: self._merge_page(final.raw, []))
        except DataError:
            sound, poisoned = staging.without_poison(final.raw)
            return self._commit(final, lambda: self._merge_page(sound, poisoned))

    @transaction.atomic
    def _commit(self, final: SyncPage, merge_rows: Callable[[], Ledger] | None) -> Ledger:
        """One transaction, the cursor last. merge_rows: None for an update without news, which costs two statements."""
        ledger = Ledger()
        if merge_rows:
            accounts_lock(self.held.item_id)  # first of all locks, as everywhere
            ledger.add(merge_rows())
        if self.held.is_new_history:
            retired = merge.retire_former_item(self.held)
            ledger.add(Ledger(fetched=retired, removed=retired))
            merge.carry_over_attachments(self.held)
        if ledger.created and ledger.removed:
            merge.follow_churn(self.held)
        if ledger.created or ledger.updated or ledger.removed:
            merge.resolve_arrived_failures(self.held, self.position.run_id)
        run_end(self.held, self.position, final, ledger)
        self._move_cursor(final)
        return ledger

    def _merge_page(self, raw: bytes, poisoned: list[Poisoned]) -> Ledger:
        with merge.looking_up_each():
            ledger = merge.merge_page(self.held, self.position.run_id, raw=raw)
        ledger.add(records_set_aside(self.held, self.position.run_id, poisoned))
        return ledger

    def _merge_stage(self, final: SyncPage) -> Ledger:
        ledger = Ledger()
        if not staging.is_contiguous(self.position.run_id, self.position.page_count):
            raise TemporaryError(
                code="not_ready", operator_detail="the stage lost pages, most likely in a database crash"
            )
        with merge.looking_up_each():
            for number in range(1, self.position.page_count + 1):
                ledger.add(merge.merge_staged(self.held, self.position.run_id, page=number))
        ledger.add(records_set_aside(self.held, self.position.run_id, staging.poisoned(self.position.run_id)))
        if self.is_replay and final.is_history_complete:
            absent = merge.tombstone_absent(self.held, self.position.run_id)
            ledger.add(Ledger(fetched=absent, removed=absent))
        elif self.is_replay:
            self.is_in_doubt = merge.is_any_absent(self.held, self.position.run_id)
        staging.clear(self.position.run_id)
        merge.check_references()
        return ledger

    def _move_cursor(self, final: SyncPage) -> None:
        fence(
            self.held,
            "cursor = %(cursor)s, synced_seq = greatest(synced_seq, %(dirty_seq)s), last_synced_at = now(), offered_until = NULL, "
            "reauth_needed_at = NULL, username_refused_at = NULL, last_sync_error = '', is_large = false, cleanup_notified_at = NULL, "
            "history_complete = history_complete OR %(is_complete)s, is_new_history = is_new_history AND NOT %(is_complete)s, "
            "is_history_partial = is_history_partial AND NOT %(is_from_start)s, ",
            {
                "cursor": "" if self.is_in_doubt else final.next_position,  # in doubt: read everything once more, then
                "dirty_seq": self.position.dirty_seq,
                "is_complete": final.is_history_complete,
                "is_from_start": self.position.first_cursor == "",
            },
        )

    # --- stopping ---
    def _should_stop(self) -> bool:
        is_long = self.position.page_count >= settings.SYNC_LARGE_PAGES and not self.is_large_queue
        return is_long or time.monotonic() > self.deadline

    def _hand_over(self) -> Outcome:
        """Let go with the stage kept: the next task, on the queue for large work where it is long, reads on from here."""
        is_large = self.is_large_queue or self.position.page_count >= settings.SYNC_LARGE_PAGES
        fence(self.held, "offered_until = NULL, is_large = %(is_large)s, ", {"is_large": is_large})
        return Outcome.CONTINUES
