"""A shop that is read while it changes: in the end we have what it has, whatever happened between two pages.

The shop's clock stands still but for the steps that Hypothesis draws, so that equal seconds, seconds that are not over,
and the hours in which a zone's clock jumps all happen. A reader may die after any page and go on from the position of
an earlier one.
"""

import itertools
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from connections.providers.woocommerce import client, pulling, seek
from connections.providers.woocommerce.auth import Signing
from tests.connections.providers.woocommerce.conftest import access_to
from tests.connections.sandbox.shops import Shop

# the last is a day like any other; before it, hours that come twice or never: in the west, east, south, and by half an
# hour; those of spring also where UTC has the digits that are skipped
PLACES = [
    ("America/Edmonton", datetime(2026, 11, 1, 7, 50, tzinfo=UTC)),
    ("America/Edmonton", datetime(2026, 3, 8, 8, 50, tzinfo=UTC)),
    ("America/Edmonton", datetime(2026, 3, 8, 1, 50, tzinfo=UTC)),
    ("Europe/Berlin", datetime(2026, 10, 25, 0, 50, tzinfo=UTC)),
    ("Europe/Berlin", datetime(2026, 3, 29, 1, 50, tzinfo=UTC)),
    ("Pacific/Auckland", datetime(2026, 4, 4, 13, 50, tzinfo=UTC)),
    ("Pacific/Auckland", datetime(2026, 9, 27, 1, 50, tzinfo=UTC)),
    ("Australia/Lord_Howe", datetime(2026, 10, 3, 15, 20, tzinfo=UTC)),
    ("Pacific/Kiritimati", datetime(2026, 7, 1, 12, 0, tzinfo=UTC)),
]
ROWS = st.integers(0, 10_000)
EVENT = st.one_of(
    st.tuples(st.just("pass"), st.sampled_from([1, 1, 2, 59, 400, 3600])),
    st.tuples(st.just("edit"), ROWS),
    st.tuples(st.just("last"), st.just(0)),
    st.tuples(st.just("last"), st.just(0)),
    st.tuples(st.just("place"), st.integers(1, 3)),
    st.tuples(st.just("bulk"), ROWS),
    st.tuples(st.just("trash"), ROWS),
    st.tuples(st.just("untrash"), ROWS),
    st.tuples(st.just("delete"), ROWS),
    st.tuples(st.just("die"), st.just(0)),
)
BETWEEN = st.lists(st.lists(EVENT, max_size=4), min_size=2, max_size=12)
_notes = itertools.count()


class World:
    """A simulated shop with a clock that only we move, and what a reader has of it."""

    def __init__(self, origin: str, zone: str, now: datetime) -> None:
        self.now = int(now.timestamp())
        self.shop = Shop(
            origin, {"timezone": zone, "orders": 24, "products": 2, "customers": 2, "days": 1, "ends_at": self.now}
        )
        self.tick(1)
        self.access = access_to(self.shop, facts={"shop": {"version": self.shop.made["version"], "timezone": zone}})
        self.mirror: dict[str, Any] = {}
        self.last = 0

    def tick(self, seconds: float) -> None:
        self.now += int(seconds) or 1
        self.shop.set(clock=self.now)

    def happen(self, kind: str, number: int) -> None:
        if kind == "pass":
            self.tick(number)
            return
        if kind == "last" and self.shop.truth().get(self.last):  # what is left out of the next page
            self.shop.ops({"op": "edit", "id": self.last, "fields": {"customer_note": f"note {next(_notes)}"}})
            return
        if kind == "place":
            self.shop.ops({"op": "place", "count": number})
            return
        hidden = ("checkout-draft", "auto-draft")
        rows = {one: row["status"] for one, row in self.shop.truth().items() if row["status"] not in hidden}
        there = sorted(one for one, status in rows.items() if (status == "trash") == (kind == "untrash"))
        if not there:
            return
        one = there[number % len(there)]
        match kind:
            case "edit":
                self.shop.ops({"op": "edit", "id": one, "fields": {"customer_note": f"note {next(_notes)}"}})
            case "bulk":
                start = number % max(1, len(there) - 17)
                self.shop.ops({"op": "touch", "ids": there[start : start + 17]})
            case "trash" | "untrash" | "delete":
                self.shop.ops({"op": kind, "id": one})

    def read(self, position: dict, between: list) -> dict:
        """Read to the end; after each page something happens, and the reader may die and go on from one page before."""
        turns, before = iter(between), position
        while True:
            for page in pulling.pull(self.access, "orders", position):
                for record in page.records:
                    self.mirror[record.external_id] = record
                    self.last = int(record.external_id)
                events = next(turns, [])
                for kind, number in events:
                    self.happen(kind, number)
                has_died = any(kind == "die" for kind, _number in events)
                before, position = (position, before if has_died else page.position)
                if has_died:
                    break
                if not page.has_more:
                    return page.position

    def reconcile(self) -> None:
        """As every night: what the shop has no more goes, what we never saw is fetched."""
        ids = {one for batch in pulling.ids(self.access, "orders") for one in batch}
        self.mirror = {one: record for one, record in self.mirror.items() if one in ids and not record.is_removed}
        assert set(self.mirror) == ids, "nothing but what was destroyed shows up only at night"

    def truth(self) -> dict[str, tuple[str, str, str]]:
        shown = self.shop.control("/truth?resource=orders&limit=10000&bodies=1", "GET")["rows"]
        hidden = ("trash", "checkout-draft", "auto-draft")
        return {
            str(row["id"]): (row["date_modified_gmt"], row["status"], row["body"]["customer_note"])
            for row in shown
            if row["status"] not in hidden
        }

    def seen(self) -> dict[str, tuple[str, str, str]]:
        fields = ("date_modified_gmt", "status", "customer_note")
        return {one: tuple(record.payload[name] for name in fields) for one, record in self.mirror.items()}


def hold(simulator, monkeypatch, *, examples: int, places: list = PLACES, is_random: bool = False) -> None:
    monkeypatch.setattr(client, "PAGE_SIZES", (5,))
    monkeypatch.setattr(seek, "MAX_EXCLUDE", 50)  # eight ids
    # the shop's clock is not ours, so a signature's time would not be good
    monkeypatch.setattr(client, "signing_of", lambda _access: Signing("basic"))

    @settings(
        max_examples=examples,
        deadline=None,
        database=None,
        derandomize=not is_random,
        suppress_health_check=list(HealthCheck),
    )
    @given(place=st.sampled_from(places), first=BETWEEN, second=BETWEEN)
    def run(place, first, second):
        world = World(simulator.url, *place)
        monkeypatch.setattr(seek, "sleep", world.tick)  # the shop's time passes while we wait
        try:
            position = world.read({}, first)
            world.tick(1)
            position = world.read(position, second)
            world.tick(3)
            world.read(position, [])
            world.reconcile()
            assert world.seen() == world.truth()
        finally:
            world.shop.close()

    run()


def test_after_a_quiet_reading_we_have_what_the_shop_has(simulator, monkeypatch):
    hold(simulator, monkeypatch, examples=30)


@pytest.mark.long
@pytest.mark.parametrize("place", PLACES, ids=[f"{zone} {now:%B}" for zone, now in PLACES])
def test_after_a_quiet_reading_we_have_what_the_shop_has_at_length(simulator, monkeypatch, place):
    hold(simulator, monkeypatch, examples=300, places=[place], is_random=True)
