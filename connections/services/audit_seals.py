"""The chain over the security events, and looking whether it is whole.

Events are plain inserts, so that nobody waits for anybody to put something on record. One sealer then links them, in a
chain a workspace: each link holds the hash of its event and of the link before. Neither can be changed or deleted by the
application's role; whoever can (the tables' owner) breaks a hash by it, and with a checkpoint kept elsewhere cannot even
cut the end off or write all of it anew. docs/explanation/events-and-audit.md says what that proves and what not.
"""

import hashlib
import json
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID

from django.db import connection, transaction
from django.utils import timezone

from connections.models import AuditSeal, SecurityEvent, Workspace

INSTALLATION = UUID(int=0)
BATCH = 500
UNSEALED_GRACE = timedelta(minutes=10)
# A transaction may commit an event long after it made it. What lies further back than this before the last seal is not
# looked at in every tick; `chains_verify` would find it.
_UNSEALED = """
    SELECT e.* FROM connections_securityevent e
    WHERE e.at >= coalesce((SELECT max(sealed_at) - interval '1 hour' FROM connections_auditseal), '-infinity')
      AND NOT EXISTS (SELECT FROM connections_auditseal s WHERE s.event_id = e.id)
    ORDER BY e.id LIMIT %(limit)s
"""


def canonical(event: SecurityEvent) -> str:
    """The event as it is hashed: every column, in one way of writing it."""
    values = {
        "id": str(event.pk),
        "workspace_id": event.workspace_id and str(event.workspace_id),
        "actor_id": event.actor_id and str(event.actor_id),
        "actor_name": event.actor_name,
        "action": event.action,
        "object_type": event.object_type,
        "object_id": event.object_id,
        "ip": event.ip,
        "user_agent": event.user_agent,
        "correlation_id": event.correlation_id,
        "details": event.details,
        "at": event.at.isoformat(),
    }
    return json.dumps(values, sort_keys=True, separators=(",", ":"), ensure_ascii=True)


def link_hash(*, chain: UUID, sequence: int, previous_hash: str, event: SecurityEvent) -> str:
    return hashlib.sha256(f"{chain}\n{sequence}\n{previous_hash}\n{canonical(event)}".encode()).hexdigest()


# --- sealing ---
def events_seal(*, limit: int = BATCH) -> int:
    """Link what was put on record since. Returns how many. Safe to race: one seals, the others do nothing.

    With nothing to seal it is one query.
    """
    total = 0
    while _unsealed(1) and (count := _seal(limit)):
        total += count
    return total


@transaction.atomic
def _seal(limit: int) -> int:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_xact_lock(hashtextextended('audit-sealer', 0))")
        if not cursor.fetchone()[0]:
            return 0
    chains: dict[UUID, list[SecurityEvent]] = defaultdict(list)
    for event in _unsealed(limit):
        chains[event.workspace_id or INSTALLATION].append(event)
    seals = [seal for chain, events in chains.items() for seal in _links(chain, events)]
    AuditSeal.objects.bulk_create(seals)
    return len(seals)


def _unsealed(limit: int) -> list[SecurityEvent]:
    return list(SecurityEvent.objects.raw(_UNSEALED, {"limit": limit}))


def _links(chain: UUID, events: Iterable[SecurityEvent]) -> Iterator[AuditSeal]:
    last = AuditSeal.objects.filter(chain=chain).order_by("-sequence").first()
    sequence, previous, now = (last.sequence if last else 0), (last.hash if last else ""), timezone.now()
    for event in events:
        sequence += 1
        made = link_hash(chain=chain, sequence=sequence, previous_hash=previous, event=event)
        yield AuditSeal(
            workspace_id=event.workspace_id,
            chain=chain,
            sequence=sequence,
            event_id=event.pk,
            previous_hash=previous,
            hash=made,
            sealed_at=now,
        )
        previous = made


