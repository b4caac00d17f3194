"""Plaid's webhooks are believed only with a proof, and the proof is checked against the simulator's real key endpoint."""

import base64
import hashlib
import hmac
import json
import time

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from django.core.cache import cache
from django.utils.datastructures import CaseInsensitiveMapping
from redis.exceptions import ConnectionError as RedisConnectionError

from connections.errors import TemporaryError
from connections.providers.plaid import webhooks
from connections.providers.plaid.webhooks import InboundEvent, UnverifiedWebhook, Verified, check_signature, parse

BODY = b'{\n  "webhook_type": "TRANSACTIONS",\n  "environment": "sandbox"\n}'


@pytest.fixture(autouse=True)
def no_keys_known(servers):
    cache.clear()
    webhooks._keys.clear()


class Signer:
    """A key of a test's own, published or not, and JWTs made with it."""

    def __init__(self, kid: str = "key-1", **fields) -> None:
        self.private = ec.generate_private_key(ec.SECP256R1())
        numbers = self.private.public_key().public_numbers()
        x, y = (base64.urlsafe_b64encode(n.to_bytes(32, "big")).rstrip(b"=").decode() for n in (numbers.x, numbers.y))
        self.jwk = {"alg": "ES256", "crv": "P-256", "kty": "EC", "use": "sig", "kid": kid, "x": x, "y": y} | {
            "created_at": 1,
            "expired_at": None,
            **fields,
        }

    @property
    def pem(self) -> bytes:
        return self.private.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )

    def headers(
        self, body: bytes = BODY, *, age_s: float = 0, header: dict | None = None, **claims
    ) -> CaseInsensitiveMapping:
        claims = {"iat": int(time.time() - age_s), "request_body_sha256": hashlib.sha256(body).hexdigest()} | claims
        token = jwt.encode(claims, self.pem, algorithm="ES256", headers={"kid": self.jwk["kid"]} | (header or {}))
        return CaseInsensitiveMapping({"plaid-verification": token})


@pytest.fixture
def published(monkeypatch):
    """Keys as Plaid publishes them: {kid: JWK}; `asked` lists the lookups."""

    class Published(dict):
        asked: list[str]

    keys = Published()
    keys.asked = []

    def fetch(environment: str, key_id: str):
        keys.asked.append(key_id)
        return keys.get(key_id)

    monkeypatch.setattr(webhooks, "_fetch", fetch)
    return keys


@pytest.fixture
def signer(published) -> Signer:
    made = Signer()
    published["key-1"] = made.jwk
    return made


def refusal(headers, body: bytes = BODY) -> str:
    with pytest.raises(UnverifiedWebhook) as caught:
        check_signature(headers, body)
    assert caught.value.entry.status == 401
    return caught.value.operator_detail


# --- HMAC ---
def signature(body: bytes, secret: bytes = b"shared") -> str:
    return hmac.new(secret, body, hashlib.sha256).hexdigest()


def test_hmac_that_fits_is_accepted(settings):
    settings.PLAID_WEBHOOK_SECRET = "shared"
    headers = CaseInsensitiveMapping({"X-Plaid-Signature": signature(BODY).upper()})
    assert check_signature(headers, BODY) == Verified("hmac")


@pytest.mark.parametrize("given", [signature(BODY, b"other"), signature(BODY + b" "), "", "ü", "0" * 64])
def test_wrong_hmac_is_refused_even_beside_a_good_jwt(settings, signer, given):
    settings.PLAID_WEBHOOK_SECRET = "shared"
    headers = CaseInsensitiveMapping({**signer.headers(), "X-Plaid-Signature": given})
    assert refusal(headers) == "the HMAC does not fit the body"


def test_hmac_without_a_secret_here_proves_nothing(settings, signer):
    settings.PLAID_WEBHOOK_SECRET = ""
    given = {"X-Plaid-Signature": signature(BODY, b"")}
    assert refusal(CaseInsensitiveMapping(given)) == "no signature"
    assert check_signature(CaseInsensitiveMapping(given | dict(signer.headers())), BODY).method == "jwt"


# --- JWT ---
def test_jwt_of_a_published_key_is_accepted(signer):
    verified = check_signature(signer.headers(), BODY)
    assert (verified.method, verified.environment, verified.key_id) == ("jwt", "sandbox", "key-1")
    assert abs(verified.issued_at - time.time()) < 5


