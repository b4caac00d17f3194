"""Every error that Plaid knows, provoked over HTTP at the simulator, and what is true in the database afterwards."""

import time
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from connections import errors
from connections.models import Connection, PlaidExchange, PlaidItem, PlaidLink, ProviderPause
from connections.models.connection import Status, Wait
from connections.providers.plaid.client import PlaidClient
from connections.providers.plaid.errors import TABLE
from connections.sandbox.faults import AFTER, BEFORE
from connections.services import plaid_links
from connections.services.event_dispatch import events_dispatch
from connections.services.plaid_exchange import public_token_exchange
from connections.services.plaid_items import credential_of, relink_completed
from connections.services.plaid_removal import retired_items_remove
from connections.services.provider_pauses import providers_probe
from diagnostics.models import Alert
from sync import engine
from sync.models import RunStatus, SyncRun, Trigger
from sync.services.dispatch import items_offer
from sync.services.runs import run_request
from tests.connections.services.test_plaid_links import finish_in_browser

pytestmark = pytest.mark.django_db(transaction=True)

MINUTE, HOUR = 60, 3600


@pytest.fixture(autouse=True)
def waits_as_in_production(settings):
    """The tests' own back-offs are too short to be told from each other."""
    settings.BACKOFF_BASE_S, settings.BACKOFF_MAX_S, settings.BACKOFF_OUTAGE_MAX_S = 30, 6 * HOUR, HOUR
    settings.RATE_LIMIT_WAIT_S = MINUTE
    settings.SYNC_MAX_RESTARTS = 2


@dataclass(frozen=True)
class After:
    """What is true after one failure. wait_s: from, to; None: nothing is tried before a person acts."""

    code: str
    status: Status = Status.ACTIVE
    wait_s: tuple[float, float] | None = None
    reason: Wait = Wait.NONE
    failures: int = 0
    run: RunStatus = RunStatus.FAILED


def asks(code: str) -> After:
    """The owner has to act; until then nothing is tried."""
    return After(code, Status.NEEDS_REAUTH)


def tries_again(code: str, base_s: float) -> After:
    return After(code, wait_s=(base_s * 0.8, base_s * 1.2), reason=Wait.BACKOFF, failures=1)


def fails(code: str) -> After:
    """At once, and tried as rarely as can be."""
    return After(code, Status.FAILED, wait_s=(6 * HOUR, 6 * HOUR), reason=Wait.BACKOFF, failures=1)


def holds(code: str) -> After:
    """An operator has to act: the connection keeps its state, and nothing is counted against it."""
    return After(code, wait_s=(5 * MINUTE, 5 * MINUTE), reason=Wait.CONFIGURATION)


def rests(code: str) -> After:
    """Nobody gets through: all of the provider's work rests, and no connection's state tells of it."""
    return After(code, run=RunStatus.RUNNING)


SIGN_IN = asks("bank_sign_in_required")
AT_THE_BANK = asks("bank_action_required")
NO_ACCOUNTS = asks("bank_no_accounts")
WITHDRAWN = After("bank_revoked", Status.FAILED, failures=1)
REMOVED = replace(WITHDRAWN)  # the same, and nobody is told
NOT_SUPPORTED = fails("bank_not_supported")
NOT_ENABLED = fails("feature_not_enabled")
BANK_DOWN = tries_again("bank_unavailable", 15 * MINUTE)
AWAY = tries_again("provider_unavailable", 30)
NONSENSE = tries_again("provider_malformed", 30)
UNKNOWN = tries_again("provider_error", 30)
KEYS = rests("provider_misconfigured")
NOT_REGISTERED = holds("bank_not_registered")
OUR_BUG = fails("internal_error")
# A limit is no failure: the run stays open, and goes on where it stands.
LIMITED = After("provider_rate_limited", wait_s=(MINUTE, 1.2 * MINUTE), reason=Wait.RATE_LIMIT, run=RunStatus.RUNNING)

