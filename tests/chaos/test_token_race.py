"""Fifty refreshers, a provider that replaces the refresh token at every renewal, and processes killed over the answer."""

import contextlib
import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import psycopg
import pytest
from django.conf import settings
from django.utils import timezone

from config.processes import wait_until
from connections.models import Connection, DomainEvent, OAuthGrant
from tests import plugin
from tests.conftest import SIMULATED, maintenance_dsn, owner_dsn
from tests.connections.intuit import Intuit, end_access, secret

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.chaos]

PROCESSES, THREADS = 2, 25
LIMIT_S = 30


class Refreshers:
    """One process of them."""

    def __init__(self, threads: int, **environment: str) -> None:
        command = [sys.executable, "-m", "tests.chaos.refreshers", str(threads)]
        variables = os.environ | environment | {"DJANGO_SETTINGS_MODULE": "config.settings", "PYTHONUNBUFFERED": "1"}
        self.popen = subprocess.Popen(
            command,
            cwd=plugin.BASE_DIR,
            env=variables,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )

    def wait_until_ready(self) -> None:
        assert self._line() == "ready"

    def go(self, connection: Connection, refused: str = "-") -> None:
        assert self.popen.stdin
        self.popen.stdin.write(f"{connection.pk} {refused}\n")
        self.popen.stdin.flush()

    def result(self) -> list[Any]:
        return json.loads(self._line())

    def _line(self) -> str:
        assert self.popen.stdout
        return self.popen.stdout.readline().strip()

    def kill(self) -> None:
        self.popen.kill()
        self.popen.wait(10)
        for pipe in (self.popen.stdin, self.popen.stdout):
            with contextlib.suppress(OSError):
                pipe and pipe.close()


@pytest.fixture(scope="module")
def refreshers(django_db_setup, _simulators) -> Iterator[Callable[[int], Refreshers]]:
    """A factory of such processes, which keep nothing from one test to the next."""
    started: list[Refreshers] = []
    there = {name: _simulators.url + path for name, path in SIMULATED.items()}
    there["BACKOFF_BASE_S"] = "30"  # as in an installation: the wait for the next try outlasts those who wait

    def start(threads: int) -> Refreshers:
        started.append(Refreshers(threads, **there))
        return started[-1]

    yield start
    for one in started:
        if one.popen.poll() is None:
            one.kill()


@pytest.fixture
def intuit(simulator) -> Intuit:
    """Which replaces the token at every renewal, and forgets the former one at once."""
    made = Intuit(simulator)
    made.control("settings", {"rotate_after_s": 0, "grace_s": 0})
    return made


class Race:
    """All of them at once, and a victim beside."""

    def __init__(
        self,
        intuit: Intuit,
        connection: Connection,
        crowd: list[Refreshers],
        start: Callable[[int], Refreshers],
    ) -> None:
        self.intuit, self.connection, self.crowd, self._start = intuit, connection, crowd, start
        self._victim: Refreshers | None = None

    @property
    def victim(self) -> Refreshers:
        if self._victim is None:
            self._victim = self._start(1)
            self._victim.wait_until_ready()
        return self._victim

    def run(self, refused: str = "-") -> list[Any]:
        for one in self.crowd:
            one.go(self.connection, refused)
        return [result for one in self.crowd for result in one.result()]

    def calls(self) -> int:
        return len(self.intuit.asked())

    def kill_victim(self, *, at: str) -> None:
        """Killed while it waits for a row that we hold: of the connection once it has the answer, of the grant before it asks."""
        table = "connections_connection" if at == "answered" else "connections_oauthgrant"
        column = "id" if at == "answered" else "connection_id"
        victim = self.victim
        with psycopg.connect(owner_dsn()) as holder:
            holder.execute(f"SELECT 1 FROM {table} WHERE {column} = %s FOR UPDATE", [self.connection.pk])
            victim.go(self.connection)
            assert wait_until(self._somebody_waits, LIMIT_S), "the victim did not come to the row"
            victim.kill()
            self._waiting("pg_terminate_backend(pid)")  # its server process has not noticed, and would wait on
            assert wait_until(lambda: not self._somebody_waits(), LIMIT_S)
        self._victim = None
        OAuthGrant.objects.update(lease_expires_at=timezone.now() - timedelta(seconds=1))  # its lease runs out

    def _somebody_waits(self) -> bool:
        return bool(self._waiting("pid"))

    def _waiting(self, what: str) -> list[Any]:
        query = f"SELECT {what} FROM pg_stat_activity WHERE datname = %s AND wait_event_type = 'Lock'"
        with psycopg.connect(maintenance_dsn(), autocommit=True) as watcher:
            return watcher.execute(query, [settings.DATABASES["default"]["NAME"]]).fetchall()


