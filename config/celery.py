"""Celery: the application, the few entries of the clock, and the correlation id that travels with a message."""

import os

from celery import Celery
from celery.signals import before_task_publish, setup_logging, task_postrun, task_prerun, worker_init
from django.conf import settings

from config import correlation

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")

app = Celery("causeway")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()
app.conf.task_routes = {"sync.tasks.execute_large": {"queue": "large"}}
# "Look what is due", no more: due times live in our own tables.
app.conf.beat_schedule = {
    "dispatch": {
        "task": "sync.tasks.dispatch",
        "schedule": settings.TICK_S,
        "options": {"expires": max(settings.TICK_S * 5, 10)},
    },
    "poll-links": {"task": "sync.tasks.poll_links", "schedule": settings.LINK_POLL_S, "options": {"expires": 10}},
    "housekeeping": {
        "task": "sync.tasks.housekeeping",
        "schedule": settings.HOUSEKEEPING_S,
        "options": {"expires": 60},
    },
}

_HEADER = "correlation_id"
_bound: dict[str, object] = {}


@setup_logging.connect
def _keep_django_logging(**_kwargs) -> None:
    """Django has configured logging already; connecting this stops Celery from doing it again."""


@before_task_publish.connect
def _send_correlation_id(headers=None, **_kwargs) -> None:
    if headers is not None and correlation.current():
        headers[_HEADER] = correlation.current()


@task_prerun.connect
def _take_correlation_id(task_id=None, task=None, **_kwargs) -> None:
    context = correlation.bound(getattr(task.request, _HEADER, None))
    context.__enter__()
    _bound[task_id] = context


@task_postrun.connect
def _drop_correlation_id(task_id=None, **_kwargs) -> None:
    if context := _bound.pop(task_id, None):
        context.__exit__(None, None, None)


@worker_init.connect
def _refuse_bad_configuration(**_kwargs) -> None:
    from config.checks import refuse_bad_configuration

    refuse_bad_configuration()
