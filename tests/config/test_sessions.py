"""The console's sessions work as ever, and the table does not tell their keys."""

import pytest
from django.contrib.sessions.models import Session
from django.test import Client

from config.sessions import SessionStore

pytestmark = pytest.mark.django_db


def test_a_session_is_found_by_its_cookie_and_not_by_its_row(bob):
    client = Client()
    client.force_login(bob.user)
    assert client.get("/admin/").status_code == 200
    row = Session.objects.get()
    assert row.session_key != client.cookies["sessionid"].value
    client.cookies["sessionid"] = row.session_key
    assert client.get("/admin/").status_code == 302


def test_a_session_is_kept_changed_renewed_and_ended():
    store = SessionStore()
    store["a"] = 1
    store.save()
    assert SessionStore().exists(store.session_key)
    found = SessionStore(store.session_key)
    assert found["a"] == 1
    found["b"] = 2
    found.save()
    first = found.session_key
    found.cycle_key()
    assert SessionStore(first).get("a") is None
    assert SessionStore(found.session_key)["b"] == 2
    found.flush()
    assert Session.objects.count() == 0


def test_a_session_that_ran_out_is_none():
    store = SessionStore()
    store["a"] = 1
    store.set_expiry(-1)
    store.save()
    assert SessionStore(store.session_key).get("a") is None