# What /transactions/sync may answer. (error type, error code) → the database afterwards.
SYNC: dict[tuple[str, str], After] = {
    ("ITEM_ERROR", "ITEM_LOGIN_REQUIRED"): SIGN_IN,
    ("ITEM_ERROR", "INVALID_CREDENTIALS"): SIGN_IN,
    ("ITEM_ERROR", "INVALID_MFA"): SIGN_IN,
    ("ITEM_ERROR", "INSUFFICIENT_CREDENTIALS"): SIGN_IN,
    ("ITEM_ERROR", "INVALID_UPDATED_USERNAME"): SIGN_IN,
    ("ITEM_ERROR", "ITEM_LOCKED"): AT_THE_BANK,
    ("ITEM_ERROR", "USER_SETUP_REQUIRED"): AT_THE_BANK,
    ("ITEM_ERROR", "PASSWORD_RESET_REQUIRED"): AT_THE_BANK,
    ("ITEM_ERROR", "ACCESS_NOT_GRANTED"): NO_ACCOUNTS,
    ("ITEM_ERROR", "NO_ACCOUNTS"): NO_ACCOUNTS,
    ("ITEM_ERROR", "ITEM_NOT_FOUND"): WITHDRAWN,
    ("INVALID_INPUT", "USER_PERMISSION_REVOKED"): WITHDRAWN,
    ("ITEM_ERROR", "ITEM_CONCURRENTLY_DELETED"): REMOVED,
    ("ITEM_ERROR", "ITEM_NOT_SUPPORTED"): NOT_SUPPORTED,
    ("ITEM_ERROR", "MFA_NOT_SUPPORTED"): NOT_SUPPORTED,
    ("INSTITUTION_ERROR", "INSTITUTION_NO_LONGER_SUPPORTED"): NOT_SUPPORTED,
    ("INSTITUTION_ERROR", "UNSUPPORTED_RESPONSE"): NOT_SUPPORTED,
    ("ITEM_ERROR", "PRODUCT_NOT_READY"): tries_again("provider_unavailable", 2 * MINUTE),
    ("ITEM_ERROR", "PRODUCTS_NOT_SUPPORTED"): NOT_ENABLED,
    ("ITEM_ERROR", "PRODUCT_NOT_ENABLED"): NOT_ENABLED,
    ("INVALID_INPUT", "INVALID_PRODUCT"): NOT_ENABLED,
    ("INVALID_INPUT", "UNAUTHORIZED_ROUTE_ACCESS"): NOT_ENABLED,
    ("INVALID_INPUT", "ADDITIONAL_CONSENT_REQUIRED"): asks("bank_consent_required"),
    ("TRANSACTIONS_ERROR", "TRANSACTIONS_SYNC_MUTATION_DURING_PAGINATION"): tries_again("sync_mutation", 30),
    ("INSTITUTION_ERROR", "INSTITUTION_DOWN"): BANK_DOWN,
    ("INSTITUTION_ERROR", "INSTITUTION_NOT_RESPONDING"): BANK_DOWN,
    ("INSTITUTION_ERROR", "INSTITUTION_NOT_AVAILABLE"): BANK_DOWN,
    ("INSTITUTION_ERROR", "UNAUTHORIZED_INSTITUTION"): NOT_REGISTERED,
    ("INSTITUTION_ERROR", "INSTITUTION_REGISTRATION_REQUIRED"): NOT_REGISTERED,
    ("INSTITUTION_ERROR", "INSTITUTION_NOT_ENABLED_IN_ENVIRONMENT"): NOT_REGISTERED,
    ("RATE_LIMIT_EXCEEDED", "CREDITS_EXHAUSTED"): holds("provider_credits_exhausted"),
    ("API_ERROR", "INTERNAL_SERVER_ERROR"): AWAY,
    ("API_ERROR", "PLANNED_MAINTENANCE"): rests("provider_unavailable"),
    ("INVALID_INPUT", "INVALID_API_KEYS"): KEYS,
    ("INVALID_INPUT", "UNAUTHORIZED_ENVIRONMENT"): KEYS,
    ("INVALID_INPUT", "INVALID_ACCESS_TOKEN"): fails("bank_token_refused"),
    ("INVALID_INPUT", "INVALID_ACCOUNT_ID"): tries_again("bank_accounts_changed", 30),
    ("INVALID_REQUEST", "MISSING_FIELDS"): OUR_BUG,
    ("INVALID_REQUEST", "UNKNOWN_FIELDS"): OUR_BUG,
    ("INVALID_REQUEST", "INVALID_BODY"): OUR_BUG,
    ("INVALID_REQUEST", "INVALID_HEADERS"): OUR_BUG,
    ("INVALID_REQUEST", "INVALID_CONFIGURATION"): OUR_BUG,
    ("INVALID_REQUEST", "NOT_FOUND"): OUR_BUG,
    ("INVALID_REQUEST", "SANDBOX_ONLY"): OUR_BUG,
    ("SANDBOX_ERROR", "SANDBOX_PRODUCT_NOT_ENABLED"): OUR_BUG,
    ("SANDBOX_ERROR", "SANDBOX_WEBHOOK_INVALID"): OUR_BUG,
    ("SANDBOX_ERROR", "SANDBOX_TRANSACTIONS_CREATE_INVALID"): OUR_BUG,
    ("SANDBOX_ERROR", "SANDBOX_ACCOUNT_SELECT_V2_NOT_ENABLED"): OUR_BUG,
    ("SANDBOX_ERROR", "SANDBOX_BANK_TRANSFER_EVENT_TRANSITION_INVALID"): OUR_BUG,
    ("SANDBOX_ERROR", "SANDBOX_TRANSFER_EVENT_TRANSITION_INVALID"): OUR_BUG,
}