def test_nothing_is_refused_without_a_signature():
    assert refusal(CaseInsensitiveMapping({})) == "no signature"


@pytest.mark.parametrize("token", ["", "x", "a.b.c", "eyJhbGciOiJFUzI1NiJ9", "eyJhbGciOiJFUzI1NiJ9.e30.", "é.é.é"])
def test_rubbish_is_refused(token):
    assert refusal(CaseInsensitiveMapping({"Plaid-Verification": token}))


@pytest.mark.parametrize("algorithm", ["none", "HS256", "HS512"])
def test_algorithm_is_never_the_senders_choice(signer, algorithm):
    claims = {"iat": int(time.time()), "request_body_sha256": hashlib.sha256(BODY).hexdigest()}
    secret = None if algorithm == "none" else signer.jwk["x"] * 2
    token = jwt.encode(claims, secret, algorithm=algorithm, headers={"kid": "key-1"})
    assert refusal(CaseInsensitiveMapping({"Plaid-Verification": token})) == "the algorithm is not ES256"


@pytest.mark.parametrize("kid", [None, "", 7, "../x", "a/b", "x" * 129, "a b"])
def test_key_id_must_be_one(published, kid):
    header = base64.urlsafe_b64encode(json.dumps({"alg": "ES256", "kid": kid}).encode()).rstrip(b"=").decode()
    assert refusal(CaseInsensitiveMapping({"Plaid-Verification": f"{header}.e30.c2ln"}))
    assert published.asked == []


def test_another_key_under_a_known_id_is_refused(signer):
    assert refusal(Signer("key-1").headers()).startswith("the signature does not hold")


def test_unknown_key_is_refused_and_asked_for_once(published, signer):
    stranger = Signer("stranger")
    assert refusal(stranger.headers()) == "no key stranger in sandbox"
    assert refusal(stranger.headers()) == "no key stranger in sandbox"
    webhooks._keys.clear()  # as in another process
    refusal(stranger.headers())
    assert published.asked == ["stranger"]


def test_expired_key_is_refused(published):
    old = Signer("old", expired_at=1_700_000_000)
    published["old"] = old.jwk
    assert refusal(old.headers()) == "the key old has expired"


@pytest.mark.parametrize("age_s", [301, 3600, 86_400 * 365])
def test_old_signature_is_refused(signer, age_s):
    assert refusal(signer.headers(age_s=age_s)) == "signed more than five minutes ago"


def test_five_minutes_are_not_too_old(signer):
    assert check_signature(signer.headers(age_s=290), BODY)


def test_future_is_refused_beyond_a_small_skew(signer):
    assert check_signature(signer.headers(age_s=-30), BODY)
    assert refusal(signer.headers(age_s=-120)).startswith("the signature does not hold")


@pytest.mark.parametrize("iat", [None, "soon", "1", float("nan"), float("inf"), [], True, -1])
def test_iat_must_be_a_moment(signer, iat):
    assert refusal(signer.headers(iat=iat))


def test_iat_must_be_there(signer):
    pem = signer.pem
    token = jwt.encode({"request_body_sha256": "x"}, pem, algorithm="ES256", headers={"kid": "key-1"})
    assert refusal(CaseInsensitiveMapping({"Plaid-Verification": token}))


@pytest.mark.parametrize(
    "claims",
    [
        {"exp": int(time.time()) - 3600},
        {"nbf": int(time.time()) + 3600},
        *({name: moment} for name in ("exp", "nbf") for moment in (None, "1", [], True, float("nan"))),
    ],
)
def test_other_moments_hold_where_they_are_named(signer, claims):
    assert refusal(signer.headers(**claims))
    now = time.time()
    assert check_signature(signer.headers(exp=now + 100, nbf=now - 100), BODY)


@pytest.mark.parametrize("claims", [b"[1]", b"1", b"null", b"", b"{", b"\xff", b"[" * 5000])
def test_claims_are_an_object(signer, claims):
    token = jwt.PyJWS().encode(claims, signer.pem, "ES256", {"kid": "key-1"})
    assert refusal(CaseInsensitiveMapping({"Plaid-Verification": token}))


