"""Resting while a provider lets nobody through: wrong keys, maintenance. One row says so, and a probe ends it.

Without it every connection would run into the same wall, and each would be told as a failure of its own.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

import structlog
from django.conf import settings
from django.db import transaction
from django.db.models import F, QuerySet
from django.utils import timezone

from config import correlation
from config.logs import scrub
from connections.errors import CausewayError, TemporaryError
from connections.events import EventType, event_record
from connections.models import PlaidItem, ProviderPause
from connections.providers import provider
from connections.providers.plaid.client import PlaidClient
from connections.services.lifecycle import backoff_s
from connections.tenancy import stepped_out

log = structlog.get_logger(__name__)

PLAID = "plaid"
LONGEST_S = 900  # keys are mended by a person who waits for the effect

# SQL: the connection `c` is not at rest.
NOT_PAUSED = """NOT EXISTS (
    SELECT FROM connections_providerpause p WHERE p.provider = c.provider AND p.environment = c.environment)"""


@transaction.atomic
def provider_pause(error: CausewayError, *, environment: str) -> bool:
    """Let the clock's work at this provider and environment rest. False: it does already."""
    _pause, is_new = ProviderPause.objects.get_or_create(
        provider=error.provider,
        environment=environment,
        defaults={
            "code": error.code,
            "operator_detail": scrub(error.operator_detail),
            "correlation_id": correlation.current(),
            "next_probe_at": timezone.now() + timedelta(seconds=_wait_s(1)),
        },
    )
    if is_new:
        event_record(
            EventType.PROVIDER_PAUSED,
            payload={"provider": error.provider, "environment": environment, "code": error.code},
        )
        log.error("provider_paused", provider=error.provider, environment=environment, code=error.code)
    return is_new


@contextmanager
def refusals_noticed(environment: str) -> Iterator[None]:
    """Around a call for a person: if nobody gets through, all work rests as where a worker finds that out. Raises it all the same."""
    try:
        yield
    except CausewayError as error:
        if error.is_service_wide:
            with stepped_out():  # it concerns every workspace
                provider_pause(error, environment=environment)
        raise


def environments_at_rest() -> QuerySet:
    """Those of Plaid where nothing is to be asked now: for `exclude(environment__in=…)`."""
    return ProviderPause.objects.filter(provider=PLAID).values("environment")


def providers_probe() -> int:
    """Ask every provider at rest, whose probe is due, whether it lets us through again. Returns how many do.

    One probe at a time each, by conditional update; no transaction is open over the call.
    """
    due = ProviderPause.objects.filter(next_probe_at__lte=timezone.now())
    return sum(_probe(pause) for pause in due)


def provider_probe_now(*, pause_id: int) -> None:
    """An operator has mended something: ask at the next tick."""
    ProviderPause.objects.filter(pk=pause_id).update(next_probe_at=timezone.now())


def _probe(pause: ProviderPause) -> bool:
    mine = ProviderPause.objects.filter(pk=pause.pk, probes=pause.probes)
    next_at = timezone.now() + timedelta(seconds=_wait_s(pause.probes + 2))
    if not mine.update(probes=F("probes") + 1, next_probe_at=next_at):
        return False
    try:
        _ask(pause.provider, pause.environment)
    except CausewayError as error:
        if error.is_service_wide or isinstance(error, TemporaryError):
            log.info("provider_still_paused", provider=pause.provider, environment=pause.environment, code=error.code)
            return False
    return _resume(pause)


def _wait_s(probe: int) -> float:
    return backoff_s(probe, base_s=settings.BACKOFF_BASE_S, max_s=LONGEST_S)


def _ask(key: str, environment: str) -> None:
    """Something that needs nothing but the keys. Where there is no such question, work goes on, and is the probe."""
    if key == PLAID:
        _ask_plaid(environment)
    elif probe := provider(key).probe:
        probe(environment)


def _ask_plaid(environment: str) -> None:
    """The cheapest question that needs nothing but the keys. Any answer about its subject means that they are taken."""
    known = PlaidItem.objects.filter(connection__environment=environment, removed_at=None).exclude(institution_id="")
    institution_id = known.values_list("institution_id", flat=True).first() or "ins_109508"
    PlaidClient(environment).institution_get(institution_id)


@transaction.atomic
def _resume(pause: ProviderPause) -> bool:
    deleted, _ = ProviderPause.objects.filter(pk=pause.pk).delete()
    if deleted:
        event_record(EventType.PROVIDER_RESUMED, payload={"provider": pause.provider, "environment": pause.environment})
        log.info("provider_resumed", provider=pause.provider, environment=pause.environment)
    return bool(deleted)