@pytest.fixture(scope="module")
def crowd(refreshers) -> list[Refreshers]:
    made = [refreshers(THREADS) for _ in range(PROCESSES)]
    for one in made:
        one.wait_until_ready()
    return made


@pytest.fixture
def race(alice, intuit, crowd, refreshers) -> Race:
    return Race(intuit, intuit.connected(alice), crowd, refreshers)


def assert_renewed_once(race: Race, found: list[Any], before: int) -> None:
    assert len(found) == PROCESSES * THREADS
    assert set(map(str, found)) == {secret(race.connection, "access_token")}
    assert race.calls() == before + 1
    assert secret(race.connection) == race.intuit.grant(race.connection)["refresh_token"]


def test_fifty_refreshers_renew_once_an_expiry(race):
    for _ in range(5):
        end_access(race.connection)
        before = race.calls()
        assert_renewed_once(race, race.run(), before)
    assert OAuthGrant.objects.get().refreshes == 5


def test_fifty_who_met_the_same_401_renew_once(race):
    for _ in range(3):
        before = race.calls()
        assert_renewed_once(race, race.run(secret(race.connection, "access_token")), before)


def test_fifty_who_meet_an_outage_ask_once_and_all_hear_of_it(race):
    race.intuit.fault("error", status=503, times=99)
    end_access(race.connection)
    assert {str(found) for found in race.run()} == {"{'code': 'provider_unavailable'}"}
    asked = [row for row in race.intuit.control("log", method="GET")["requests"] if row.get("fault")]
    assert len(asked) == 1
    assert OAuthGrant.objects.get().failure_count == 1


def killed_over_and_over(race: Race, alice: Any, rounds: int, *, is_mixed: bool = True) -> str:
    """Each round: somebody is killed at one of two moments, and all the others come. Returns the figures."""
    dice, lost, kept = random.Random(8), 0, 0
    realm = race.connection.facts["realm_id"]
    for number in range(rounds):
        moment = "answered" if number < 2 or not is_mixed else dice.choice(("answered", "asking"))
        end_access(race.connection)
        before = race.calls()
        race.kill_victim(at=moment)
        if moment == "asking":
            assert_renewed_once(race, race.run(), before)
            kept += 1
            continue
        assert race.calls() == before + 1, "its answer had come"
        assert set(map(str, race.run())) == {"{'code': 'access_lost'}"}
        assert race.calls() == before + 2, "the token that we still had was tried, once"
        lost += 1
        assert_reported(lost)
        race.intuit.sign_in(Connection.objects.get(), alice, realm)
    assert OAuthGrant.objects.get().lost_answers == lost
    assert Connection.objects.get().status == "active"
    return f"{rounds} kills, {lost} of them between answer and save, each seen and reported; {kept} lost nothing."


def assert_reported(lost: int) -> None:
    found = Connection.objects.get()
    assert (found.status, found.error_code) == ("needs_reauth", "access_lost")
    told = DomainEvent.objects.filter(type="TokenRefreshFailed", payload__is_answer_lost=True)
    assert told.count() == lost


def test_who_is_killed_between_answer_and_save_is_seen_and_nothing_else_is_lost(race, alice, record_property):
    record_property("summary", killed_over_and_over(race, alice, 4))


@pytest.mark.long
def test_a_hundred_kills_between_answer_and_save(race, alice, record_property):
    started = time.monotonic()
    told = killed_over_and_over(race, alice, 100, is_mixed=False)
    record_property("summary", f"{told} {time.monotonic() - started:.0f} s.")


def test_with_intuits_own_grace_a_kill_loses_nothing(race):
    """The former value lives on for a while, so the one that we still have is good."""
    race.intuit.control("settings", {"rotate_after_s": 86_400, "grace_s": 3600})
    for _ in range(2):
        end_access(race.connection)
        before = race.calls()
        race.kill_victim(at="answered")
        assert_renewed_once(race, race.run(), before + 1)
    grant = OAuthGrant.objects.get()
    assert (grant.lost_answers, Connection.objects.get().status) == (2, "active")
