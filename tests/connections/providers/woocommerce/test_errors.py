"""Every row of the table of errors, as the simulated shop answers it over HTTP; and whatever answers in its place."""

import pytest

from connections import errors
from connections.http import Answer, Headers
from connections.providers.woocommerce import client
from connections.providers.woocommerce.errors import TABLE, Exists, Gone, Overloaded, classify, classify_body
from tests.connections import peer as peers

from .conftest import access_to


@pytest.fixture
def reader(shop):
    return client.Shop.of(access_to(shop))


def raised(call) -> errors.CausewayError:
    with pytest.raises(errors.CausewayError) as caught:
        call()
    return caught.value


def told(error) -> tuple[type, str, str]:
    return type(error), error.provider_code, error.code


# --- the shop's own words ---
def test_a_parameter_that_is_not_valid_names_its_field(reader):
    error = raised(lambda: reader.rows("orders", {"per_page": 101}))
    assert told(error) == (errors.RejectedRecord, "rest_invalid_param", "record_rejected")
    assert list(error.fields) == ["per_page"]


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("orders/999999", "woocommerce_rest_shop_order_invalid_id"),
        ("products/999999", "woocommerce_rest_product_invalid_id"),
        ("customers/999999", None),
        ("coupons/999999", "woocommerce_rest_shop_coupon_invalid_id"),
    ],
)
def test_what_is_not_there_is_gone(reader, path, code):
    error = raised(lambda: reader.get(path))
    assert isinstance(error, Gone), told(error)
    assert code in (None, error.provider_code)


def test_a_path_that_no_plugin_has_is_a_missing_api(reader):
    error = raised(lambda: reader.get("unicorns"))
    assert told(error) == (errors.PermanentError, "rest_no_route", "shop_api_missing")


def test_a_sku_that_exists_names_its_product(reader):
    made = reader.write("POST", "products", {"name": "Mug", "sku": "MUG-1"})
    error = raised(lambda: reader.write("POST", "products", {"name": "Cup", "sku": "MUG-1"}))
    assert isinstance(error, Exists)
    assert error.external_id == str(made["id"])


def test_an_address_that_exists_is_told(reader):
    reader.write("POST", "customers", {"email": "ann@example.com"})
    error = raised(lambda: reader.write("POST", "customers", {"email": "ann@example.com"}))
    assert (type(error), error.provider_code) == (Exists, "registration-error-email-exists")


def test_a_refund_that_is_too_large_is_no_reason_to_try_again(reader, shop):
    [order] = shop.ops({"op": "place"})
    error = raised(lambda: reader.write("POST", f"orders/{order}/refunds", {"amount": "999999", "api_refund": False}))
    assert told(error)[:2] == (errors.RejectedRecord, "woocommerce_rest_cannot_create_order_refund")


def test_more_than_a_batch_holds_is_our_fault(reader):
    body = {"create": [{"name": str(number)} for number in range(101)]}
    error = raised(lambda: reader.write("POST", "products/batch", body))
    assert told(error) == (errors.PermanentError, "woocommerce_rest_request_entity_too_large", "internal_error")


def test_what_can_only_be_destroyed_is_not_put_into_the_bin(reader, shop):
    made = reader.write("POST", "customers", {"email": "ann@example.com"})
    error = raised(lambda: reader.write("DELETE", f"customers/{made['id']}", None))
    assert told(error)[:2] == (errors.RejectedRecord, "woocommerce_rest_trash_not_supported")


def test_what_is_in_the_bin_already_is_gone(reader, shop):
    made = reader.write("POST", "products", {"name": "Mug", "sku": "MUG-1"})
    reader.write("DELETE", f"products/{made['id']}", None)
    error = raised(lambda: reader.write("DELETE", f"products/{made['id']}", None))
    assert (type(error), error.provider_code) == (Gone, "woocommerce_rest_already_trashed")


