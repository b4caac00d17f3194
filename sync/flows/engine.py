"""One worker's turn at a run of a flow: read a page, decide, write down what is to be sent, send it, keep what came of it.

1. Claim the run. What was decided and not written yet is written first, under the keys that it has.
2. Read a page; decide what becomes of each record from what is linked already.
3. One transaction keeps all that: records set aside, intents, the ledger so far, and the position behind the page. So a
   worker may die at any moment: whoever goes on finds the intents, or reads the page again.
4. Send the intents one after the other; each is confirmed in one transaction with its links.
5. After the last page the ledger has to balance; watermark, news and connections follow.

No database transaction is ever open across a provider call. docs/explanation/flows.md tells why each rule is there.
"""

import json
import time
from enum import StrEnum
from uuid import UUID

import structlog
from django.conf import settings
from django.db import InterfaceError, OperationalError, transaction

from config import correlation
from connections.errors import (
    CausewayError,
    Conflict,
    LeaseLost,
    Misconfigured,
    NeedsReauth,
    ProviderError,
    RateLimited,
    TemporaryError,
)
from connections.models import Connection
from connections.providers.base import Page
from connections.services.access import access_of
from connections.services.leasing import Lease, renewed
from sync.flows.claims import Held, advance, claim, renew
from sync.flows.deciding import Plan, plan_of
from sync.flows.gaps import is_kept_in_sandbox
from sync.flows.keeping import children_release, failures_keep, failures_settle, noted_keep, watermark_move
from sync.flows.reading import pages_of
from sync.flows.settling import run_cancel, run_end, run_fail, run_release, run_wait
from sync.flows.writing import intents_make, intents_open, intents_unknown, send
from sync.models import Flow, LinkState
from sync.services.flow_runs import parents_request

log = structlog.get_logger(__name__)

IN_PLACE_WAIT_S = 2.0  # a budget that is free again this soon is waited for; a longer wait is a row
TRIES_OF_THE_UNKNOWN = 3


class Outcome(StrEnum):
    NOTHING = "nothing"  # not due, or somebody else's
    ENDED = "ended"
    CONTINUES = "continues"  # stopped voluntarily; a later task goes on where this one stopped
    WAITS = "waits"  # a provider; goes on at next_attempt_at
    FAILED = "failed"
    LOST = "lost"  # another worker has taken over


def run_flow(run_id: UUID | str, *, deadline: float) -> Outcome:
    """Go on with one run, if it is due and free. deadline: time.monotonic() at which to stop and let another task go on."""
    held = claim(run_id)
    if held is None:
        return Outcome.NOTHING
    flow = Flow.objects.select_related("source", "target", "workspace").get(pk=held.flow_id)
    with (
        correlation.bound(held.correlation_id or None),
        renewed(lambda: renew(held), name=f"run {held.run_id}") as lease,
    ):
        try:
            return _settled(_Turn(flow, held, lease, deadline=deadline))
        except LeaseLost:
            log.warning("lease_lost", run=str(held.run_id))
            return Outcome.LOST


def _settled(turn: "_Turn") -> Outcome:
    """Run the turn; whatever goes wrong ends it as the error's class says. Raises LeaseLost, and bugs."""
    while True:
        try:
            return turn.run()
        except LeaseLost:
            raise
        except RateLimited as limited:
            wait_s = limited.retry_after_s or settings.RATE_LIMIT_WAIT_S
            if wait_s <= IN_PLACE_WAIT_S and time.monotonic() + wait_s < turn.deadline:
                time.sleep(wait_s)
                continue
            run_wait(turn.held, limited, turn.asked)
            return Outcome.WAITS
        except CausewayError as error:
            return _troubled(turn, error)
        except Exception as bug:
            if is_database_away(bug):
                raise  # nothing can be written now; the lease runs out and another worker goes on
            log.exception("run_broke", run=str(turn.held.run_id))
            said = f"{type(bug).__name__}: {bug}"
            run_fail(turn.flow, turn.held, CausewayError(code="internal_error", operator_detail=said), None)
            raise


def _troubled(turn: "_Turn", error: CausewayError) -> Outcome:
    """A provider that is away, or needs somebody, is waited for; what trying again cannot help ends the run."""
    is_waited_for = isinstance(error, TemporaryError | NeedsReauth | Misconfigured)
    is_unknown = type(error) is ProviderError and turn.held.attempts + 1 < TRIES_OF_THE_UNKNOWN
    if is_waited_for or is_unknown:
        run_wait(turn.held, error, turn.asked)
        return Outcome.WAITS
    run_fail(turn.flow, turn.held, error, turn.asked if isinstance(error, ProviderError) else None)
    return Outcome.FAILED