# Decided by rules, because the codes are many or unknown.
BY_RULE: dict[tuple[str, str], After] = {
    ("RATE_LIMIT_EXCEEDED", "TRANSACTIONS_SYNC_LIMIT"): LIMITED,
    ("RATE_LIMIT_EXCEEDED", "TRANSACTIONS_LIMIT"): LIMITED,
    ("RATE_LIMIT_EXCEEDED", "RATE_LIMIT"): LIMITED,
    ("RATE_LIMIT_EXCEEDED", "A_LIMIT_MADE_TOMORROW"): LIMITED,
    ("INSTITUTION_ERROR", "INSTITUTION_RATE_LIMIT"): LIMITED,
    ("API_ERROR", "TROUBLE_MADE_TOMORROW"): AWAY,
    ("INVALID_REQUEST", "INVALID_FIELD"): OUR_BUG,
    ("INVALID_INPUT", "MADE_TOMORROW"): UNKNOWN,
    ("ITEM_ERROR", "MADE_TOMORROW"): UNKNOWN,
    ("INSTITUTION_ERROR", "MADE_TOMORROW"): UNKNOWN,
    ("MADE_TOMORROW", "ITEM_LOGIN_REQUIRED"): UNKNOWN,
    ("MADE_TOMORROW", "MADE_TOMORROW"): UNKNOWN,
}

# These two are not answers of /transactions/sync, and have tests of their own below.
ELSEWHERE = {("INVALID_INPUT", "INVALID_PUBLIC_TOKEN"), ("INVALID_INPUT", "INVALID_LINK_TOKEN")}


def test_the_products_table_and_this_one_have_the_same_rows():
    assert set(TABLE) == set(SYNC) | ELSEWHERE
    assert not set(TABLE) & set(BY_RULE)


STATUSES = {"RATE_LIMIT_EXCEEDED": 429, "API_ERROR": 500}


def fault(error: tuple[str, str], **options: Any) -> dict[str, Any]:
    kind, code = error
    return {"error_type": kind, "error_code": code, "status": STATUSES.get(kind, 400), "times": 1} | options


@pytest.fixture
def synced(bank):
    """A bank that was synced, with one transaction waiting at the source."""
    assert bank.turn() == engine.Outcome.SYNCED
    bank.add(name="Later")
    return bank


def assert_after(bank, expected: After) -> None:
    """Connection, Item and run say what happened, and nothing was merged."""
    if is_at_rest(expected):
        assert ProviderPause.objects.get().code == expected.code
        assert bank.run.status == RunStatus.RUNNING
        assert_untroubled(Connection.objects.get(pk=bank.connection.pk))
        return
    connection, run = Connection.objects.get(pk=bank.connection.pk), bank.run
    found = After(
        connection.error_code,
        Status(connection.status),
        expected.wait_s,
        Wait(connection.wait_reason),
        connection.failure_count,
        RunStatus(run.status),
    )
    assert found == expected
    assert connection.error_at
    assert connection.error_detail
    assert_waits(connection, expected.wait_s)
    if expected.run == RunStatus.FAILED:
        assert [told["code"] for told in run.errors] == [expected.code]
        assert run.errors[0]["remediation"]
        assert run.errors[0]["correlation_id"]
        assert run.finished_at
    assert (run.records_fetched, run.records_created) == (0, 0)


def assert_waits(connection: Connection, wait_s: tuple[float, float] | None, *, slack_s: float = 20) -> None:
    """slack_s: how long this test may have taken since."""
    if wait_s is None:
        assert connection.next_attempt_at is None
        return
    waits = (connection.next_attempt_at - timezone.now()).total_seconds()
    assert wait_s[0] - slack_s < waits <= wait_s[1], (waits, wait_s)


def assert_item_kept(bank, before: PlaidItem, expected: After) -> None:
    """The cursor has not moved, the work is not forgotten, and nobody holds it."""
    item = bank.item
    assert (item.cursor, item.synced_seq, item.last_synced_at) == (
        before.cursor,
        before.synced_seq,
        before.last_synced_at,
    )
    assert item.is_dirty
    assert item.lease_token is None
    assert bool(item.reauth_needed_at) == (expected.status == Status.NEEDS_REAUTH)
    if expected.run == RunStatus.FAILED:
        assert item.last_sync_error.startswith(f"{expected.code}: ")


