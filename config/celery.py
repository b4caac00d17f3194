"""Celery: the application, the few entries of the clock, and the correlation id that travels with a message."""

import os
from contextlib import AbstractContextManager
from typing import Any

from celery import Celery
from celery.signals import (
    after_task_publish,
    beat_init,
    before_task_publish,
    heartbeat_sent,
    import_modules,
    setup_logging,
    task_postrun,
    task_prerun,
)
from django.conf import settings

from config import correlation, liveness

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")

app = Celery("causeway")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()
# What may take its time goes to the queue for large work, so that no small Item's sync waits for it.
app.conf.task_routes = {
    "sync.tasks.execute_large": {"queue": "large"},
    "sync.tasks.execute_flows_large": {"queue": "large"},
    "sync.tasks.read_subscriptions": {"queue": "large"},
}


def _every(task: str, seconds: float, *, expires_s: float) -> dict:
    """An entry of the clock. Its table counts in whole seconds; a message that nobody takes in time is dropped."""
    return {"task": task, "schedule": max(1, round(seconds)), "options": {"expire_seconds": round(expires_s)}}


# "Look what is due", no more: due times live in our own tables.
app.conf.beat_schedule = {
    "dispatch": _every("sync.tasks.dispatch", settings.TICK_S, expires_s=max(settings.TICK_S * 5, 10)),
    "dispatch-flows": _every("sync.tasks.dispatch_flows", settings.TICK_S, expires_s=max(settings.TICK_S * 5, 10)),
    "webhooks": _every("webhooks.tasks.sweep", settings.TICK_S, expires_s=max(settings.TICK_S * 5, 10)),
    "events": _every("connections.tasks.events_dispatch", settings.TICK_S, expires_s=max(settings.TICK_S * 5, 10)),
    "verify": _every("connections.tasks.verify", settings.TICK_S, expires_s=max(settings.TICK_S * 5, 10)),
    "errands": _every("connections.tasks.errands", settings.HOUSEKEEPING_S, expires_s=60),
    "refresh-tokens": _every(
        "connections.tasks.tokens_refresh", settings.TOKEN_REFRESH_S, expires_s=settings.TOKEN_REFRESH_S
    ),
    "watch-shop-webhooks": _every("connections.tasks.shop_webhooks_watch", settings.HOUSEKEEPING_S, expires_s=60),
    "seal-audit": _every("connections.tasks.audit_seal", settings.AUDIT_SEAL_S, expires_s=10),
    "poll-links": _every("sync.tasks.poll_links", settings.LINK_POLL_S, expires_s=10),
    "safety-net": _every("sync.tasks.safety_net", settings.HOUSEKEEPING_S, expires_s=60),
    "cleanup": _every("sync.tasks.cleanup", settings.HOUSEKEEPING_S, expires_s=60),
    "subscriptions": _every(
        "sync.tasks.read_subscriptions", settings.HOUSEKEEPING_S, expires_s=settings.HOUSEKEEPING_S
    ),
    "purge-events": _every("connections.tasks.events_purge", 3600, expires_s=3600),
    "purge-webhooks": _every("webhooks.tasks.purge", 3600, expires_s=3600),
    "alerts": _every("diagnostics.tasks.alerts_send", settings.TICK_S, expires_s=max(settings.TICK_S * 5, 10)),
    "purge-alerts": _every("diagnostics.tasks.alerts_purge", 3600, expires_s=3600),
    "purge-idempotency-keys": _every("connections.tasks.idempotency_keys_purge", 3600, expires_s=3600),
    "purge-verifications": _every("connections.tasks.verifications_purge", 3600, expires_s=3600),
    "purge-errors": _every("diagnostics.tasks.error_events_purge", 3600, expires_s=3600),
}

_HEADER = "correlation_id"
_bound: dict[str, AbstractContextManager] = {}


@setup_logging.connect
def _keep_django_logging(**_kwargs: Any) -> None:
    """Django has configured logging already; connecting this stops Celery from doing it again."""


@before_task_publish.connect
def _send_correlation_id(headers: dict[str, Any] | None = None, **_kwargs: Any) -> None:
    if headers is not None and correlation.current():
        headers[_HEADER] = correlation.current()


@task_prerun.connect
def _take_correlation_id(task_id: str = "", task: Any = None, **_kwargs: Any) -> None:
    context = correlation.bound(getattr(task.request, _HEADER, None))
    context.__enter__()
    _bound[task_id] = context


@task_postrun.connect
def _drop_correlation_id(task_id: str = "", **_kwargs: Any) -> None:
    if context := _bound.pop(task_id, None):
        context.__exit__(None, None, None)


@import_modules.connect  # the first that worker and beat alike do, before either asks for the database
def _refuse_bad_configuration(**_kwargs: Any) -> None:
    from config.checks import refuse_bad_configuration

    refuse_bad_configuration()


@heartbeat_sent.connect
def _worker_lives(**_kwargs: Any) -> None:
    liveness.mark("worker")


@beat_init.connect
def _beat_begins(**_kwargs: Any) -> None:
    """Only in beat's own process: others send the same tasks, to wake a worker up."""
    after_task_publish.connect(_beat_lives, weak=False)


def _beat_lives(**_kwargs: Any) -> None:
    liveness.mark("beat")
