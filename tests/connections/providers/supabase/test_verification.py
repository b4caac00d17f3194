"""A store is verified: whatever it lacks is named with the SQL that mends it, and nothing stays written."""

import socket
import ssl
from pathlib import Path

import pytest

from connections.providers.supabase import verification
from connections.providers.supabase.errors import NotPrepared
from connections.providers.supabase.provider import PROVIDER

from .conftest import Project


def checks(access) -> dict[str, tuple[str, str, str]]:
    return {one.name: (one.status, one.cause, one.remediation) for one in verification.verify(access)}


def failing(access) -> dict[str, tuple[str, str]]:
    return {name: told[1:] for name, told in checks(access).items() if told[0] == "failed"}


def test_a_prepared_store_passes_and_keeps_nothing(project: Project, kind):
    found = checks(project.access(kind))
    others = {name: told for name, told in found.items() if told[0] != "passed"}
    assert set(others) == ({"tls"} if kind == "rest" else set()), others
    assert {
        *("reachable", "tls", "authentication", "schema", "tables", "columns", "unique_key", "functions", "grants"),
        *("row_security", "permission_write", "version", "clock_skew"),
    } <= set(found)
    assert all(project.supabase.rows(name) == [] for name in ("customers", "orders", "order_lines", "bills"))


def test_only_the_entities_that_were_chosen_are_asked_for(bare: Project, kind):
    bare.prepare("orders")
    assert failing(bare.access(kind, entities="orders")) == {}
    assert failing(bare.access(kind, entities="orders, bills"))["tables"][0] == "There is no table bills."


def test_a_store_without_anything_is_told_to_run_the_sql(bare: Project, kind):
    cause, remediation = failing(bare.access(kind))["tables"]
    assert cause.startswith("There is no table customers. There is no table products.")
    assert "order_lines" in cause
    assert "SQL file" in remediation


def test_missing_columns_are_named_one_by_one(project: Project, kind):
    project.supabase.sql("ALTER TABLE orders DROP memo, DROP total; ALTER TABLE order_lines DROP sku")
    cause, _ = failing(project.access(kind))["columns"]
    assert cause in (
        "The table orders has no column total, memo. The table order_lines has no column sku.",
        "The table orders has no column memo, total. The table order_lines has no column sku.",
    )
    project.prepare()
    assert failing(project.access(kind)) == {}


def test_a_missing_unique_key_is_named_with_its_sql(project: Project, kind):
    project.supabase.sql(
        "ALTER TABLE bills DROP CONSTRAINT bills_connection_id_source_system_source_id_key;"
        "CREATE UNIQUE INDEX partly ON bills (connection_id, source_system, source_id) WHERE deleted_at IS NULL"
    )
    cause, remediation = failing(project.access(kind))["unique_key"]
    assert cause == "The table bills has no unique key over connection_id, source_system, source_id."
    project.supabase.sql(remediation)
    assert failing(project.access(kind)) == {}


@pytest.mark.parametrize("privilege", ["select", "insert", "update", "delete"])
def test_each_missing_grant_is_named_with_its_sql(project: Project, privilege):
    project.supabase.sql(f"REVOKE {privilege} ON orders FROM service_role")
    cause, remediation = failing(project.access())["grants"]
    assert f"service_role may not {privilege} on orders." in cause or privilege == "select", cause
    assert privilege in cause
    project.supabase.sql(remediation)
    assert failing(project.access()) == {}


def test_a_login_of_its_own_is_told_its_grants_and_policies(bare: Project):
    login = bare.supabase.control(f"projects/{bare.supabase.ref}/roles", name="hub_writer")
    user = f"hub_writer.{bare.supabase.ref}"
    access = bare.access("postgres", secrets={"dsn": bare.dsn(user=user, password=login["password"])}, entities="bills")
    bare.prepare("bills", role="hub_writer")
    assert failing(access) == {}
    bare.supabase.sql("REVOKE UPDATE, DELETE ON bills FROM hub_writer; DROP POLICY causeway ON bills")
    found = failing(access)
    assert found["grants"][0].endswith("may not delete, update on bills.")
    assert found["row_security"][0].startswith("Row security of the table bills hides its rows")
    bare.supabase.sql("GRANT UPDATE, DELETE ON bills TO hub_writer")
    bare.supabase.sql("CREATE POLICY causeway ON bills TO hub_writer USING (true) WITH CHECK (true)")
    assert failing(access) == {}


def test_tables_that_are_open_to_others_do_not_pass(project: Project, kind):
    project.supabase.sql("ALTER TABLE vendors DISABLE ROW LEVEL SECURITY")
    cause, remediation = failing(project.access(kind))["row_security"]
    assert cause.startswith("Row security of the table vendors is off")
    project.supabase.sql(remediation)
    assert failing(project.access(kind)) == {}