def assert_fails_and_comes_back(bank, expected: After, mend) -> None:
    """One failing turn; the wait is kept; after the trouble is over the next turn brings everything."""
    before, ours = bank.item, bank.ours()
    outcome = engine.Outcome.WAITS if expected.run == RunStatus.RUNNING else engine.Outcome.FAILED
    assert bank.sync() == outcome
    assert_after(bank, expected)
    assert_item_kept(bank, before, expected)
    assert open_alerts() == told_of(bank, expected)
    assert bank.ours() == ours
    assert bank.turn() == engine.Outcome.NOTHING
    assert items_offer().small == []
    mend()
    if expected.status == Status.NEEDS_REAUTH:
        assert bank.sync() == engine.Outcome.NOTHING
        relink_completed(connection=bank.connection)
        assert bank.turn() == engine.Outcome.SYNCED
    else:
        assert again(bank) == engine.Outcome.SYNCED
    assert_healthy(bank)
    assert open_alerts() == []


def open_alerts() -> list[tuple]:
    """(whose, why) of what operators see."""
    events_dispatch(deadline=time.monotonic() + 10)
    return list(Alert.objects.filter(recovered_at=None).values_list("connection_id", "cause"))


def told_of(bank, expected: After) -> list[tuple]:
    """Alarming is what only a person mends: the owner, or an operator. What is tried again by itself is not."""
    if is_at_rest(expected):
        return [(None, expected.code)]
    is_persons = expected.status in (Status.FAILED, Status.NEEDS_REAUTH) or expected.reason == Wait.CONFIGURATION
    return [(bank.connection.pk, expected.code)] if is_persons else []


def is_at_rest(expected: After) -> bool:
    return expected.run == RunStatus.RUNNING and expected.wait_s is None


def again(bank) -> engine.Outcome:
    """The wait is over, and no news has come meanwhile."""
    ProviderPause.objects.update(next_probe_at=timezone.now())
    providers_probe()
    Connection.objects.filter(pk=bank.connection.pk).update(next_attempt_at=None)
    return bank.turn()


def assert_healthy(bank) -> None:
    assert_untroubled(Connection.objects.get(pk=bank.connection.pk))
    assert (bank.item.reauth_needed_at, bank.item.last_sync_error, bank.item.is_dirty) == (None, "", False)
    bank.assert_equal_to_source()


def assert_untroubled(connection: Connection) -> None:
    assert (connection.status, connection.error_code, connection.error_detail) == (Status.ACTIVE, "", "")
    assert (connection.failure_count, connection.next_attempt_at, connection.wait_reason) == (0, None, "")


def clear(bank) -> None:
    bank.simulator.control("DELETE", "faults")


ROWS = {error: expected for error, expected in (SYNC | BY_RULE).items() if expected not in (WITHDRAWN, REMOVED)}


@pytest.mark.parametrize("error", ROWS, ids=".".join)
def test_an_error_has_the_outcome_of_its_row(synced, error):
    synced.fault("error", **fault(error, times=10))
    assert_fails_and_comes_back(synced, ROWS[error], lambda: clear(synced))


# --- without an error of Plaid's: timeout, reset, TLS, nonsense ---
TRANSPORT: dict[str, tuple[str, dict[str, Any], After]] = {
    "timeout": ("hang", {"seconds": 6}, tries_again("provider_timeout", 30)),
    "reset": ("reset", {}, AWAY),
    "closed without an answer": ("commit_then_drop", {}, AWAY),
    "half a body": ("truncated", {}, AWAY),
    "broken JSON": ("malformed", {}, NONSENSE),
    "a proxy's page": ("html", {"status": 502}, AWAY),
    "a proxy's page that says it is fine": ("html", {"status": 200}, NONSENSE),
    "a proxy's refusal": ("html", {"status": 403}, NONSENSE),
    "a proxy's limit": ("html", {"status": 429}, LIMITED),
    "JSON of somebody else": ("error", {"status": 503, "body": {"message": "gateway"}}, AWAY),
    "an answer that lacks a field": ("missing_field", {"field": "next_cursor"}, NONSENSE),
    "an answer without end": ("oversized", {"bytes": 65 << 20}, AWAY),
}


