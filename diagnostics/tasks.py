"""The clock's part of diagnostics."""

import time

from celery import shared_task

from diagnostics.services import alert_delivery, errors

SEND_S = 30


@shared_task
def error_events_purge() -> int:
    """Delete what is older than the retention. Safe to repeat."""
    return errors.error_events_purge()


@shared_task(ignore_result=True)
def alerts_send() -> None:
    """Tell the channels what they have not been told. An idle tick is one query."""
    alert_delivery.alerts_send(deadline=time.monotonic() + SEND_S)


@shared_task(ignore_result=True)
def alerts_purge() -> None:
    """Forget alerts that are long over. Safe to repeat."""
    alert_delivery.alerts_purge()
