"""The clock's three jobs over banks, the same whether beat, a command, or somebody else's scheduler asks for them.

Each may run at any time, as often as wanted and in several places at once: rows are claimed, and counted where they are.
"""

import time
from collections.abc import Callable

import structlog
from django.conf import settings

from connections.services import (
    consent,
    disconnecting,
    dormancy,
    oauth,
    plaid_exchange,
    plaid_links,
    plaid_probe,
    plaid_removal,
    provider_pauses,
    token_rotation,
)
from connections.waking import wake
from sync.services import dispatch

log = structlog.get_logger(__name__)

Counts = dict[str, int]
# Items a message: few where few are due, so that all workers have some; more where a message each would take too long.
SMALLEST_BATCH, LARGEST_BATCH, MESSAGES = 10, 200, 50
PROBE_S = 10  # how long it may go on asking about stopped logins
PROCESS_S = 10  # how long one call may go on handing out


def process() -> Counts:
    """Hand dirty Items out to the workers. Idle, it is one query."""
    counts = {"offered": 0, "offered_large": 0}
    deadline = time.monotonic() + PROCESS_S
    while time.monotonic() < deadline:
        offered = dispatch.items_offer()
        size = min(max(len(offered.small) // MESSAGES, SMALLEST_BATCH), LARGEST_BATCH)
        for start in range(0, len(offered.small), size):
            _send("sync.tasks.execute", offered.small[start : start + size])
        for item in offered.large:
            _send("sync.tasks.execute_large", [item])
        counts["offered"] += len(offered.small)
        counts["offered_large"] += len(offered.large)
        if len(offered.small) + len(offered.large) < dispatch.MOST_AT_ONCE:
            break
    return counts


def _send(task: str, items: list) -> None:
    """The offer ends when it is made anew: under a backlog, old messages must not pile up in front of new work."""
    wake(task, [str(item) for item in items], expires_s=max(settings.OFFER_S, 1))


def safety_net() -> Counts:
    """Look at what nobody looked at for long, and take up what was left in the middle."""
    return _each(
        scheduled=dispatch.items_schedule,
        polled=dispatch.items_poll,
        leases_ended=dispatch.leases_end,
        runs_ended=dispatch.runs_sweep,
        exchanges_unknown=plaid_exchange.exchanges_sweep,
        authorizations_unknown=oauth.states_sweep,
        rotations_settled=token_rotation.rotations_sweep,
        providers_resumed=provider_pauses.providers_probe,
        logins_repaired=lambda: plaid_probe.items_probe(deadline=time.monotonic() + PROBE_S),
    )


def cleanup() -> Counts:
    """End what is over or unused: links nobody finished, banks that nobody uses, that were disconnected or replaced.

    Tells beforehand of what ends by itself.
    """
    return _each(
        consent_notices=consent.notices_record,
        dormant_noticed=dormancy.dormant_notice,
        dormant_removed=dormancy.dormant_remove,
        links_expired=plaid_links.links_expire,
        items_removed=plaid_removal.retired_items_remove,
        disconnected=disconnecting.disconnects_finish,
    )


def _each(**steps: Callable[[], int]) -> Counts:
    """What each step did. One that breaks keeps none of the others from its work; the first such error is raised then."""
    counts: Counts = {}
    errors: list[Exception] = []
    for name, step in steps.items():
        try:
            counts[name] = step()
        except Exception as error:
            log.exception("job_step_broke", step=name)
            errors.append(error)
    if errors:
        raise errors[0]
    return counts


JOBS: dict[str, Callable[[], Counts]] = {"process": process, "safety-net": safety_net, "cleanup": cleanup}


def job_run(name: str) -> Counts:
    """Run one of JOBS and say what it did."""
    counts = JOBS[name]()
    if any(counts.values()):
        log.info("job_done", job=name, **counts)
    return counts
