"""What is to become of a page's records: decided in one go, from what is linked already, and written nowhere yet."""

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from connections.errors import CausewayError, RejectedRecord
from connections.providers.base import Json, SourceRecord
from sync.canonical import Canonical, Order, Refund
from sync.flows.choosing import is_asked_for, is_taken, parents_of
from sync.flows.freezing import Member
from sync.flows.targets import content_of, removed_record, target_record
from sync.ledger import Ledger
from sync.models import Flow, LinkState, RecordLink
from sync.sources import canonical_of

MOST_OF_A_PAYLOAD = 100_000  # characters that are kept of a record that was set aside


@dataclass(frozen=True, slots=True)
class Failed:
    """A record that is set aside. waits_for: (entity, id) of the one that has to come first, or None.

    is_unmet: nobody has ever seen that one, so it has to be asked for.
    """

    external_id: str
    error: CausewayError
    payload: str
    waits_for: tuple[str, str] | None = None
    is_unmet: bool = False


@dataclass(slots=True)
class Plan:
    """What is to become of a page. ledger: of what is settled with it. noted: records without a place at the target."""

    ledger: Ledger = field(default_factory=Ledger)
    writes: list[Member] = field(default_factory=list)
    noted: dict[str, LinkState] = field(default_factory=dict)
    failed: list[Failed] = field(default_factory=list)
    settled: list[str] = field(default_factory=list)  # whose failures of before are over

    @property
    def parents(self) -> dict[str, set[str]]:
        """Ids that others wait for and nobody has seen, by entity."""
        found = defaultdict(set)
        for one in self.failed:
            if one.waits_for and one.is_unmet:
                found[one.waits_for[0]].add(one.waits_for[1])
        return dict(found)


def plan_of(flow: Flow, entity: str, records: Sequence[SourceRecord], *, facts: Json, filters: Json) -> Plan:
    """Decide. Three queries at most, however many records. facts: of the source's connection."""
    plan = Plan()
    latest = {record.external_id: record for record in records}  # of a record that comes twice the later counts
    plan.ledger.fetched = len(records)
    plan.ledger.skipped = len(records) - len(latest)
    links = links_of(flow, entity, latest)
    read: list[tuple[SourceRecord, Canonical]] = []
    for record in latest.values():
        if record.is_removed:
            _removed(plan, flow, record, links.get(record.external_id))
            continue
        try:
            canonical = canonical_of(flow.source.provider, record, facts)
        except RejectedRecord as error:
            _fail(plan, record, error)
            continue
        if canonical is None:
            _skip(plan, record, links.get(record.external_id))
        else:
            read.append((record, canonical))
    parents = _parents(flow, [canonical for _, canonical in read])
    for record, canonical in read:
        _decide(plan, flow, record, canonical, links.get(record.external_id), parents=parents, filters=filters)
    return plan


def links_of(flow: Flow, entity: str, external_ids: Iterable[str]) -> dict[str, RecordLink]:
    """By the source's id: one query."""
    pair = RecordLink.objects.filter(source_id=flow.source_id, target_id=flow.target_id, entity=entity)
    return {link.external_id: link for link in pair.filter(external_id__in=list(external_ids))}


def _parents(flow: Flow, records: Iterable[Canonical]) -> Mapping[tuple[str, str], RecordLink]:
    """(entity, id) → its link, of the parents that we have met: a query an entity."""
    wanted: dict[str, set[str]] = defaultdict(set)
    for record in records:
        for entity, external_id in parents_of(record):
            if entity in flow.entities:
                wanted[entity].add(external_id)
    return {
        (entity, external_id): link
        for entity, ids in wanted.items()
        for external_id, link in links_of(flow, entity, ids).items()
    }


def _decide(
    plan: Plan,
    flow: Flow,
    record: SourceRecord,
    canonical: Canonical,
    link: RecordLink | None,
    *,
    parents: Mapping[tuple[str, str], RecordLink],
    filters: Json,
) -> None:
    is_linked = link is not None and link.state == LinkState.LINKED
    if filters and not is_asked_for(filters, canonical):
        plan.ledger.skipped += 1
        return
    if not is_linked and not is_taken(flow, canonical):
        _skip(plan, record, link)
        return
    for parent in parents_of(canonical):
        met = parents.get(parent)
        if parent[0] in flow.entities and (met is None or met.state == LinkState.SKIPPED):
            _park(plan, record, parent, is_unmet=met is None)
            return
    order = parents.get(("orders", getattr(canonical, "order_id", "")))
    if isinstance(canonical, Refund) and order is not None and order.currency:
        canonical = replace(canonical, currency=order.currency)  # a shop does not say what its refunds are in
    content = content_of(flow, canonical, record.payload)
    if is_linked and link is not None and link.content_hash == content:
        plan.ledger.unchanged += 1
        plan.settled.append(record.external_id)
        return
    try:
        wanted = target_record(flow, canonical, record.payload)
    except RejectedRecord as error:
        _fail(plan, record, error)
        return
    if link is not None and link.target_external_id:
        wanted = replace(wanted, external_id=link.target_external_id, version=link.target_version)
    currency = canonical.currency if isinstance(canonical, Order) else ""
    plan.writes.append(Member(wanted, content, record.modified_at, is_new=not is_linked, currency=currency))


def _removed(plan: Plan, flow: Flow, record: SourceRecord, link: RecordLink | None) -> None:
    """What is at the target gets its tombstone; what never was there is noted, so that nobody waits for it."""
    if link is not None and link.state == LinkState.LINKED:
        gone = replace(removed_record(flow, record), external_id=link.target_external_id, version=link.target_version)
        plan.writes.append(Member(gone, "", record.modified_at, is_new=False, currency=link.currency))
        return
    plan.settled.append(record.external_id)
    if link is not None and link.state == LinkState.REMOVED:
        plan.ledger.unchanged += 1
        return
    plan.noted[record.external_id] = LinkState.REMOVED
    plan.ledger.skipped += 1


def _skip(plan: Plan, record: SourceRecord, link: RecordLink | None) -> None:
    plan.ledger.skipped += 1
    plan.settled.append(record.external_id)
    if link is None:
        plan.noted[record.external_id] = LinkState.SKIPPED


def _park(plan: Plan, record: SourceRecord, parent: tuple[str, str], *, is_unmet: bool) -> None:
    words = f"It belongs to {parent[0]} {parent[1]}, which is not at the target yet."
    error = CausewayError(words, code="parent_missing")
    plan.ledger.parked += 1
    plan.failed.append(Failed(record.external_id, error, payload_of(record.payload), parent, is_unmet))


def _fail(plan: Plan, record: SourceRecord, error: CausewayError) -> None:
    plan.ledger.failed += 1
    plan.failed.append(Failed(record.external_id, error, payload_of(record.payload)))


def payload_of(payload: Json) -> str:
    """The record as it came, as text that PostgreSQL holds whatever is in it."""
    return json.dumps(payload, default=str)[:MOST_OF_A_PAYLOAD]
