"""The closed table: every error of Plaid's has one policy, and an unknown one is never taken for fine."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connections import errors
from connections.providers.plaid.errors import TABLE, classify, classify_error


@pytest.mark.parametrize(
    ("error_type", "error_code", "kind"),
    [
        ("ITEM_ERROR", "ITEM_LOGIN_REQUIRED", errors.NeedsReauth),
        ("ITEM_ERROR", "ITEM_LOCKED", errors.NeedsReauth),
        ("ITEM_ERROR", "NO_ACCOUNTS", errors.NeedsReauth),
        ("ITEM_ERROR", "ITEM_NOT_FOUND", errors.AccessWithdrawn),
        ("INVALID_INPUT", "USER_PERMISSION_REVOKED", errors.AccessWithdrawn),
        ("ITEM_ERROR", "PRODUCT_NOT_READY", errors.TemporaryError),
        ("TRANSACTIONS_ERROR", "TRANSACTIONS_SYNC_MUTATION_DURING_PAGINATION", errors.MutationDuringPagination),
        ("INSTITUTION_ERROR", "INSTITUTION_DOWN", errors.TemporaryError),
        ("INSTITUTION_ERROR", "UNAUTHORIZED_INSTITUTION", errors.Misconfigured),
        ("RATE_LIMIT_EXCEEDED", "TRANSACTIONS_SYNC_LIMIT", errors.RateLimited),
        ("RATE_LIMIT_EXCEEDED", "A_LIMIT_MADE_TOMORROW", errors.RateLimited),
        ("RATE_LIMIT_EXCEEDED", "CREDITS_EXHAUSTED", errors.Misconfigured),
        ("API_ERROR", "INTERNAL_SERVER_ERROR", errors.TemporaryError),
        ("API_ERROR", "NEW_TROUBLE", errors.TemporaryError),
        ("INVALID_INPUT", "INVALID_API_KEYS", errors.KeysRefused),
        ("INVALID_INPUT", "INVALID_PUBLIC_TOKEN", errors.RequestError),
        ("INVALID_REQUEST", "UNKNOWN_FIELDS", errors.PermanentError),
        ("SANDBOX_ERROR", "SANDBOX_WEBHOOK_INVALID", errors.PermanentError),
        ("INVALID_INPUT", "INVALID_ACCESS_TOKEN", errors.PermanentError),
        ("SOMETHING", "NEW", errors.ProviderError),
    ],
)
def test_each_row_has_its_policy(error_type, error_code, kind):
    found = classify_error({"error_type": error_type, "error_code": error_code, "request_id": "r1"})
    assert type(found) is kind
    assert (found.provider_type, found.provider_code, found.request_id) == (error_type, error_code, "r1")


@pytest.mark.parametrize(
    ("error_code", "code"),
    [
        ("ADDITIONAL_CONSENT_REQUIRED", "bank_consent_required"),
        ("INVALID_ACCESS_TOKEN", "bank_token_refused"),
        ("USER_PERMISSION_REVOKED", "bank_revoked"),
    ],
)
def test_a_person_reads_what_is_true(error_code, code):
    assert classify_error({"error_type": "INVALID_INPUT", "error_code": error_code}).code == code


def test_a_disowned_cursor_is_told_from_other_bad_fields():
    said = {"error_type": "INVALID_REQUEST", "error_code": "INVALID_FIELD"}
    assert isinstance(
        classify_error(said | {"error_message": "cursor not associated with access_token"}), errors.CursorDisowned
    )
    assert isinstance(classify_error(said | {"error_message": "redirect_uri must be https"}), errors.PermanentError)


def test_every_policy_of_the_table_can_be_made():
    for error_type, error_code in TABLE:
        found = classify_error({"error_type": error_type, "error_code": error_code})
        assert found.entry.detail


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (502, b"<html>Bad gateway</html>", errors.TemporaryError),
        (429, b"slow down", errors.RateLimited),
        (400, b"[]", errors.TemporaryError),
        (404, None, errors.TemporaryError),
        (500, b'{"error_code": 7}', errors.TemporaryError),
    ],
)
def test_an_answer_without_a_plaid_error_is_tried_again(status, body, kind):
    assert type(classify(status, body)) is kind


def test_a_limit_of_somebody_in_between_is_no_pacing_of_ours():
    found = classify(429, b"slow down")
    assert (found.code, found.provider_code) == ("provider_rate_limited", "HTTP_429")


def test_an_operator_reads_what_plaids_support_asks_for():
    found = classify_error({"error_type": "INVALID_REQUEST", "error_code": "UNKNOWN_FIELDS", "request_id": "r1"})
    assert found.operator_detail.endswith("(request_id r1)")


@given(
    st.integers(400, 599),
    st.one_of(
        st.binary(),
        st.dictionaries(st.text(), st.none() | st.text() | st.integers()).map(lambda d: json.dumps(d).encode()),
    ),
)
def test_it_never_raises_whatever_the_body_is(status, body):
    assert isinstance(classify(status, body), errors.CausewayError)
