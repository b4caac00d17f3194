"""Processing events again: whoever replays one gets what its handler finds true now, so twice is as good as once."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from uuid import UUID

from django.db import transaction
from django.db.models import F, QuerySet
from django.utils import timezone

from connections.audit import Action
from connections.models import User
from connections.services.audit import security_event_record
from connections.waking import wake
from webhooks import selectors
from webhooks.models import WebhookEvent
from webhooks.services import handlers
from webhooks.services.outcomes import Outcome
from webhooks.services.process import broken

Status = WebhookEvent.Status
BATCH = 500


@transaction.atomic
def event_replay(*, event_id: UUID, actor: User) -> bool:
    """Have one event processed again. False: it waits already, and nothing changes."""
    is_replayed = bool(_reopen(WebhookEvent.objects.filter(pk=event_id)))
    if is_replayed:
        event = WebhookEvent.objects.only("workspace_id").get(pk=event_id)
        security_event_record(Action.WEBHOOK_REPLAYED, actor=actor, workspace_id=event.workspace_id, subject=event)
    wake("webhooks.tasks.sweep")
    return is_replayed


def _reopen(events: QuerySet[WebhookEvent]) -> int:
    """Those of them that have ended wait again. When they came in stays, so that what happened since still counts."""
    ended = events.exclude(status=Status.RECEIVED)
    return ended.update(
        status=Status.RECEIVED,
        replays=F("replays") + 1,
        attempts=0,
        is_marked=False,
        next_attempt_at=timezone.now(),
        processed_at=None,
        note="",
    )


# --- many ---
@dataclass(frozen=True, slots=True)
class Forecast:
    """What replaying would do to the events of one kind: `note` of the status that they would end in."""

    kind: str
    status: str
    note: str


@dataclass(frozen=True, slots=True)
class Preview:
    """events: how many by forecast. connections: how many of them the events are about."""

    events: Counter[Forecast]
    connections: int

    @property
    def total(self) -> int:
        return self.events.total()


def replay_preview(*, since: datetime, until: datetime, workspace: str = "") -> Preview:
    """What replaying these events would change now. Each is handled for real, in a transaction that is rolled back."""
    counts: Counter[Forecast] = Counter()
    connections: set[UUID | None] = set()
    for event in _ended(since, until, workspace).iterator(chunk_size=BATCH):
        outcome = _rehearsed(event)
        counts[Forecast(f"{event.event_type}.{event.code}", outcome.status, outcome.note)] += 1
        connections.add(event.connection_id)
    return Preview(counts, len(connections - {None}))


def replay_all(*, since: datetime, until: datetime, workspace: str = "") -> int:
    """Have them all processed again, in batches; the workers do it. Returns how many."""
    asked = {"since": since.isoformat(), "until": until.isoformat(), "workspace": workspace}
    security_event_record(Action.WEBHOOKS_REPLAYED, actor=None, asked=asked)
    count = 0
    for some in _batches(_ended(since, until, workspace)):
        count += _reopen(WebhookEvent.objects.filter(pk__in=some))
        wake("webhooks.tasks.sweep")
    return count


def _ended(since: datetime, until: datetime, workspace: str) -> QuerySet[WebhookEvent]:
    events = selectors.events_between(since, until, workspace=workspace)
    return events.exclude(status=Status.RECEIVED)


def _batches(events: QuerySet[WebhookEvent]) -> Iterator[list[UUID]]:
    keys = events.values_list("pk", flat=True).iterator(chunk_size=BATCH)
    while some := list(islice(keys, BATCH)):
        yield some


def _rehearsed(event: WebhookEvent) -> Outcome:
    event.is_marked = False
    try:
        with transaction.atomic():
            outcome = handlers.event_handle(event)
            transaction.set_rollback(True)
    except Exception as error:  # noqa: BLE001 - a bug in a handler is what somebody wants to know before the replay
        return Outcome(Status.FAILED, broken(error))
    return outcome
