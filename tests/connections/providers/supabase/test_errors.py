"""Every row of the table of errors, as the simulated store really answers it, is what the engine has to do."""

import pytest

from connections.errors import (
    CausewayError,
    NeedsReauth,
    PermanentError,
    ProviderError,
    RateLimited,
    RejectedRecord,
    TemporaryError,
)
from connections.http import Answer, Headers
from connections.providers.supabase.errors import (
    Busy,
    NotPrepared,
    ParentMissing,
    Permission,
    StaleSchema,
    ValueTaken,
    classify,
)

from .conftest import customer

# code, HTTP status, class, our code
TABLE = [
    ("PGRST000", 503, TemporaryError, "provider_unavailable"),
    ("PGRST001", 503, TemporaryError, "provider_unavailable"),
    ("PGRST002", 503, TemporaryError, "provider_unavailable"),
    ("PGRST003", 504, Busy, "provider_unavailable"),
    ("PGRST100", 400, PermanentError, "internal_error"),
    ("PGRST102", 400, PermanentError, "internal_error"),
    ("PGRST108", 400, PermanentError, "internal_error"),
    ("PGRST122", 400, PermanentError, "internal_error"),
    ("PGRST106", 406, NotPrepared, "store_not_prepared"),
    ("PGRST107", 406, PermanentError, "internal_error"),
    ("PGRST116", 406, PermanentError, "internal_error"),
    ("PGRST124", 400, PermanentError, "store_touches_too_much"),
    ("PGRST202", 404, StaleSchema, "store_not_prepared"),
    ("PGRST203", 300, NotPrepared, "store_not_prepared"),
    ("PGRST204", 400, StaleSchema, "store_not_prepared"),
    ("PGRST205", 404, StaleSchema, "store_not_prepared"),
    ("PGRST301", 401, NeedsReauth, "store_key_refused"),
    ("PGRST302", 401, NeedsReauth, "store_key_refused"),
    ("PGRST303", 401, NeedsReauth, "store_key_refused"),
    ("22P02", 400, RejectedRecord, "record_rejected"),
    ("22003", 400, RejectedRecord, "record_rejected"),
    ("22007", 400, RejectedRecord, "record_rejected"),
    ("22008", 400, RejectedRecord, "record_rejected"),
    ("22001", 400, RejectedRecord, "record_rejected"),
    ("23502", 400, RejectedRecord, "record_rejected"),
    ("23514", 400, RejectedRecord, "record_rejected"),
    ("42703", 400, NotPrepared, "store_not_prepared"),
    ("42P10", 400, NotPrepared, "store_not_prepared"),
    ("23503", 409, ParentMissing, "store_parent_missing"),
    ("23505", 409, ValueTaken, "store_value_taken"),
    ("25006", 405, TemporaryError, "store_read_only"),
    ("42501", 403, Permission, "store_not_prepared"),
    ("42501", 401, NeedsReauth, "store_key_refused"),
    ("42P01", 404, NotPrepared, "store_not_prepared"),
    ("42883", 404, NotPrepared, "store_not_prepared"),
    ("40001", 500, Busy, "provider_unavailable"),
    ("40P01", 500, Busy, "provider_unavailable"),
    ("55P03", 500, Busy, "provider_unavailable"),
    ("57014", 500, Busy, "provider_unavailable"),
    ("57P01", 503, TemporaryError, "provider_unavailable"),
    ("08006", 503, TemporaryError, "provider_unavailable"),
    ("53300", 503, TemporaryError, "provider_unavailable"),
    ("53400", 500, Busy, "provider_unavailable"),
    ("21000", 500, PermanentError, "internal_error"),
    ("21000", 400, PermanentError, "internal_error"),
    ("P0001", 400, RejectedRecord, "record_rejected"),
    ("PT418", 418, RejectedRecord, "record_rejected"),
    ("XX000", 500, ProviderError, "provider_error"),
    ("PGRST999", 500, ProviderError, "provider_error"),
    ("", 401, NeedsReauth, "store_key_refused"),
    ("", 402, TemporaryError, "store_restricted"),
    ("", 429, RateLimited, "provider_rate_limited"),
    ("", 503, TemporaryError, "provider_unavailable"),
    *(("", status, TemporaryError, "provider_unavailable") for status in range(520, 525)),
    ("", 540, TemporaryError, "store_paused"),
    ("", 544, TemporaryError, "provider_timeout"),
]


def refusal(project, kind: str) -> CausewayError:
    """The error of a write of two records, whether it is raised or told of a record."""
    try:
        written = project.write(project.access(kind), [customer(1), customer(2)])
    except ProviderError as error:
        return error
    (failed,) = (one.error for one in written.values() if one.error)
    return failed