@pytest.mark.parametrize("header", [{"crit": ["exp"], "exp": 1}, {"crit": []}])
def test_a_signature_of_another_kind_is_refused(signer, header):
    assert refusal(signer.headers(header=header)) == "the signature is of an unknown kind"


@pytest.mark.parametrize("place", range(3))
@pytest.mark.parametrize("spoiled", ["!", "=", "\n", " ", "AAAA", "."])
def test_a_token_is_taken_to_the_letter(signer, place, spoiled):
    parts = signer.headers()["Plaid-Verification"].split(".")
    for written in (parts[place] + spoiled, spoiled + parts[place], parts[place][:-4]):
        token = ".".join([*parts[:place], written, *parts[place + 1 :]])
        assert refusal(CaseInsensitiveMapping({"Plaid-Verification": token}))


def test_one_changed_bit_of_what_is_signed_is_refused(signer):
    header, claims, signature = signer.headers()["Plaid-Verification"].split(".")
    said = base64.urlsafe_b64decode(claims + "==")
    claims = base64.urlsafe_b64encode(said.replace(b'"iat"', b'"Iat"') + b" ").rstrip(b"=").decode()
    token = f"{header}.{claims}.{signature}"
    assert refusal(CaseInsensitiveMapping({"Plaid-Verification": token})) == "the signature does not hold"
    zeros = "A" * 86
    token = f"{header}.{claims}.{zeros}"
    assert refusal(CaseInsensitiveMapping({"Plaid-Verification": token})) == "the signature does not hold"


@pytest.mark.parametrize("digest", ["", None, 7, "0" * 64, "é"])
def test_digest_must_fit(signer, digest):
    assert refusal(signer.headers(request_body_sha256=digest)) == "signed for another body"


def test_whitespace_counts(signer):
    assert refusal(signer.headers(), json.dumps(json.loads(BODY)).encode()) == "signed for another body"


# --- keys ---
def test_good_key_is_asked_for_once_by_all_processes(published, signer):
    for _ in range(3):
        check_signature(signer.headers(), BODY)
        webhooks._keys.clear()
    assert published.asked == ["key-1"]


def test_new_key_makes_the_others_be_looked_up_again(published, signer):
    """Rotation: the old one may have expired meanwhile."""
    check_signature(signer.headers(), BODY)
    successor = Signer("key-2")
    published["key-2"] = successor.jwk
    check_signature(successor.headers(), BODY)
    published["key-1"] = signer.jwk | {"expired_at": 1_700_000_000}
    webhooks._keys.clear()
    assert refusal(signer.headers()) == "the key key-1 has expired"
    check_signature(successor.headers(), BODY)
    assert published.asked == ["key-1", "key-2", "key-1"]


def test_key_is_kept_here_while_redis_is_away(published, signer, monkeypatch):
    def away(*args, **kwargs):
        raise RedisConnectionError

    for name in ("get", "get_many", "set"):
        monkeypatch.setattr(cache, name, away)
    check_signature(signer.headers(), BODY)
    check_signature(signer.headers(), BODY)
    assert published.asked == ["key-1"]


def test_memory_of_keys_does_not_grow_with_strangers(published):
    for number in range(300):
        webhooks._keys.get("sandbox", f"stranger-{number}")
    assert len(webhooks._keys._here) <= 256


def test_lookup_that_waits_too_long_for_another_is_unavailable(published, signer, monkeypatch):
    monkeypatch.setattr(webhooks, "LOOKUP_TIMEOUT_S", 0.05)
    with webhooks._keys._lookup, pytest.raises(TemporaryError) as caught:
        check_signature(signer.headers(), BODY)
    assert (caught.value.entry.status, caught.value.retry_after_s) == (503, 30)


def test_key_found_by_another_thread_meanwhile_is_used(published, signer, monkeypatch):
    answers = iter([None, (time.monotonic() + 60, signer.jwk)])
    monkeypatch.setattr(webhooks._keys, "_fresh_here", lambda place: next(answers))
    assert check_signature(signer.headers(), BODY)
    assert published.asked == []


# --- against the simulator ---
def test_real_key_endpoint_publishes_what_we_expect(simulator):
    *_, key = simulator.control("GET", "keys")["keys"]
    assert webhooks._fetch("sandbox", key["kid"]) == key