@pytest.mark.parametrize("name", TRANSPORT)
def test_no_usable_answer_is_tried_again(synced, settings, name):
    kind, options, expected = TRANSPORT[name]
    if kind == "hang":
        settings.PLAID_TIMEOUT_S = 1.5
    synced.fault(kind, **({"times": 10} | options))
    assert_fails_and_comes_back(synced, expected, lambda: clear(synced))


def test_tls_that_fails_is_tried_again(synced, settings):
    plain = settings.PLAID_SANDBOX_URL
    settings.PLAID_SANDBOX_URL = plain.replace("http://", "https://")

    def mend() -> None:
        settings.PLAID_SANDBOX_URL = plain

    assert_fails_and_comes_back(synced, AWAY, mend)


def test_an_answer_that_is_late_or_new_in_kind_is_an_answer(synced):
    synced.fault("latency", seconds=0.5)
    synced.fault("new_enum", field="added.payment_channel", value="telepathy")
    assert synced.sync() == engine.Outcome.SYNCED
    synced.add(name="Later still")
    synced.fault("new_enum")
    assert synced.sync() == engine.Outcome.SYNCED
    assert_healthy(synced)


def test_every_way_in_which_a_call_can_go_wrong_is_met_here():
    elsewhere = {"error", "mutation", "latency", "new_enum"}
    assert {kind for kind, *_ in TRANSPORT.values()} | elsewhere == BEFORE | AFTER


# --- in a row ---
def fail(bank, error: tuple[str, str], times: int) -> list[Connection]:
    """The connection after each of so many failing turns."""
    bank.fault("error", **fault(error, times=times))
    seen = []
    for _ in range(times):
        assert bank.sync() == engine.Outcome.FAILED
        seen.append(Connection.objects.get(pk=bank.connection.pk))
    return seen


def test_the_third_unknown_error_in_a_row_fails_the_connection_and_a_success_brings_it_back(synced):
    seen = fail(synced, ("MADE_TOMORROW", "MADE_TOMORROW"), 3)
    assert [connection.status for connection in seen] == [Status.ACTIVE, Status.ACTIVE, Status.FAILED]
    assert_waits(seen[1], (48, 72))
    assert_waits(seen[2], (6 * HOUR, 6 * HOUR))
    assert SyncRun.objects.filter(status=RunStatus.FAILED).count() == 3
    assert synced.sync() == engine.Outcome.SYNCED
    assert_healthy(synced)


def test_a_success_in_between_starts_the_count_anew(synced):
    fail(synced, ("MADE_TOMORROW", "MADE_TOMORROW"), 2)
    assert synced.sync() == engine.Outcome.SYNCED
    synced.add(name="Later still")
    seen = fail(synced, ("MADE_TOMORROW", "MADE_TOMORROW"), 2)
    assert [connection.failure_count for connection in seen] == [1, 2]
    assert {connection.status for connection in seen} == {Status.ACTIVE}


def test_plaids_outage_is_asked_after_within_the_hour_and_never_more_rarely(synced):
    seen = fail(synced, ("API_ERROR", "INTERNAL_SERVER_ERROR"), 9)
    for number, connection in enumerate(seen[:6]):
        assert_waits(connection, (30 * 2**number * 0.8, 30 * 2**number * 1.2))
    for connection in seen[7:]:
        assert_waits(connection, (0.8 * HOUR, HOUR))
    assert [connection.status for connection in seen[1:4]] == [Status.ACTIVE, Status.FAILED, Status.FAILED]
    assert synced.sync() == engine.Outcome.SYNCED
    assert_healthy(synced)


def test_a_bank_that_is_down_alarms_nobody_for_a_day(synced):
    Connection.objects.update(last_sync_at=timezone.now() - timedelta(hours=25))  # as at its daily reading
    began = timezone.now()
    seen = fail(synced, ("INSTITUTION_ERROR", "INSTITUTION_DOWN"), 7)
    for number, connection in enumerate(seen[:4]):
        assert_waits(connection, (900 * 2**number * 0.8, 900 * 2**number * 1.2))
    for connection in seen[5:]:
        assert_waits(connection, (0.8 * 6 * HOUR, 6 * HOUR))
    assert {connection.status for connection in seen} == {Status.ACTIVE}
    assert {connection.failing_since for connection in seen} == {seen[0].failing_since}
    assert seen[0].failing_since > began
    Connection.objects.update(failing_since=timezone.now() - timedelta(hours=25))
    (after_a_day,) = fail(synced, ("INSTITUTION_ERROR", "INSTITUTION_DOWN"), 1)
    assert (after_a_day.status, after_a_day.error_code) == (Status.FAILED, "bank_unavailable")
    assert synced.sync() == engine.Outcome.SYNCED
    assert Connection.objects.get().failing_since is None