@pytest.mark.parametrize(("code", "status", "kind", "ours"), TABLE)
def test_an_answer_of_the_data_api_is_what_the_table_says(project, code, status, kind, ours):
    given = {"code": code, "message": "said so", "hint": "do that"} if code else {}
    # A batch that was refused for a row is sent in halves: the first half is refused as well.
    project.supabase.fault("error", path="POST /rest/v1/customers", status=status, times=2, **given)
    error = refusal(project, "rest")
    assert (type(error), error.code) == (kind, ours)
    assert error.provider_code == (code or f"HTTP_{status}")
    assert error.provider == "supabase"
    if kind is NotPrepared or kind is Permission:
        assert "do that" in error.detail


@pytest.mark.parametrize(
    ("sql", "kind", "code"),
    [
        ("ALTER TABLE customers ADD CHECK (name <> 'Customer 1')", RejectedRecord, "23514"),
        ("ALTER TABLE customers ADD CONSTRAINT one UNIQUE (source_system)", ValueTaken, "23505"),
        ("ALTER TABLE customers ADD must text NOT NULL", RejectedRecord, "23502"),
        ("ALTER TABLE customers DROP email", NotPrepared, "42703"),
        ("ALTER TABLE customers ALTER name TYPE char(3)", RejectedRecord, "22001"),
        (
            "ALTER TABLE customers DROP CONSTRAINT customers_connection_id_source_system_source_id_key",
            NotPrepared,
            "42P10",
        ),
        ("DROP TABLE customers", NotPrepared, "42P01"),
    ],
)
def test_the_databases_own_errors_mean_the_same_over_postgresql(project, sql, kind, code):
    project.supabase.sql(sql)
    try:
        written = project.write(project.access("postgres"), [customer(1), customer(2)])
    except ProviderError as error:
        found = error
    else:
        found = next(one.error for one in written.values() if one.error)
    assert (type(found), found.provider_code) == (kind, code)


def test_a_login_without_grants_is_told_so(bare):
    bare.prepare()
    login = bare.supabase.control(f"projects/{bare.supabase.ref}/roles", name="poor")
    user = f"poor.{bare.supabase.ref}"
    access = bare.access("postgres", secrets={"dsn": bare.dsn(user=user, password=login["password"])})
    with pytest.raises(Permission):
        bare.write(access, [customer(1)])


def test_a_read_only_database_is_waited_for(project, kind):
    project.supabase.set(read_only=True)
    error = refusal(project, kind)
    assert (type(error), error.code, error.retry_after_s) == (TemporaryError, "store_read_only", 900)


def test_a_cut_connection_is_temporary(project):
    project.supabase.fault("error", path="postgres", code="57P01", message="terminating connection")
    assert isinstance(refusal(project, "postgres"), TemporaryError)


def test_what_the_cache_does_not_know_gets_a_minute_and_is_then_missing(project):
    project.supabase.set(auto_reload=False)
    project.supabase.sql("ALTER TABLE customers RENAME TO clients; NOTIFY pgrst")
    access = project.access()
    for _ in range(2):
        with pytest.raises(StaleSchema) as raised:
            project.write(access, [customer(1)])
        assert raised.value.retry_after_s == 60
    project.facts["stale_customers"] = "2026-01-01T00:00:00+00:00"
    with pytest.raises(NotPrepared):
        project.write(access, [customer(1)])
    project.supabase.sql("ALTER TABLE clients RENAME TO customers; NOTIFY pgrst")
    project.facts["stale_customers"] = "2026-01-01T00:00:00+00:00"
    assert project.write(access, [customer(1)])["1"].outcome == "created"
    assert project.facts == {}


def test_a_busy_store_gets_fewer_rows_at_once(project):
    project.supabase.fault("error", path="POST /rest/v1/customers", code="57014", status=500, times=2)
    written = project.write(project.access(), [customer(number) for number in range(100)])
    assert {one.outcome for one in written.values()} == {"created"}
    sent = [one["rows"] for one in project.requests() if one["path"].endswith("customers") and one["method"] == "POST"]
    assert sent[2:] == [25, 25, 50]


def test_bad_values_are_not_quoted(project):
    written = project.write(project.access(), [customer(1, source_created_at="alice@example.org was here")])
    told = f"{written['1'].error.detail} {written['1'].error.operator_detail}"
    assert "22007" in told
    assert "alice" not in told


@pytest.mark.parametrize("body", [b"", b"<html>", b"[1]", b"null", b'{"code":', b'{"code": {}}', b"\xff"])
@pytest.mark.parametrize("status", [200, 302, 400, 401, 418, 500, 599])
def test_no_body_breaks_the_table(status, body):
    error = classify(Answer(status, Headers(), body, 1, "https://x.example"))
    assert (error is None) == (status == 200)
