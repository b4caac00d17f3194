"""Wake-up calls for the workers. Each task may be delivered twice, late, or never: the rows decide what happens."""

import time

import structlog
from celery import shared_task
from django.conf import settings

from connections.services import plaid_links
from connections.waking import wake
from sync import engine, subscriptions
from sync.flows import engine as flows_engine
from sync.services import dispatch as dispatching
from sync.services import flow_dispatch, jobs
from sync.services.subscriptions import feeds_due

log = structlog.get_logger(__name__)

POLL_TICK_S = 15
SUBSCRIPTIONS_TICK_S = 8  # of HOUSEKEEPING_S: large Items share their queue with it


@shared_task(ignore_result=True)
def dispatch() -> None:
    """Offer what is due, in batches of ids. An idle tick is one query."""
    jobs.job_run("process")


@shared_task(ignore_result=True)
def safety_net() -> None:
    """Look at what nobody looked at for long, and take up what was left in the middle."""
    jobs.job_run("safety-net")


@shared_task(ignore_result=True)
def cleanup() -> None:
    """End what is over."""
    jobs.job_run("cleanup")


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
def read_subscriptions() -> None:
    """Read the recurring streams that are due. An idle tick is one query."""
    deadline = time.monotonic() + SUBSCRIPTIONS_TICK_S
    for feed_id in feeds_due():
        if time.monotonic() > deadline:
            break  # the next tick goes on
        try:
            subscriptions.streams_read(feed_id)
        except Exception:  # one Item's trouble is not its neighbours'; it is tried again later
            log.exception("subscriptions_broke", feed=str(feed_id))


@shared_task(ignore_result=True)
def dispatch_flows() -> None:
    """Queue and offer what flows have to do. An idle tick is one query."""
    flow_dispatch.flows_dispatch()


@shared_task(acks_late=True)
def execute_flows(run_ids: list[str]) -> None:
    """Go on with these runs, each claimed just before its work; give back what the time does not allow."""
    _execute_flows(run_ids)


@shared_task(acks_late=True)
def execute_flows_large(run_ids: list[str]) -> None:
    """The same on the queue for large work, so that it never starves small one."""
    _execute_flows(run_ids)


def _execute_flows(run_ids: list[str]) -> None:
    deadline = time.monotonic() + settings.SYNC_TASK_S
    for number, run_id in enumerate(run_ids):
        if time.monotonic() > deadline:
            flow_dispatch.runs_return(run_ids[number:])
            break
        try:
            outcome = flows_engine.run_flow(run_id, deadline=deadline)
        except Exception:
            flow_dispatch.runs_return(run_ids[number + 1 :])  # one run's trouble is not its neighbours'
            raise
        if outcome in (flows_engine.Outcome.CONTINUES, flows_engine.Outcome.ENDED):
            wake("sync.tasks.dispatch_flows")  # it goes on, or others have waited for it
