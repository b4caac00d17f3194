"""Keys are changed under a running system: readers, writers, a kill, and two rotations at once."""

import base64
import re
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from uuid import UUID

import pytest
from django.db import connection as database
from django.db import transaction

from config.celery import app
from config.processes import wait_until
from connections.ids import uuid7
from connections.models import Connection, Credential, PlaidItem
from connections.services import key_rotation
from connections.services.plaid_exchange import public_token_exchange
from sync import leases
from sync.models import RunStatus, SyncRun
from tests import plugin
from tests.conftest import Process
from tests.sync.conftest import link

__all__ = ["link"]

pytestmark = pytest.mark.django_db(transaction=True)

MANY = 10_000
NEW_KEY = b"n" * 32
OLD = plugin.ENVIRONMENT["ENCRYPTION_KEYS"]
BOTH = f"new1:{base64.b64encode(NEW_KEY).decode()},{OLD}"  # what the how-to gives every process before it rotates


class People:
    """Threads that never stop reading and writing. What one of them could not do is in `failures`."""

    def __init__(self) -> None:
        self.failures: list[BaseException] = []
        self.turns: Counter[str] = Counter()
        self._ended = threading.Event()

    @contextmanager
    def at_work(self, **work: Callable[[], None]) -> Iterator[None]:
        threads = [threading.Thread(target=self._repeat, args=pair, name=pair[0]) for pair in work.items()]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            self._ended.set()
            for thread in threads:
                thread.join(30)

    def _repeat(self, name: str, turn: Callable[[], None]) -> None:
        try:
            while not self._ended.is_set():
                turn()
                self.turns[name] += 1
        except BaseException as error:  # noqa: BLE001 - judged by the test's own thread
            self.failures.append(error)
        finally:
            database.close()


class Rotation(Process):
    """The command in a process of its own."""

    def __init__(self, name: str, *options: str) -> None:
        log = plugin.HOME / "logs" / f"rotate-{name}-{time.monotonic_ns()}.log"
        super().__init__("command", ["manage", "rotate_keys", *options], log, {"ENCRYPTION_KEYS": BOTH})

    @property
    def count(self) -> int:
        """How many it says that it has re-encrypted."""
        found = re.findall(r"^(\d+) of \d+ credentials", self.output(), re.MULTILINE)
        return int(found[-1]) if found else 0


@pytest.fixture
def rotate() -> Iterator[Callable[..., Rotation]]:
    started: list[Rotation] = []

    def start(*options: str) -> Rotation:
        started.append(Rotation(str(len(started)), *options))
        return started[-1]

    yield start
    for made in started:
        made.kill()


@pytest.fixture
def restart(settings, monkeypatch) -> Callable[[], None]:
    """This process gets both keys, as the how-to gives them to every process before the rotation."""

    def with_both_keys() -> None:
        settings.ENCRYPTION_KEYS = {"new1": NEW_KEY} | settings.ENCRYPTION_KEYS
        options = database.settings_dict["OPTIONS"]
        monkeypatch.setitem(options, "application_name", options["application_name"].replace("test1", "new1"))
        database.close()

    return with_both_keys


def credentials_make(person, number: int) -> dict[UUID, str]:
    """So many linked Items with nothing to read, each with a sealed token, made in sets. Item → token."""
    same = {"owner": person.user, "provider": "plaid", "environment": "sandbox", "status": "active"}
    banks = Connection.objects.bulk_create(
        Connection(workspace=person.workspace, name="Bank", **same) for _ in range(number)
    )
    items = PlaidItem.objects.bulk_create(
        PlaidItem(workspace=person.workspace, connection=bank, item_id=f"made-{bank.pk}", dirty_seq=0) for bank in banks
    )
    tokens = [f"access-sandbox-{bank.pk}" for bank in banks]
    sealed = [Credential(workspace=person.workspace, connection=bank, name="access_token") for bank in banks]
    for row, token in zip(sealed, tokens, strict=True):
        row.pk = row.pk or uuid7()
        row.seal(token)
    Credential.objects.bulk_create(sealed)
    return {item.pk: token for item, token in zip(items, tokens, strict=True)}


def left_under_the_old_key() -> int:
    return sum(
        model._default_manager.exclude(key_id="new1").exclude(ciphertext=None).count() for model in key_rotation.SEALED
    )


