"""The clock's part of diagnostics."""

from celery import shared_task

from diagnostics.services import errors


@shared_task
def error_events_purge() -> int:
    """Delete what is older than the retention. Safe to repeat."""
    return errors.error_events_purge()
