"""Whatever is sent under whatever keys, and however it ends: a key's work is done at most once, and told the same.

The model is a table of what each key has come to, written from docs/explanation/idempotency.md.
"""

from dataclasses import dataclass, field
from datetime import timedelta

import pytest
from django.urls import path
from django.utils import timezone
from hypothesis import HealthCheck, given, note
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from rest_framework.exceptions import Throttled
from rest_framework.response import Response

from connections.api.base import WorkspaceView
from connections.api.once import Idempotency, keyed
from connections.errors import CausewayError, OutcomeUnknown, TemporaryError
from connections.models import Connection, IdempotencyKey, Role
from tests.factories import Person

pytestmark = pytest.mark.django_db(transaction=True)

FINAL = {"done": 201, "missing": 404, "conflict": 409, "invalid": 400}
OPEN = {"bug": 500, "away": 503, "throttled": 429, "signed_out": 401, "not_yet": 409}
ERRORS = {
    "missing": lambda: CausewayError(code="not_found"),
    "conflict": lambda: CausewayError(code="conflict"),
    "invalid": lambda: CausewayError(code="validation_failed", fields={"a": ["b"]}),
    "bug": lambda: RuntimeError("on purpose"),
    "away": TemporaryError,
    "throttled": lambda: Throttled(wait=1),
    "signed_out": lambda: CausewayError(code="token_expired"),
    "not_yet": lambda: CausewayError(code="rate_limit_wait"),
    "unknown": OutcomeUnknown,
    "killed": KeyboardInterrupt,
}
OUTCOMES = st.sampled_from([*FINAL, *OPEN, "unknown", "killed"])
KEYS, BODIES = st.sampled_from(["k1", "k2"]), st.sampled_from([{}, {"a": 1}, {"a": 2}])
STEPS = st.one_of(
    st.tuples(st.just("send"), KEYS, BODIES, OUTCOMES),
    st.tuples(st.just("send"), KEYS, BODIES, OUTCOMES),
    st.tuples(st.just("lease_ends"), KEYS),
    st.tuples(st.just("day_ends"), KEYS),
)


class Acting(WorkspaceView):
    """Changes something, then ends as it is told."""

    roles = {"POST": Role.VIEWER}
    idempotency = Idempotency.ONE_TRANSACTION
    outcome = "done"
    calls = 0

    def post(self, request):
        type(self).calls += 1
        made = Connection.objects.create(
            workspace=self.membership.workspace, owner=self.user, provider="woocommerce", name="made"
        )
        if error := ERRORS.get(self.outcome):
            raise error()
        return Response({"id": made.pk}, status=201)


urlpatterns = [path("api/act", Acting.as_view())]


@dataclass
class Known:
    """What a key has come to."""

    body: dict
    answer: tuple | None = None
    is_held: bool = False


@dataclass
class World:
    person: Person
    keys: dict[str, Known] = field(default_factory=dict)
    changes: int = 0

    def do(self, step: tuple) -> None:
        note(str(step))
        getattr(self, step[0])(*step[1:])
        assert Connection.objects.count() == self.changes

    def send(self, key: str, body: dict, outcome: str) -> None:
        Acting.outcome, before = outcome, Acting.calls
        known = self.keys.get(key)
        if outcome == "killed" and self.begins(known, body):
            with pytest.raises(KeyboardInterrupt):
                self.post(key, body)
            self.keys[key] = Known(body, is_held=True)
            return
        response = self.post(key, body)
        found = (response.status_code, response.json(), response.headers.get("Idempotency-Replayed"))
        assert Acting.calls == before + self.begins(known, body)
        if self.begins(known, body):
            self.worked(key, body, outcome, found)
        elif known.body != body:
            assert (found[0], found[1]["code"], found[2]) == (409, "idempotency_mismatch", None)
        elif known.answer:
            assert found == (*known.answer, "true")
        else:
            assert (found[0], found[1]["code"], found[2]) == (409, "idempotency_in_progress", None)
            assert int(response.headers["Retry-After"]) >= 1

    def begins(self, known: Known | None, body: dict) -> bool:
        return known is None or (known.body == body and not known.answer and not known.is_held)

    def worked(self, key: str, body: dict, outcome: str, found: tuple) -> None:
        assert found[2] is None
        self.changes += outcome == "done"
        if outcome in FINAL:
            assert found[0] == FINAL[outcome]
            self.keys[key] = Known(body, found[:2])
        elif outcome == "unknown":
            assert found[0] == 409
            self.keys[key] = Known(body)
        else:
            assert found[0] == OPEN[outcome]
            self.keys.pop(key, None)

    def post(self, key: str, body: dict):
        return self.person.api.post("/api/act", body, format="json", headers={"Idempotency-Key": key})

    def row(self, key: str):
        return IdempotencyKey.objects.filter(key_hash=keyed(key.encode()))

    def lease_ends(self, key: str) -> None:
        self.row(key).update(lease_expires_at=timezone.now())
        if known := self.keys.get(key):
            known.is_held = False

    def day_ends(self, key: str) -> None:
        self.lease_ends(key)
        yesterday = timezone.now() - timedelta(hours=25)
        self.row(key).update(created_at=yesterday, lease_expires_at=yesterday)
        self.keys.pop(key, None)


@pytest.fixture
def acting(settings):
    """A killed request holds its key as long as an example takes."""
    settings.ROOT_URLCONF, settings.LEASE_S = __name__, 600


@hypothesis_settings(
    deadline=None,
    max_examples=60,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    print_blob=True,
)
@given(steps=st.lists(STEPS, max_size=14))
def test_work_is_done_at_most_once_a_key_and_told_the_same(alice, acting, steps):
    IdempotencyKey.objects.all().delete()
    Connection.objects.all().delete()
    world = World(alice)
    for step in steps:
        world.do(step)