def claimed_token(item_id: UUID) -> str:
    """What a worker that claims the Item would send; undone, so that no worker does."""
    with transaction.atomic():
        PlaidItem.objects.filter(pk=item_id).update(dirty_seq=1)
        held = leases.claim(item_id)
        transaction.set_rollback(True)
    assert held
    return held.access_token()


def test_ten_thousand_are_rotated_while_everybody_reads_though_killed_and_begun_twice(
    alice, link, simulator, settings, process, restart, rotate
):
    tokens = credentials_make(alice, MANY)
    banks = [link(transactions=5), link(transactions=5)]
    assert left_under_the_old_key() == MANY + 2
    restart()
    process("worker", ENCRYPTION_KEYS=BOTH)
    items, turns = list(tokens), count()

    def reveal_all() -> None:
        for row in Credential.objects.iterator(chunk_size=500):
            assert row.reveal().startswith("access-sandbox-")

    def claim() -> None:
        item_id = items[next(turns) * 7919 % MANY]
        assert claimed_token(item_id) == tokens[item_id]

    def sync_here() -> None:
        banks[0].add(amount=1)
        assert banks[0].sync() in ("synced", "nothing")  # the worker may have been quicker
        time.sleep(1)  # Plaid's rate for one Item

    def sync_by_worker() -> None:
        banks[1].add(amount=1)
        banks[1].dirty()
        app.send_task("sync.tasks.execute", args=[[str(banks[1].item.pk)]])
        assert wait_until(lambda: not banks[1].item.is_dirty, 15)
        time.sleep(1)

    def exchange() -> None:
        made = simulator.control("POST", "items", {"transactions": 0, "accounts": 1, "life": False})
        public_token_exchange(
            user=alice.user, workspace_id=alice.workspace.pk, public_token=made["public_token"], environment="sandbox"
        )
        time.sleep(0.1)

    people = People()
    with people.at_work(
        reveal_all=reveal_all, claim=claim, sync_here=sync_here, sync_by_worker=sync_by_worker, exchange=exchange
    ):
        killed = rotate()
        killed.wait_until(lambda: killed.count > 1_000)
        killed.kill()
        left = left_under_the_old_key()
        assert 0 < left < MANY
        started = time.monotonic()
        both = rotate(), rotate()
        assert [rotation.wait(60) for rotation in both] == [0, 0], [rotation.output()[-500:] for rotation in both]
        took_s = time.monotonic() - started
        wait_until(lambda: len(people.turns) == 5, 20)
    assert people.failures == []
    assert set(people.turns) == {"reveal_all", "claim", "sync_here", "sync_by_worker", "exchange"}
    print(f"{left} re-encrypted in {took_s:.1f} s by two commands, start included; {dict(people.turns)} meanwhile")
    assert left_under_the_old_key() == 0
    assert sum(rotation.count for rotation in both) == left

    settings.ENCRYPTION_KEYS = {"new1": NEW_KEY}  # the old key is taken out
    rows = Credential.objects.filter(connection__plaid_item__in=items).values_list("pk", "connection__plaid_item")
    item_of = dict(rows)
    assert {item_of[row.pk]: row.reveal() for row in Credential.objects.filter(pk__in=item_of)} == tokens
    reveal_all()
    for bank in banks:
        bank.assert_equal_to_source()
        assert set(SyncRun.objects.filter(connection=bank.connection).values_list("status", flat=True)) == {
            RunStatus.SUCCEEDED
        }


def test_a_process_without_the_new_key_is_told_before_it_can_read_nothing_any_more(alice, rotate):
    credentials_make(alice, 3)
    refused = rotate()  # while this process is connected with the old key
    assert refused.wait(30) == 1
    assert "Still running with another key first: command." in refused.output()
    assert left_under_the_old_key() == 3
    forced = rotate("--force")
    assert (forced.wait(30), left_under_the_old_key()) == (0, 0)


def test_what_somebody_holds_is_waited_for(alice, restart, rotate):
    credentials_make(alice, 3)
    restart()
    with transaction.atomic():
        Credential.objects.select_for_update(no_key=True).first()
        rotation = rotate()
        rotation.wait_until(lambda: rotation.count == 2)
    assert rotation.wait(30) == 0
    assert left_under_the_old_key() == 0