def test_keys_that_are_refused_ask_for_a_person(shop):
    wrong = client.Shop.of(access_to(shop, secrets={"consumer_secret": "cs_" + "0" * 40}))
    error = raised(lambda: wrong.rows("orders"))
    assert told(error) == (errors.NeedsReauth, "woocommerce_rest_authentication_error", "shop_keys_refused")
    unknown = client.Shop.of(access_to(shop, secrets={"consumer_key": "ck_" + "0" * 40}))
    assert isinstance(raised(lambda: unknown.rows("orders")), errors.NeedsReauth)


# --- what stands in its place ---
@pytest.mark.parametrize(
    ("fault", "options", "kind", "code"),
    [
        ("html", {"page": "waf"}, errors.TemporaryError, "shop_blocked"),
        ("html", {"page": "captcha"}, errors.TemporaryError, "shop_blocked"),
        ("html", {"page": "maintenance"}, errors.TemporaryError, "provider_unavailable"),
        ("html", {"page": "critical"}, Overloaded, "provider_unavailable"),
        ("html", {"page": "gateway"}, Overloaded, "provider_unavailable"),
        ("error", {"status": 429, "retry_after": 7}, errors.RateLimited, "provider_rate_limited"),
        ("redirect", {"to": "https://www.shop.example"}, errors.PermanentError, "shop_moved"),
        ("truncated", {}, errors.TemporaryError, None),
        ("reset", {}, errors.TemporaryError, None),
    ],
)
def test_faults_of_the_host_have_their_class(reader, shop, fault, options, kind, code):
    shop.fault(fault, **options)
    error = raised(lambda: reader.rows("orders"))
    assert type(error) is kind, told(error)
    assert code in (None, error.code)
    assert error.retry_after_s == options.get("retry_after")
    assert reader.rows("orders") == []  # it was this answer's fault alone


def test_notices_and_a_byte_order_mark_before_the_json_are_read_over(open_shop):
    shop = open_shop(orders=3, products=1, customers=1)
    shop.fault("notice", bom=True)
    assert len(client.Shop.of(access_to(shop)).rows("orders", {"status": "any", "per_page": 2})) == 2


@pytest.mark.parametrize(
    "body",
    [
        b'[{"id":1},{"id":2}',
        b'<br />\nNotice: x[0]\n[{"id":1},{"id":2}',
        b'<html>{"id":1}',
        b"",
        b"null",
        b"0",
        b'{"id":1}',
        b'"[]"',
        b"[1e999999]",
    ],
)
def test_what_is_no_list_is_never_taken_for_one(shop, peer, body):
    other = peer(peers.whole(body, b"Content-Type: application/json"))
    reader = client.Shop.of(access_to(shop, config={"store_url": other.origin}))
    assert isinstance(raised(lambda: reader.rows("orders")), errors.TemporaryError)


@pytest.mark.parametrize("data", ["500", "null", '{"status":500}', "[]", '"x"', '{"status":null,"params":[]}'])
def test_odd_shapes_of_data_break_nothing(shop, peer, data):
    body = b'{"code":"woocommerce_rest_cannot_create_order_refund","message":"No.","data":%s}' % data.encode()
    other = peer(peers.whole(body, status=b"500 Internal Server Error"))
    reader = client.Shop.of(access_to(shop, config={"store_url": other.origin}))
    assert isinstance(raised(lambda: reader.get("orders/1")), errors.RejectedRecord)


@pytest.mark.parametrize(
    ("status", "kind"),
    [(403, errors.TemporaryError), (406, errors.TemporaryError), (415, errors.TemporaryError), (404, errors.PermanentError),
     (500, Overloaded), (501, errors.TemporaryError), (503, errors.TemporaryError), (504, Overloaded),
     (520, Overloaded), (521, errors.TemporaryError), (524, Overloaded), (429, errors.RateLimited)],
)  # fmt: skip
def test_a_status_without_the_shop_s_words_has_its_class(status, kind):
    error = classify(Answer(status, Headers([("Content-Type", "text/html")]), b"<html>no</html>", 1, "https://x"))
    assert type(error) is kind