def is_database_away(error: BaseException) -> bool:
    """Refused, cut off or restarting, or a deadlock that a later try resolves: not a statement that fails for ever."""
    if not isinstance(error, OperationalError | InterfaceError):
        return False
    state = getattr(error.__cause__, "sqlstate", None)
    return state is None or state[:2] in ("08", "40", "57")


class _Turn:
    """One worker's turn. asked: the connection whose provider is being asked, for whatever goes wrong there."""

    def __init__(self, flow: Flow, held: Held, lease: Lease, *, deadline: float) -> None:
        self.flow, self.held, self.lease, self.deadline = flow, held, lease, deadline
        self.asked: Connection = flow.target
        self.source = access_of(flow.source, is_good=True)
        self.target = access_of(flow.target, is_good=True)

    def run(self) -> Outcome:
        self._refuse_sandbox()
        self._write_unknown()
        if not self._write_open():
            return self._stop()
        if not self.held.is_read:
            for page in self._pages():
                self._keep(page)
                if not self._write_open() or (page.has_more and self._should_stop()):
                    return self._stop()
        run_end(self.flow, self.held)
        log.info("run_ended", run=str(self.held.run_id), entity=self.held.entity, pages=self.held.page_count)
        return Outcome.ENDED

    def _refuse_sandbox(self) -> None:
        """Here, where what writes is made: whatever led to it."""
        if is_kept_in_sandbox(self.flow.workspace, self.flow.target):
            raise Conflict(code="sandbox_mode")

    # --- reading ---
    def _pages(self):
        """The pages that are left, the source blamed while it is asked."""
        self.asked = self.flow.source
        pages = pages_of(self.flow, self.held, self.source)
        while True:
            self.lease.check()
            self.asked = self.flow.source
            page = next(pages, None)
            if page is None:
                return
            yield page

    def _keep(self, page: Page) -> None:
        plan = plan_of(
            self.flow,
            self.held.entity,
            page.records,
            facts=self.source.facts,
            filters=self.held.parameters.get("filters") or {},
        )
        page_keep(self.flow, self.held, page, plan)

    # --- writing ---
    def _write_unknown(self) -> None:
        """What runs that were given up may have written: known before anything new is sent."""
        self.asked = self.flow.target
        for intent in intents_unknown(self.held):
            self.lease.check()
            send(self.flow, self.held, intent, self.target)

    def _write_open(self) -> bool:
        """Send what was decided and is not confirmed yet. False: stop here. What was sent before is always settled."""
        self.asked = self.flow.target
        for intent in intents_open(self.held):
            if intent.sent_at is None and self._is_stopped():
                return False
            self.lease.check()
            send(self.flow, self.held, intent, self.target)
        return not self._is_stopped()

    # --- stopping ---
    def _is_stopped(self) -> bool:
        return self.held.is_cancelled or not self.held.is_flow_active

    def _should_stop(self) -> bool:
        return time.monotonic() > self.deadline

    def _stop(self) -> Outcome:
        if self.held.is_cancelled:
            run_cancel(self.held)
            return Outcome.ENDED
        run_release(self.held)
        return Outcome.CONTINUES


@transaction.atomic
def page_keep(flow: Flow, held: Held, page: Page, plan: Plan) -> None:
    """All that a page came to, and the position behind it: kept together, or not at all. Raises LeaseLost."""
    cursor = json.dumps({"at": page.position, "end": not page.has_more})
    advance(
        held,
        ledger=plan.ledger,
        sets="next_cursor = %(cursor)s, page_count = %(pages)s, records_expected = coalesce(%(expected)s, r.records_expected)",
        values={"cursor": cursor, "pages": held.page_count + 1, "expected": page.expected},
    )
    noted_keep(flow, held.entity, plan.noted)
    failures_keep(flow, held, held.entity, plan.failed)
    failures_settle(flow, held.entity, plan.settled)
    gone = [external_id for external_id, state in plan.noted.items() if state == LinkState.REMOVED]
    children_release(flow, held.entity, gone)
    parents_request(flow, held, plan.parents)
    if plan.writes:
        intents_make(flow, held, plan.writes)
    elif held.moves_watermark:
        watermark_move(held, page.position)
    held.cursor, held.page_count = cursor, held.page_count + 1