def test_a_missing_function_is_named(project: Project, kind):
    project.supabase.sql("DROP FUNCTION causeway_replace_order_lines(jsonb, jsonb)")
    assert "causeway_replace_order_lines" in failing(project.access(kind))["functions"][0]


def test_a_schema_that_is_not_exposed_is_named(project: Project):
    cause, remediation = failing(project.access(schema="hidden"))["schema"]
    assert "hidden" in cause
    assert "Exposed schemas" in remediation


def test_a_schema_that_is_not_there_is_named(project: Project):
    assert "hidden" in failing(project.access("postgres", schema="hidden"))["schema"][0]


def test_an_owners_trigger_that_refuses_is_quoted(project: Project):
    project.supabase.sql(
        "CREATE FUNCTION no() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'not on my watch'; END $$;"
        "CREATE TRIGGER no BEFORE INSERT ON bills FOR EACH ROW EXECUTE FUNCTION no()"
    )
    assert "not on my watch" in failing(project.access("postgres"))["permission_write"][0]


def test_a_data_api_without_the_seat_belt_is_too_old(project: Project):
    project.supabase.fault("error", path="PATCH /rest/v1/customers", code="PGRST122", status=400)
    with pytest.raises(NotPrepared, match="max-affected"):
        checks(project.access())


# --- the way there ---
@pytest.mark.parametrize(("state", "code"), [("paused", "resume"), ("restricted", "billing"), ("starting", "minute")])
def test_a_project_that_does_not_answer_says_what_to_do(project: Project, state, code):
    project.supabase.set(state=state)
    _, remediation = failing(project.access())["reachable"]
    assert code in remediation.lower()


def test_wrong_keys_and_keys_that_may_not_write_are_refused(project: Project):
    wrong = {"secret_key": "sb_secret_" + "x" * 30}
    assert "authentication" in failing(project.access(secrets=wrong))
    for name in ("publishable", "anon"):
        with pytest.raises(ValueError, match="may not write"):
            _field("secret_key").clean(project.supabase.keys[name])
    for name in ("secret", "service_role"):
        assert _field("secret_key").clean(project.supabase.keys[name]) == project.supabase.keys[name]
    password = {"dsn": project.dsn(password="wrong"), "ca_pem": project.direct["ca_pem"]}
    assert "authentication" in failing(project.access("postgres", secrets=password))
    nobody = {"dsn": project.dsn(user="postgres.nobody")}
    assert "authentication" in failing(project.access("postgres", secrets=nobody))


def test_only_the_right_authority_and_the_right_name_are_trusted(project: Project, monkeypatch):
    answers = socket.getaddrinfo
    monkeypatch.setattr(
        socket,
        "getaddrinfo",
        lambda host, *rest, **more: answers(host.replace("db.forged.example", "127.0.0.1"), *rest, **more),
    )
    assert failing(project.access("postgres")) == {}
    assert checks(project.access("postgres", secrets={"ca_pem": ""}))["tls"][0] == "failed"
    assert checks(project.access("postgres", secrets={"ca_pem": _stranger()}))["tls"][0] == "failed"
    forged = project.access("postgres", secrets={"dsn": project.dsn(host="db.forged.example")})
    assert "another name" in failing(forged)["tls"][0]
    found = checks(project.access("postgres", secrets={"ca_pem": ""}, tls="require"))
    assert found["tls"][0] == "warning"
    assert found["permission_write"][0] == "passed"
    strict = {"dsn": project.dsn() + "?sslmode=verify-full", "ca_pem": ""}
    assert checks(project.access("postgres", secrets=strict, tls="require"))["tls"][0] == "failed"


def test_hosts_that_nobody_may_reach_are_refused(project: Project, settings):
    metadata = project.access("postgres", secrets={"dsn": "postgresql://u:p@169.254.169.254:5432/postgres"})
    assert list(failing(metadata)) == ["reachable"]
    settings.ALLOW_PRIVATE_NETWORKS = ()
    assert list(failing(project.access("postgres"))) == ["reachable"]
    assert list(failing(project.access(project_url="https://127.0.0.1:443"))) == ["reachable"]
    assert "readable on the way" in failing(project.access())["tls"][0]
    assert project.requests() == []


def _field(name: str):
    return next(field for field in PROVIDER.fields if field.name == name)


def _stranger() -> str:
    """Some authority that everybody trusts, and that has issued nothing here."""
    import certifi

    pem = Path(certifi.where()).read_text()
    start = pem.index("-----BEGIN")
    found = pem[start : pem.index("-----END CERTIFICATE-----") + 26]
    ssl.create_default_context(cadata=found)
    return found
