"""Wake-up calls for the workers. Each task may be delivered twice, late, or never: the rows decide what happens."""

import time

import structlog
from celery import shared_task
from django.conf import settings

from connections.services import plaid_exchange, plaid_links
from connections.waking import wake
from sync import engine
from sync.services import dispatch as dispatching

log = structlog.get_logger(__name__)

BATCH = 20


@shared_task(ignore_result=True)
def dispatch() -> None:
    """Offer what is due, in batches of ids. An idle tick is one query."""
    offered = dispatching.items_offer()
    for start in range(0, len(offered.small), BATCH):
        execute.delay([str(item) for item in offered.small[start : start + BATCH]])
    for item in offered.large:
        execute_large.delay([str(item)])


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
        if engine.sync_item(item_id, deadline=deadline, is_large_queue=is_large_queue) == engine.Outcome.CONTINUES:
            wake("sync.tasks.dispatch")


@shared_task(ignore_result=True)
def poll_links() -> None:
    """Ask for the results of open Hosted Link sessions. An idle tick is one query."""
    for link_id in plaid_links.links_due():
        plaid_links.link_poll(link_id)


@shared_task(ignore_result=True)
def housekeeping() -> None:
    """Look at what nobody looked at for long, and end what nobody will go on with."""
    counts = {
        "polled": dispatching.items_poll(),
        "runs_ended": dispatching.runs_sweep(),
        "links_expired": plaid_links.links_expire(),
        "exchanges_unknown": plaid_exchange.exchanges_sweep(),
    }
    if any(counts.values()):
        log.info("housekeeping", **counts)