NOBODYS_FAILURE = [
    ("RATE_LIMIT_EXCEEDED", "TRANSACTIONS_SYNC_LIMIT"),
    ("INVALID_INPUT", "INVALID_API_KEYS"),
    ("INSTITUTION_ERROR", "UNAUTHORIZED_INSTITUTION"),
]


@pytest.mark.parametrize("error", NOBODYS_FAILURE, ids=".".join)
def test_what_is_nobodys_failure_is_never_counted(synced, error):
    expected = (SYNC | BY_RULE)[error]
    synced.fault("error", **fault(error, times=4))
    synced.dirty()
    for _ in range(4):
        again(synced)
        assert_after(synced, expected)
    assert again(synced) == engine.Outcome.SYNCED
    assert_healthy(synced)


def test_a_login_that_expires_again_after_its_repair_asks_again(synced):
    for _ in range(2):
        synced.fault("error", **fault(("ITEM_ERROR", "ITEM_LOGIN_REQUIRED")))
        assert_fails_and_comes_back(synced, SIGN_IN, lambda: None)
        synced.add(name="Later still")


# --- single rows that do more ---
def test_a_disowned_cursor_replays_everything_at_once(synced):
    synced.fault("error", **fault(("INVALID_REQUEST", "INVALID_FIELD"), error_message="cursor not of this Item"))
    assert synced.sync() == engine.Outcome.SYNCED
    assert synced.run.first_cursor == ""
    assert (synced.run.records_created, synced.run.records_unchanged) == (1, 30)
    assert_healthy(synced)


def test_a_mutation_restarts_at_once_and_is_no_failure(synced):
    synced.fault("mutation", times=2)
    assert synced.sync() == engine.Outcome.SYNCED
    assert synced.run.restarts == 2
    assert_healthy(synced)


def test_accounts_are_read_again_after_plaid_disowned_one(synced):
    assert synced.item.details_at
    synced.fault("error", **fault(("INVALID_INPUT", "INVALID_ACCOUNT_ID")))
    assert synced.sync() == engine.Outcome.FAILED
    assert synced.item.details_at is None
    assert synced.sync() == engine.Outcome.SYNCED
    assert synced.item.details_at
    asked = [row["path"] for row in synced.simulator.control("GET", "log")["requests"]]
    assert asked[-3:].count("/accounts/get") == 1


GONE = [code for (_, code), expected in SYNC.items() if expected == WITHDRAWN]


@pytest.mark.parametrize("code", GONE)
def test_access_that_was_withdrawn_is_over_and_its_item_removed_once(synced, simulator, alice, code):
    """However it was learned, by webhook or here: only a new link goes on, in the same connection."""
    synced.control("state", error_code=code)
    before, ours = synced.item, synced.ours()
    assert synced.sync() == engine.Outcome.FAILED
    assert_after(synced, WITHDRAWN)
    assert_item_kept(synced, before, WITHDRAWN)
    assert synced.item.removed_at
    is_quiet = SYNC["ITEM_ERROR" if code.startswith("ITEM") else "INVALID_INPUT", code] is REMOVED
    assert open_alerts() == ([] if is_quiet else told_of(synced, WITHDRAWN))
    assert again(synced) == engine.Outcome.NOTHING
    with pytest.raises(errors.Conflict) as caught:
        run_request(connection_id=synced.connection.pk, trigger=Trigger.USER)
    assert caught.value.code == "bank_revoked"
    assert [retired_items_remove(), retired_items_remove()] == [1, 0]
    asked = [row["path"] for row in simulator.control("GET", "log")["requests"]]
    assert asked.count("/item/remove") == 1
    assert synced.ours() == ours
    made = simulator.control("POST", "items", {"transactions": 30, "accounts": 2, "life": False})
    public_token_exchange(
        user=alice.user,
        workspace_id=alice.workspace.pk,
        public_token=made["public_token"],
        environment="sandbox",
        connection=synced.connection,
    )
    synced.plaid_id = made["item_id"]
    assert synced.turn() == engine.Outcome.SYNCED
    connection = Connection.objects.get()
    assert (connection.status, connection.error_code, synced.item.removed_at) == (Status.ACTIVE, "", None)
    assert set(synced.truth()) <= set(synced.ours())