def test_real_key_endpoint_knows_no_stranger(simulator):
    assert webhooks._fetch("production", "stranger") is None


def test_key_endpoint_that_cannot_be_reached_is_unavailable(servers):
    with pytest.raises(TemporaryError) as caught:
        check_signature(Signer().headers(), BODY)
    assert (caught.value.entry.status, caught.value.retry_after_s) == (503, 30)


@pytest.mark.parametrize(
    "fault",
    [
        {"kind": "error", "status": 500, "error_type": "API_ERROR", "error_code": "INTERNAL_SERVER_ERROR"},
        {"kind": "error", "status": 400, "error_type": "INVALID_INPUT", "error_code": "INVALID_API_KEYS"},
        {"kind": "error", "status": 200, "body": {"request_id": "x"}},
        {"kind": "error", "status": 200, "body": {"key": {"kid": "key-1", "alg": "none"}}},
        {
            "kind": "error",
            "status": 200,
            "body": {"key": {"kid": "key-1", "alg": "ES256", "kty": "EC", "crv": "P-256", "x": "!", "y": ""}},
        },
        {"kind": "html"},
        {"kind": "reset"},
    ],
    ids=lambda fault: f"{fault['kind']}-{fault.get('error_code', '')}",
)
def test_key_endpoint_in_trouble_is_unavailable(simulator, fault):
    simulator.control("POST", "faults", {"path": "/webhook_verification_key/get", "times": 3, **fault})
    with pytest.raises(TemporaryError) as caught:
        check_signature(Signer().headers(), BODY)
    assert caught.value.entry.status == 503


def test_key_endpoint_that_answers_nonsense_is_unavailable(simulator):
    *_, key = simulator.control("GET", "keys")["keys"]
    simulator.control("POST", "faults", {"path": "/webhook_verification_key/get", "kind": "malformed"})
    with pytest.raises(TemporaryError):
        check_signature(Signer(key["kid"]).headers(), BODY)


def test_key_endpoint_that_hangs_is_given_up_in_time(simulator):
    simulator.control("POST", "faults", {"path": "/webhook_verification_key/get", "kind": "hang", "seconds": 20})
    started = time.monotonic()
    with pytest.raises(TemporaryError):
        check_signature(Signer().headers(), BODY)
    assert time.monotonic() - started < 5


def test_lookups_are_capped(servers, monkeypatch):
    monkeypatch.setattr(webhooks, "LOOKUPS_PER_MINUTE", 4)
    monkeypatch.setattr(
        webhooks.PlaidClient, "webhook_verification_key", lambda self, key_id: {"key": Signer(key_id).jwk}
    )
    found = [webhooks._keys.get("capped", f"key-{number}") for number in range(4)]
    assert all(found)
    with pytest.raises(TemporaryError, match="too many lookups") as caught:
        webhooks._keys.get("capped", "key-4")
    assert caught.value.retry_after_s > 0


# --- content ---
def test_parse_reads_what_routes_an_event():
    raw = b'{"webhook_type":"ITEM","webhook_code":"ERROR","item_id":"i","environment":"production"}'
    assert parse(raw) == InboundEvent("ITEM", "ERROR", "i", "production", json.loads(raw))


@pytest.mark.parametrize("raw", [b"", b"[]", b"null", b"{", b"\xff", b'"x"', b'{"a":"\\ud800"}', b"[" * 2000])
def test_parse_survives_what_it_cannot_read(raw):
    assert parse(raw) == InboundEvent("", "", "", "", None)


def test_parse_takes_no_wrong_types_and_no_unknown_environment():
    raw = b'{"webhook_type": 7, "webhook_code": null, "item_id": {"x": 1}, "environment": "development"}'
    found = parse(raw)
    assert (found.type, found.code, found.item_id, found.environment) == ("", "", "", "")


def test_parse_leaves_out_nul_characters_only():
    found = parse(rb'{"item_id": "a\u0000b", "x": "\\u0000", "y": "\\\u0000"}')
    assert (found.item_id, found.payload["x"], found.payload["y"]) == ("ab", "\\u0000", "\\")


def test_unstated_environment_means_production(published):
    body = b'{"webhook_type":"ITEM"}'
    made = Signer()
    published["key-1"] = made.jwk
    assert check_signature(made.headers(body), body).environment == "production"
