"""The tests' own footing: what they run as, and that their processes are real ones."""

import os

import pytest
from django.conf import settings
from django.contrib.auth import get_user_model
from django.db import connection, transaction

from tests import plugin
from tests.conftest import call


def test_settings_are_the_tests_own():
    assert settings.DEMO is False
    assert settings.CAUSEWAY_HOME == plugin.HOME
    assert settings.DATABASES["default"]["NAME"].startswith("test_")
    assert settings.DATABASES["owner"]["NAME"] == settings.DATABASES["default"]["NAME"]


@pytest.mark.django_db
def test_tests_run_as_the_application(owner_connection):
    with connection.cursor() as cursor:
        cursor.execute("SELECT current_user, rolsuper OR rolbypassrls FROM pg_roles WHERE rolname = current_user")
        assert cursor.fetchone() == (settings.DATABASE_ROLES["app"], False)
    assert owner_connection.execute("SELECT current_user").fetchone() == (settings.DATABASE_ROLES["owner"],)


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("turn", ["first", "second"])
def test_committed_rows_are_gone_in_the_next_test(turn):
    people = get_user_model().objects
    assert not people.filter(username="left-behind").exists()
    with transaction.atomic():
        people.create(username="left-behind")


def test_permissions_and_content_types_survive(transactional_db):
    from django.contrib.auth.models import Permission

    assert Permission.objects.exists()


def test_two_workers_run_side_by_side_and_one_survives_the_other(process):
    one, two = process("worker"), process("worker")
    assert one.pid != two.pid
    one.kill()
    assert not one.is_running
    assert two.is_running
    two.terminate()
    assert two.wait() == 0


def test_the_web_process_answers(live_web):
    status, _ = call("GET", f"{live_web.url}/healthz")
    assert status == 200


def test_a_process_that_does_not_get_there_shows_its_output(process, monkeypatch):
    monkeypatch.setenv("SECRET_KEY", "")
    with pytest.raises(pytest.fail.Exception, match="SECRET_KEY is not set"):
        process("web")


def test_the_simulators_are_as_new_for_each_test(simulator):
    assert simulator.url.startswith("http://127.0.0.1:")
    assert settings.PLAID_SANDBOX_URL == os.environ["PLAID_SANDBOX_URL"] == f"{simulator.url}/plaid"