@pytest.mark.parametrize("status", ["active", "needs_reauth"])
def test_an_item_that_is_gone_without_a_word_is_linked_anew_where_its_owner_asks(synced, simulator, alice, status):
    """Update mode has no Item to update: the link token is one for a fresh Link, into the same connection."""
    token = credential_of(synced.connection).reveal()
    PlaidClient("sandbox").item_remove(token)
    Connection.objects.update(status=status)
    asked = {"user": alice.user, "workspace_id": alice.workspace.pk, "environment": "sandbox", "is_hosted": True}
    link = plaid_links.link_create(**asked, connection=Connection.objects.get())
    finish_in_browser(link.hosted_link_url)
    plaid_links.link_poll(link.link_id)
    assert PlaidLink.objects.get().status == "finished"
    connection = Connection.objects.get()
    assert (connection.pk, connection.status) == (synced.connection.pk, Status.ACTIVE)
    assert synced.item.item_id != synced.plaid_id
    assert synced.sync() == engine.Outcome.SYNCED


def test_a_token_that_was_rotated_away_fails_the_connection_and_deletes_nothing(synced, settings):
    token = credential_of(synced.connection).reveal()
    rotate(synced.simulator, token, settings)
    assert synced.sync() == engine.Outcome.FAILED
    assert_after(synced, fails("bank_token_refused"))
    assert credential_of(synced.connection).reveal() == token
    assert len(synced.ours()) == 30


def rotate(simulator, token: str, settings) -> None:
    import httpx

    keys = {"PLAID-CLIENT-ID": settings.PLAID_CLIENT_ID, "PLAID-SECRET": settings.PLAID_SECRET}
    url = f"{simulator.url}/plaid/item/access_token/invalidate"
    answer = httpx.post(url, json={"access_token": token}, headers=keys, timeout=10)
    assert answer.json()["new_access_token"] != token


@pytest.mark.parametrize(
    ("state", "expected"),
    [
        ({"login_required": True}, SIGN_IN),
        ({"error_code": "NO_ACCOUNTS"}, NO_ACCOUNTS),
    ],
)
def test_the_state_of_an_item_shows_in_every_call_until_it_is_mended(synced, state, expected):
    synced.control("state", **state)
    healthy = {"login_required": False} if "login_required" in state else {"error_code": None}
    assert_fails_and_comes_back(synced, expected, lambda: synced.control("state", **healthy))


# --- other endpoints ---
@pytest.mark.parametrize("path", ["/accounts/get", "/item/get", "/institutions/get_by_id"])
@pytest.mark.parametrize(
    "error",
    [
        ("RATE_LIMIT_EXCEEDED", "ACCOUNTS_LIMIT"),
        ("INSTITUTION_ERROR", "INSTITUTION_DOWN"),
        ("ITEM_ERROR", "ITEM_LOGIN_REQUIRED"),
        ("INVALID_INPUT", "INVALID_API_KEYS"),
        ("MADE_TOMORROW", "MADE_TOMORROW"),
    ],
    ids=".".join,
)
def test_what_only_decorates_keeps_no_transaction_waiting(synced, path, error):
    """/transactions/sync decides what becomes of the connection; the details stay due and are read with the next sync."""
    PlaidItem.objects.update(details_at=None, institution_logo="")
    fault_of_all = {"path": path, "kind": "error", **fault(error, times=10)}
    synced.simulator.control("POST", "faults", fault_of_all)
    assert synced.sync() == engine.Outcome.SYNCED
    assert_healthy(synced)
    assert bool(synced.item.details_at) == (path == "/institutions/get_by_id")
    clear(synced)
    assert synced.sync() == engine.Outcome.SYNCED
    assert synced.item.details_at


@pytest.fixture
def exchange(alice, simulator):
    """Exchange one public token."""
    made = simulator.control("POST", "items", {"transactions": 5, "life": False})

    def call() -> Connection:
        return public_token_exchange(
            user=alice.user,
            workspace_id=alice.workspace.pk,
            public_token=made["public_token"],
            environment="sandbox",
        )

    return call


REFUSALS: dict[tuple[str, str], tuple[type[Exception], str]] = {
    ("INVALID_INPUT", "INVALID_PUBLIC_TOKEN"): (errors.RequestError, "invalid_public_token"),
    ("RATE_LIMIT_EXCEEDED", "RATE_LIMIT"): (errors.RateLimited, "provider_rate_limited"),
    ("INVALID_INPUT", "INVALID_API_KEYS"): (errors.Misconfigured, "provider_misconfigured"),
    ("INVALID_REQUEST", "UNKNOWN_FIELDS"): (errors.PermanentError, "internal_error"),
}


