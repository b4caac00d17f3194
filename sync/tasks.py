"""Wake-up calls for the workers. Each task may be delivered twice, late, or never: the rows decide what happens."""

import time
from uuid import UUID

import structlog
from celery import Task, shared_task
from django.conf import settings

from connections.services import disconnecting, plaid_exchange, plaid_links, plaid_removal, provider_pauses
from connections.waking import wake
from sync import engine
from sync.services import dispatch as dispatching

log = structlog.get_logger(__name__)

BATCH = 20
POLL_TICK_S = 15


@shared_task(ignore_result=True)
def dispatch() -> None:
    """Offer what is due, in batches of ids. An idle tick is one query."""
    offered = dispatching.items_offer()
    for start in range(0, len(offered.small), BATCH):
        _send(execute, offered.small[start : start + BATCH])
    for item in offered.large:
        _send(execute_large, [item])


def _send(task: Task, items: list[UUID]) -> None:
    """The offer ends when it is made anew: under a backlog, old messages must not pile up in front of new work."""
    task.apply_async(([str(item) for item in items],), expires=max(settings.OFFER_S, 1))


@shared_task(acks_late=True)
def execute(item_ids: list[str]) -> None:
    """Sync these Items, each claimed just before its work; give back what the time does not allow."""
    _execute(item_ids, is_large_queue=False)


@shared_task(acks_late=True)
def execute_large(item_ids: list[str]) -> None:
    """The same on the queue for large Items, so that they never starve small ones."""
    _execute(item_ids, is_large_queue=True)


def _execute(item_ids: list[str], *, is_large_queue: bool) -> None:
    deadline = time.monotonic() + settings.SYNC_TASK_S
    for number, item_id in enumerate(item_ids):
        if time.monotonic() > deadline:
            dispatching.items_return(item_ids[number:])
            break
        try:
            outcome = engine.sync_item(item_id, deadline=deadline, is_large_queue=is_large_queue)
        except Exception:
            dispatching.items_return(item_ids[number + 1 :])  # one Item's trouble is not its neighbours'
            raise
        if outcome == engine.Outcome.CONTINUES:
            wake("sync.tasks.dispatch")


@shared_task(ignore_result=True)
def poll_links() -> None:
    """Ask for the results of open Hosted Link sessions. An idle tick is one query."""
    deadline = time.monotonic() + POLL_TICK_S
    for link_id in plaid_links.links_due():
        if time.monotonic() > deadline:
            break  # slow links must not keep banks waiting; the next tick goes on
        plaid_links.link_poll(link_id)


@shared_task(ignore_result=True)
def housekeeping() -> None:
    """Look at what nobody looked at for long, and end what nobody will go on with."""
    counts = {
        "polled": dispatching.items_poll(),
        "runs_ended": dispatching.runs_sweep(),
        "links_expired": plaid_links.links_expire(),
        "exchanges_unknown": plaid_exchange.exchanges_sweep(),
        "items_removed": plaid_removal.retired_items_remove(),
        "disconnected": disconnecting.disconnects_finish(),
        "providers_resumed": provider_pauses.providers_probe(),
    }
    if any(counts.values()):
        log.info("housekeeping", **counts)