def test_a_code_that_nobody_classified_is_nothing_but_an_unknown_error():
    assert type(classify_body({"code": "plugin_says_hello", "message": "Hi"}, status=400)) is errors.ProviderError
    assert type(classify_body({"code": "plugin_says_hello"}, status=500)) is errors.TemporaryError


KEYS = (errors.NeedsReauth, "shop_keys_refused")
REJECTED, GONE, EXISTS = (
    (errors.RejectedRecord, "record_rejected"),
    (Gone, "record_rejected"),
    (Exists, "record_rejected"),
)
OUR_BUG, DOWN = (errors.PermanentError, "internal_error"), (Overloaded, "provider_unavailable")
# (HTTP status, code) as a shop sends it → (class, our code)
ROWS: dict[tuple[int, str], tuple[type[Exception], str]] = {
    **{(401, f"woocommerce_rest_cannot_{verb}"): KEYS for verb in ("view", "edit", "create", "delete", "batch")},
    (403, "woocommerce_rest_cannot_view"): KEYS,  # for a user that the shop knows
    (401, "woocommerce_rest_authentication_error"): KEYS,
    (401, "woocommerce_rest_authentication_missing_parameter"): KEYS,
    (401, "rest_forbidden"): KEYS,
    (401, "rest_cannot_access"): KEYS,
    (400, "rest_invalid_param"): REJECTED,
    (400, "rest_missing_callback_param"): REJECTED,
    (400, "rest_invalid_json"): OUR_BUG,
    (413, "woocommerce_rest_request_entity_too_large"): OUR_BUG,
    **{(400, f"woocommerce_rest_invalid_{what}"): REJECTED for what in ("customer_id", "product_id", "coupon", "id")},
    (500, "woocommerce_rest_cannot_create_order_refund"): REJECTED,
    (500, "woocommerce_rest_invalid_order_refund"): REJECTED,
    (400, "woocommerce_rest_shop_webhook_invalid_topic"): REJECTED,
    (501, "woocommerce_rest_trash_not_supported"): REJECTED,
    (400, "product_invalid_sku"): EXISTS,
    (400, "woocommerce_rest_product_sku_already_exists"): EXISTS,
    (400, "registration-error-email-exists"): EXISTS,
    (400, "woocommerce_rest_customer_exists"): EXISTS,
    (404, "woocommerce_rest_shop_order_invalid_id"): GONE,
    (400, "woocommerce_rest_shop_order_invalid_id"): GONE,  # on an update
    (404, "woocommerce_rest_shop_order_refund_invalid_id"): GONE,
    (404, "woocommerce_rest_product_invalid_id"): GONE,
    (404, "woocommerce_rest_product_variation_invalid_id"): GONE,
    (404, "woocommerce_rest_shop_coupon_invalid_id"): GONE,
    (404, "woocommerce_rest_shop_webhook_invalid_id"): GONE,
    (404, "woocommerce_rest_tax_invalid_id"): GONE,
    (404, "wc_user_invalid_id"): GONE,
    (410, "woocommerce_rest_already_trashed"): GONE,
    (404, "rest_no_route"): (errors.PermanentError, "shop_api_missing"),
    (500, "internal_server_error"): DOWN,
    (500, "wp_die"): DOWN,
}


@pytest.mark.parametrize(("told_by_shop", "expected"), ROWS.items(), ids=lambda row: str(row[:2]))
def test_each_row_of_the_table_is_one_class_over_the_wire(reader, shop, told_by_shop, expected):
    status, code = told_by_shop
    shop.fault("error", status=status, body={"code": code, "message": "Words.", "data": {"status": status}})
    error = raised(lambda: reader.get("orders/1"))
    assert (type(error), error.code, error.provider_code) == (*expected, code)


def test_every_row_of_the_table_is_tried():
    assert {code for _status, code in ROWS} == set(TABLE)


def test_no_error_tells_the_keys(shop, capfd):
    reader = client.Shop.of(access_to(shop))
    shop.fault("html", page="waf")
    error = raised(lambda: reader.rows("orders", {"search": reader.keys.secret}))
    assert reader.keys.secret not in f"{error} {error.operator_detail} {reader.keys!r}"