@pytest.mark.parametrize("error", REFUSALS, ids=".".join)
def test_a_refused_exchange_leaves_nothing_and_may_be_tried_again(exchange, simulator, error):
    kind, code = REFUSALS[error]
    simulator.control("POST", "faults", {"path": "/item/public_token/exchange", "kind": "error", **fault(error)})
    with pytest.raises(kind):
        exchange()
    refused = PlaidExchange.objects.get()
    assert (refused.status, refused.error_code, refused.connection, refused.ciphertext) == ("refused", code, None, None)
    assert not Connection.objects.exists()
    assert exchange().status == Status.ACTIVE


UNCERTAIN = {name: row for name, row in TRANSPORT.items() if name != "an answer that lacks a field"} | {
    "an answer without its token": ("missing_field", {"field": "access_token"}, NONSENSE),
    "an error of Plaid's own": ("error", fault(("API_ERROR", "INTERNAL_SERVER_ERROR")), AWAY),
    "an unknown error": ("error", fault(("MADE_TOMORROW", "MADE_TOMORROW")), UNKNOWN),
}


@pytest.mark.parametrize("name", UNCERTAIN)
def test_an_exchange_without_a_clear_answer_is_not_repeated(exchange, simulator, settings, name):
    kind, options, _ = UNCERTAIN[name]
    if kind == "hang":
        settings.PLAID_TIMEOUT_S = 1.5
    simulator.control("POST", "faults", {"path": "/item/public_token/exchange", "kind": kind, **options})
    for _ in range(2):
        with pytest.raises(errors.OutcomeUnknown):
            exchange()
    lost = PlaidExchange.objects.get()
    assert (lost.status, lost.connection) == ("unknown", None)
    asked = [row["path"] for row in simulator.control("GET", "log")["requests"]]
    assert asked.count("/item/public_token/exchange") <= 1  # one that hangs is logged when it ends
    assert not Connection.objects.exists()


def link_token(alice, **given: Any) -> plaid_links.LinkToken:
    asked = {"user": alice.user, "workspace_id": alice.workspace.pk, "environment": "sandbox"}
    return plaid_links.link_create(**(asked | given))


NO_LINK = {
    ("INSTITUTION_ERROR", "UNAUTHORIZED_INSTITUTION"): errors.Misconfigured,
    ("INVALID_INPUT", "INVALID_API_KEYS"): errors.Misconfigured,
    ("INVALID_INPUT", "INVALID_PRODUCT"): errors.PermanentError,
    ("API_ERROR", "PLANNED_MAINTENANCE"): errors.TemporaryError,
    ("MADE_TOMORROW", "MADE_TOMORROW"): errors.ProviderError,
}


@pytest.mark.parametrize("error", NO_LINK, ids=".".join)
def test_a_link_token_that_cannot_be_had_leaves_nothing(alice, simulator, error):
    simulator.control("POST", "faults", {"path": "/link/token/create", "kind": "error", **fault(error)})
    with pytest.raises(NO_LINK[error]):
        link_token(alice)
    assert not PlaidLink.objects.exists()
    assert link_token(alice).link_token


def poll(made: plaid_links.LinkToken) -> PlaidLink:
    plaid_links.link_poll(made.link_id)
    return PlaidLink.objects.get(pk=made.link_id)


def test_a_link_token_that_plaid_does_not_know_any_more_ends_its_session(alice, simulator):
    made = link_token(alice, is_hosted=True)
    error = fault(("INVALID_INPUT", "INVALID_LINK_TOKEN"))
    simulator.control("POST", "faults", {"path": "/link/token/get", "kind": "error", **error})
    link = poll(made)
    assert link.status == "failed"
    assert link.status_reason
    assert made.link_id not in plaid_links.links_due()


@pytest.mark.parametrize(
    "error", [("API_ERROR", "INTERNAL_SERVER_ERROR"), ("RATE_LIMIT_EXCEEDED", "RATE_LIMIT")], ids=".".join
)
def test_a_session_that_cannot_be_asked_for_now_stays_open(alice, simulator, error):
    made = link_token(alice, is_hosted=True)
    simulator.control("POST", "faults", {"path": "/link/token/get", "kind": "error", **fault(error)})
    link = poll(made)
    assert (link.status, link.lease_token) == ("open", None)
    assert link.next_poll_at > timezone.now()


def test_a_failing_connection_that_meets_a_limit_stays_failing(synced):
    """A wait is no success."""
    fail(synced, ("MADE_TOMORROW", "MADE_TOMORROW"), 3)
    synced.fault("error", **fault(("RATE_LIMIT_EXCEEDED", "TRANSACTIONS_SYNC_LIMIT")))
    assert synced.sync() == engine.Outcome.WAITS
    assert_after(synced, replace(LIMITED, status=Status.FAILED, failures=3))
