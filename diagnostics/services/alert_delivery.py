"""Telling the channels. A message is a row until it has arrived; a notifier that dies leaves it to the next one."""

import time
from datetime import timedelta

import structlog
from django.conf import settings
from django.db.models import F
from django.utils import timezone

from config import correlation
from connections.services.lifecycle import backoff_s
from diagnostics.models import Alert, AlertDelivery
from diagnostics.services import owner_mail
from diagnostics.services.channels import ChannelRefused, NobodyToTell, channels

log = structlog.get_logger(__name__)

ATTEMPTS = 20  # with back-off a day and a half; then it is given up, visibly
SEND_S = 60  # how long one message may take before another notifier tries it
KEPT_FOR = timedelta(days=90)
_DUE = AlertDelivery.objects.filter(sent_at=None, given_up_at=None)


def alerts_send(*, deadline: float) -> int:
    """Send what is due until nothing is, or until `deadline` (of time.monotonic()). Returns how many arrived.

    At least once: a notifier killed between the message and its commit repeats it. An idle tick is one query.
    """
    sent = 0
    while time.monotonic() < deadline:
        delivery = _claim()
        if delivery is None:
            break
        with correlation.bound(delivery.alert.correlation_id or None):
            sent += _send(delivery)
    return sent


def _claim() -> AlertDelivery | None:
    """The one that waits longest, held for SEND_S. The end of an alert is told after its beginning."""
    now = timezone.now()
    due = _DUE.filter(next_attempt_at__lte=now).order_by("next_attempt_at", "pk").select_related("alert")
    for delivery in due[:20]:
        if _has_earlier(delivery):
            _DUE.filter(pk=delivery.pk).update(next_attempt_at=now + timedelta(seconds=5))
            continue
        mine = _DUE.filter(pk=delivery.pk, attempts=delivery.attempts, next_attempt_at=delivery.next_attempt_at)
        if mine.update(attempts=F("attempts") + 1, next_attempt_at=now + timedelta(seconds=SEND_S)):
            delivery.attempts += 1
            return delivery
    return None


def _has_earlier(delivery: AlertDelivery) -> bool:
    opened = _DUE.filter(alert=delivery.alert_id, channel=delivery.channel, kind=AlertDelivery.Kind.OPENED)
    return delivery.kind == AlertDelivery.Kind.RECOVERED and opened.exists()


def _send(delivery: AlertDelivery) -> bool:
    """One claimed message. No transaction is open while it is sent."""
    mine = _DUE.filter(pk=delivery.pk, attempts=delivery.attempts)
    try:
        _tell(delivery)
    except NobodyToTell as error:
        mine.update(given_up_at=timezone.now(), last_error=str(error))
        return False
    except ChannelRefused as error:
        told = {"alert": str(delivery.alert_id), "channel": delivery.channel_name, "attempts": delivery.attempts}
        log.warning("alert_not_delivered", **told)
        wait_s = backoff_s(delivery.attempts, base_s=settings.ALERT_BACKOFF_S)
        next_attempt_at = timezone.now() + timedelta(seconds=wait_s)
        given_up_at = timezone.now() if delivery.attempts >= ATTEMPTS else None
        mine.update(last_error=str(error), next_attempt_at=next_attempt_at, given_up_at=given_up_at)
        if isinstance(error, owner_mail.MailServerAway):  # the other mails wait with it: operators are told meanwhile
            others = _DUE.filter(channel=delivery.channel, next_attempt_at__lt=next_attempt_at)
            others.update(next_attempt_at=next_attempt_at)
        return False
    log.info("alert_delivered", alert=str(delivery.alert_id), kind=delivery.kind, channel=delivery.channel_name)
    return bool(mine.update(sent_at=timezone.now(), last_error=""))


def _tell(delivery: AlertDelivery) -> None:
    """Raises ChannelRefused, NobodyToTell."""
    alert, is_recovery = delivery.alert, delivery.kind == AlertDelivery.Kind.RECOVERED
    if delivery.channel == owner_mail.CHANNEL:
        owner_mail.send(delivery)
        return
    channel = channels().get(delivery.channel)
    if channel is None:
        raise NobodyToTell("The channel is no longer in ALERT_URLS.")
    channel.send(
        title=f"Recovered: {alert.title}" if is_recovery else alert.title,
        text=_over(alert) if is_recovery else alert.text,
        is_recovery=is_recovery,
    )


def _over(alert: Alert) -> str:
    lasted = (alert.recovered_at or timezone.now()) - alert.opened_at
    return f"It is over after {round(lasted.total_seconds() / 60)} minutes. It was: {alert.text}"


def alerts_purge(*, batch: int = 1_000) -> int:
    """Forget what is long over, a batch a statement. Returns how many alerts."""
    before, count = timezone.now() - KEPT_FOR, 0
    while True:
        old = Alert.objects.filter(recovered_at__lt=before).order_by("recovered_at").values_list("pk", flat=True)
        pks = list(old[:batch])
        Alert.objects.filter(pk__in=pks).delete()
        count += len(pks)
        if len(pks) < batch:
            return count