# --- verifying ---
@dataclass(frozen=True, slots=True)
class Finding:
    """Something that is not as it was sealed. chain: the workspace's slug, or "installation"."""

    chain: str
    what: str


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The end of a chain at some moment: whoever keeps it elsewhere can tell later that nothing before it changed."""

    chain: str
    workspace_id: str | None
    sequence: int
    hash: str


@dataclass(frozen=True, slots=True)
class Verification:
    findings: list[Finding]
    checkpoints: list[Checkpoint]
    count: int


def chains_verify(*, workspace: Workspace | None = None, since: Iterable[Checkpoint] = ()) -> Verification:
    """Recompute every chain, or one workspace's. since: checkpoints of earlier, which the chains have to go through."""
    findings: list[Finding] = []
    checkpoints, total = [], 0
    earlier = {checkpoint.workspace_id: checkpoint for checkpoint in since}
    for name, workspace_id in _chains(workspace, earlier):
        key = str(workspace_id) if workspace_id else None
        last, count = _verify_chain(name, workspace_id, earlier.get(key), findings)
        total += count
        if last:
            checkpoints.append(Checkpoint(name, key, last.sequence, last.hash))
    return Verification(findings, checkpoints, total)


def _chains(workspace: Workspace | None, earlier: dict[str | None, Checkpoint]) -> list[tuple[str, UUID | None]]:
    """(name, workspace id) of every chain that is there, or was when a checkpoint was taken."""
    if workspace:
        return [(workspace.slug, workspace.pk)]
    found: dict[UUID | None, str] = dict(Workspace.objects.values_list("pk", "slug"))
    for chain in AuditSeal.objects.order_by().values_list("chain", flat=True).distinct():
        found.setdefault(None if chain == INSTALLATION else chain, str(chain))
    for checkpoint in earlier.values():
        found.setdefault(UUID(checkpoint.workspace_id) if checkpoint.workspace_id else None, checkpoint.chain)
    found[None] = "installation"
    return [(name, pk) for pk, name in found.items()]


def _verify_chain(
    name: str, workspace_id: UUID | None, known: Checkpoint | None, findings: list[Finding]
) -> tuple[AuditSeal | None, int]:
    """Its last seal and its length."""

    def report(what: str) -> None:
        findings.append(Finding(name, what))

    chain, last, count, is_known_seen = workspace_id or INSTALLATION, None, 0, known is None
    for seal, event in _sealed(chain):
        expected = last.sequence + 1 if last else 1
        if seal.sequence != expected:
            report(f"{_places(expected, seal.sequence - 1)} missing from the chain")
        elif seal.previous_hash != (last.hash if last else ""):
            report(f"seal {seal.sequence} does not follow from seal {expected - 1}")
        if event is None:
            report(f"security event {seal.event_id} of seal {seal.sequence} is gone")
        elif _hash_of(seal, event, chain) != seal.hash:
            report(f"security event {seal.event_id} of seal {seal.sequence} is not what was sealed")
        if known and seal.sequence == known.sequence:
            is_known_seen = True
            if seal.hash != known.hash:
                report(f"seal {seal.sequence} is not that of the checkpoint")
        last, count = seal, count + 1
    if known and not is_known_seen:
        report(f"the chain ends at {last.sequence if last else 0}, the checkpoint is at {known.sequence}")
    for event_id in _never_sealed(workspace_id):
        report(f"security event {event_id} was never sealed")
    return last, count


def _hash_of(seal: AuditSeal, event: SecurityEvent, chain: UUID) -> str:
    return link_hash(chain=chain, sequence=seal.sequence, previous_hash=seal.previous_hash, event=event)


def _places(first: int, last: int) -> str:
    return f"seal {first} is" if first == last else f"seals {first} to {last} are"


def _sealed(chain: UUID) -> Iterator[tuple[AuditSeal, SecurityEvent | None]]:
    """In order, BATCH at a time, however long the chain is."""
    after = -(2**62)
    while seals := list(AuditSeal.objects.filter(chain=chain, sequence__gt=after).order_by("sequence")[:BATCH]):
        events = SecurityEvent.objects.in_bulk([seal.event_id for seal in seals])
        yield from ((seal, events.get(seal.event_id)) for seal in seals)
        after = seals[-1].sequence


def _never_sealed(workspace_id: UUID | None) -> list[Any]:
    """Older than a working sealer leaves them: put in from behind, or their seal was taken away."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT e.id FROM connections_securityevent e
            WHERE e.workspace_id IS NOT DISTINCT FROM %s AND e.at < %s
              AND NOT EXISTS (SELECT FROM connections_auditseal s WHERE s.event_id = e.id)
            ORDER BY e.id LIMIT 100
            """,
            [workspace_id, timezone.now() - UNSEALED_GRACE],
        )
        return [event_id for (event_id,) in cursor.fetchall()]
