"""Fifty clients of ten workspaces at once, on one real server: every answer holds its own workspace's rows only."""

import re
from concurrent.futures import ThreadPoolExecutor

import pytest

from diagnostics.models import ErrorEvent
from tests.connections.api.load_clients import CLIENTS_A_HOUSE, NAMES_NO_ROW, TAG, Client, Findings, paths
from tests.connections.api.load_town import Town, tenant_models

pytestmark = pytest.mark.django_db(transaction=True)

HOUSES = 10


@pytest.fixture
def web(process, simulator):
    return process("web", DJANGO_SETTINGS_MODULE="tests.connections.api.load_settings")


def load(web, seconds: float) -> None:
    town, findings = Town(HOUSES), Findings()
    placeholders = {name for path in paths() for name in re.findall(r"\{(\w+)\}", path)}
    assert all(house.ids[name] for house in town.houses for name in placeholders), (
        "a new kind of id: give it to House.ids"
    )
    clients = [Client(town, web.url, findings, seed=seed) for seed in range(HOUSES * CLIENTS_A_HOUSE)]
    with ThreadPoolExecutor(len(clients)) as pool:
        list(pool.map(lambda client: client.walk(seconds), clients))
    print(
        f"{sum(findings.answers.values())} answers, {findings.cut_off} cut off, {findings.dropped} connections dropped"
    )
    assert findings.wrong == []
    assert_nothing_was_skipped(town, findings)
    assert_new_rows_are_where_they_were_shown(findings)
    assert_errors_are_recorded_where_they_happened()


def assert_nothing_was_skipped(town: Town, findings: Findings) -> None:
    """Every GET of the URL table showed rows to clients of every workspace: a list of nothing proves nothing."""
    total = sum(findings.answers.values())
    assert findings.dropped < total / 2  # idle ones, where the machine is slow
    assert findings.cut_off
    empty = {
        (path, house.tag)
        for path in set(paths()) - NAMES_NO_ROW
        for house in town.houses
        if not findings.full[path, house.tag]
    }
    assert empty == set(), "never answered with rows: give the workspaces some in Town"
    assert {status for _, status in findings.answers} >= {200, 202, 400, 404}


def assert_new_rows_are_where_they_were_shown(findings: Findings) -> None:
    where = {}
    for model in tenant_models():
        for row in model.objects.filter(pk__in=findings.unknown).select_related("workspace"):
            where[str(row.pk)] = TAG.match(row.workspace.slug)[0]
    assert {pk: house for pk, house in findings.unknown.items() if pk in where and where[pk] != house} == {}


def assert_errors_are_recorded_where_they_happened() -> None:
    recorded = ErrorEvent.objects.filter(correlation_id__contains="load-").exclude(workspace=None)
    assert recorded.exists()
    assert [
        e.pk
        for e in recorded.select_related("workspace")
        if TAG.match(e.workspace.slug)[0] != TAG.match(e.correlation_id)[0]
    ] == []


def test_every_answer_holds_its_own_workspaces_rows_only(web):
    load(web, 10)


@pytest.mark.long
def test_every_answer_holds_its_own_workspaces_rows_only_for_a_minute(web):
    load(web, 60)
