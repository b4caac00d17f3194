"""The clock's scheduler: django-celery-beat's, which says a lost tick in one line."""

from typing import Any

import structlog
from django_celery_beat.schedulers import DatabaseScheduler

log = structlog.get_logger(__name__)


class Scheduler(DatabaseScheduler):
    """A broker that is away loses wake-up calls only: work is rows, and the next tick that arrives finds them.

    Celery writes two stacks for each, a hundred and fifty lines, several times a second.
    """

    def apply_entry(self, entry: Any, producer: Any = None) -> None:
        try:
            self.apply_async(entry, producer=producer, advance=False)
        except Exception as error:
            reason = " ".join(str(error).split())[:300]
            log.warning("tick_lost", entry=entry.name, error=type(error.__cause__ or error).__name__, reason=reason)
            log.debug("tick_lost_at", entry=entry.name, exc_info=True)
