"""Where a run's pages come from: what changed at the source, named records, or a comparison of all ids.

Each reader yields pages from the run's position on, flat in memory, and may be stopped after any of them.
"""

from collections.abc import Iterator, Sequence
from typing import cast

from django.db.models import Q

from connections.providers import provider
from connections.providers.base import Access, Json, Page, Pulls
from sync.flows.claims import Held
from sync.models import Flow, LinkState, RecordLink, Watermark

AT_ONCE = 50  # records that are asked for by their ids


def pages_of(flow: Flow, held: Held, access: Access) -> Iterator[Page]:
    pulls = cast(Pulls, provider(flow.source.provider).pulls)
    if held.parameters.get("ids"):
        return _named(pulls, access, held.entity, held.parameters["ids"], held.position or {})
    if held.mode == "reconcile":
        return _compared(pulls, access, flow, held)
    return _changed(pulls, access, flow, held)


def _changed(pulls: Pulls, access: Access, flow: Flow, held: Held) -> Iterator[Page]:
    """Since the watermark, or everything: a full reading, and one that looks for records of a certain kind."""
    position = held.position
    if position is None:
        position = {}
        if held.mode == "incremental" and not held.parameters:
            mark = Watermark.objects.filter(flow=flow, entity=held.entity).first()
            position = mark.position if mark else {}
    yield from pulls.pull(access, held.entity, position)


def _named(pulls: Pulls, access: Access, entity: str, ids: Sequence[str], position: Json) -> Iterator[Page]:
    start = int(position.get("from", 0))
    for at in range(start, len(ids), AT_ONCE):
        found = list(pulls.fetch(access, entity, ids[at : at + AT_ONCE]))
        after = at + AT_ONCE
        yield Page(found, {"from": after}, after < len(ids), expected=len(ids))


def _compared(pulls: Pulls, access: Access, flow: Flow, held: Held) -> Iterator[Page]:
    """Records that the source has and we never met; then those that we have and the source does not name any more.

    None of the latter is believed to be gone before the source was asked for it by its id.
    """
    position = held.position or {}
    links = RecordLink.objects.filter(source=flow.source_id, target=flow.target_id, entity=held.entity)
    if "after" not in position:
        for ids in pulls.ids(access, held.entity):
            known = links.filter(external_id__in=ids)
            known.update(seen_run=held.run_id)
            unknown = sorted(set(ids) - set(known.values_list("external_id", flat=True)))
            for at in range(0, len(unknown), AT_ONCE):
                found = list(pulls.fetch(access, held.entity, unknown[at : at + AT_ONCE]))
                yield Page(found, {}, True)
        position = {"after": None}
    missing = links.exclude(state=LinkState.REMOVED).filter(Q(seen_run=None) | ~Q(seen_run=held.run_id)).order_by("pk")
    while True:
        here = missing.filter(pk__gt=position["after"]) if position["after"] else missing
        rows = list(here.values_list("pk", "external_id")[:AT_ONCE])
        found = list(pulls.fetch(access, held.entity, [external_id for _, external_id in rows])) if rows else []
        is_last = len(rows) < AT_ONCE
        position = {"after": str(rows[-1][0]) if rows else position["after"]}
        yield Page([one for one in found if one.is_removed], position, not is_last)
        if is_last:
            return
