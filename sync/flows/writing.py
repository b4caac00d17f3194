"""Intent → send → confirm. What is to be written is a row before it is sent, and its outcome is kept in one transaction.

A worker that dies in between leaves the row: whoever goes on sends the same records under the same key, which gives the
same result. No transaction is open while the target is asked.
"""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from hashlib import sha256
from typing import cast

from django.db import transaction
from django.db.models import F, Max
from django.db.models.functions import Coalesce, Now

from connections.errors import CausewayError, RejectedRecord
from connections.ids import uuid7
from connections.providers import provider
from connections.providers.base import Access, Upserts, Written
from sync.flows.claims import Held, advance
from sync.flows.deciding import Failed, payload_of
from sync.flows.freezing import Member, freeze, thaw
from sync.flows.keeping import (
    Linked,
    children_release,
    failures_keep,
    failures_settle,
    is_any_intent_open,
    links_keep,
    watermark_move,
)
from sync.ledger import Ledger
from sync.models import Flow, LinkState, RunStatus, WriteIntent


def intents_make(flow: Flow, held: Held, members: Sequence[Member]) -> int:
    """Freeze what is to be written, as many together as the target takes. Returns how many intents that makes."""
    size = cast(Upserts, provider(flow.target.provider).upserts).batch_size
    last = WriteIntent.objects.filter(run_id=held.run_id).aggregate(last=Max("number"))["last"] or 0
    made = []
    for number, at in enumerate(range(0, len(members), size), last + 1):
        batch = members[at : at + size]
        text = freeze(batch)
        made.append(
            WriteIntent(
                workspace_id=flow.workspace_id,
                run_id=held.run_id,
                flow=flow,
                entity=held.entity,
                number=number,
                member_count=len(batch),
                members=text,
                body_hash=sha256(text.encode()).hexdigest(),
                idempotency_key=uuid7().hex,
            )
        )
    WriteIntent.objects.bulk_create(made)
    return len(made)


def intents_open(held: Held) -> Iterator[WriteIntent]:
    """What this run has not written yet, in order, one at a time."""
    while intent := WriteIntent.objects.filter(run_id=held.run_id, confirmed_at=None).order_by("number").first():
        yield intent


def intents_unknown(held: Held) -> list[WriteIntent]:
    """What earlier runs of this flow and entity sent and never learned the outcome of: it has to be known before more is sent."""
    left = WriteIntent.objects.filter(
        flow_id=held.flow_id, entity=held.entity, confirmed_at=None, sent_at__isnull=False
    )
    ended = left.exclude(run__status__in=(RunStatus.QUEUED, RunStatus.RUNNING))
    return list(ended.order_by("pk")[:100])


def send(flow: Flow, held: Held, intent: WriteIntent, access: Access) -> None:
    """Send it and keep what came of it. Sent once or ten times, it is written once.

    Raises what the target raises for all of it together; LeaseLost.
    """
    is_again = intent.sent_at is not None
    mine = WriteIntent.objects.filter(pk=intent.pk, confirmed_at=None)
    mine.update(sent_at=Coalesce("sent_at", Now()), attempts=F("attempts") + 1)
    members = thaw(intent.members)
    upserts = cast(Upserts, provider(flow.target.provider).upserts)
    records = [member.record for member in members]
    answers = {
        written.key: written
        for written in upserts.upsert(access, intent.entity, records, idempotency_key=intent.idempotency_key)
    }
    outcomes = [(member, _told(answers.get(member.record.key), member, is_again=is_again)) for member in members]
    confirm(flow, held, intent, outcomes)


def _told(written: Written | None, member: Member, *, is_again: bool) -> Written:
    """What became of the record, over all the times it was sent: what the first one wrote the next finds unchanged."""
    key = member.record.key
    if written is None:
        lost = RejectedRecord(operator_detail="the target gave no answer about it")
        return Written(key, "failed", error=lost)
    if is_again and written.outcome == "unchanged" and member.record.operation == "upsert":
        return replace(written, outcome="created" if member.is_new else "updated")
    return written


_COUNTS = {
    "created": Ledger(created=1),
    "updated": Ledger(updated=1),
    "unchanged": Ledger(unchanged=1),
    "stale": Ledger(unchanged=1),
    "removed": Ledger(removed=1),
    "failed": Ledger(failed=1),
}


@transaction.atomic
def confirm(flow: Flow, held: Held, intent: WriteIntent, outcomes: Sequence[tuple[Member, Written]]) -> None:
    """Links, ledger, failures, and the watermark where nothing of its page is open any more: all of it, or nothing.

    Raises LeaseLost.
    """
    ledger = Ledger()
    for member, written in outcomes:
        ledger.add(_COUNTS["removed" if _is_gone(member, written) else written.outcome])
    is_own = intent.run_id == held.run_id  # of an earlier run that has ended, no account is changed any more
    advance(held, ledger=ledger if is_own else Ledger())
    arrived = [member.record.key for member, written in outcomes if written.outcome != "failed"]
    links_keep(flow, intent.entity, [_link(member, told) for member, told in outcomes if told.outcome != "failed"])
    failures_keep(flow, held, intent.entity, [_failed(member, told) for member, told in outcomes if told.error])
    failures_settle(flow, intent.entity, arrived)
    children_release(flow, intent.entity, arrived)
    WriteIntent.objects.filter(pk=intent.pk).update(members="", confirmed_at=Now())
    if is_own and held.moves_watermark and held.position is not None and not is_any_intent_open(held.run_id):
        watermark_move(held, held.position)


def _is_gone(member: Member, written: Written) -> bool:
    return member.record.operation != "upsert" and written.outcome != "failed"


def _link(member: Member, written: Written) -> Linked:
    is_gone = _is_gone(member, written)
    return Linked(
        member.record.key,
        LinkState.REMOVED if is_gone else LinkState.LINKED,
        target_external_id=written.external_id or member.record.external_id,
        target_version=written.version,
        content_hash=None if written.outcome == "stale" else member.content_hash,
        modified_at=member.modified_at,
        currency=member.currency,
    )


def _failed(member: Member, written: Written) -> Failed:
    error = written.error or CausewayError(code="record_rejected")
    return Failed(member.record.key, error, payload_of(asdict(member.record)))


def intents_drop(held: Held) -> int:
    """Give up what was never sent. Returns how many records that are."""
    never_sent = WriteIntent.objects.filter(run_id=held.run_id, confirmed_at=None, sent_at=None)
    count = sum(never_sent.values_list("member_count", flat=True))
    never_sent.delete()
    return count
