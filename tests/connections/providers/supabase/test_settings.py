"""What people paste is taken where it is safe, and refused in a sentence that quotes nothing of it."""

import pytest

from connections.providers.supabase import dsn
from connections.providers.supabase.provider import PROVIDER

FIELDS = {field.name: field for field in PROVIDER.fields}
GOOD = "postgresql://postgres.abcd:hunter2@aws-0-ca-central-1.pooler.supabase.com:6543/postgres"


def test_a_string_from_the_dashboard_is_read():
    found = dsn.parsed(GOOD)
    assert (found.host, found.port, found.role) == ("aws-0-ca-central-1.pooler.supabase.com", 6543, "postgres")
    assert "hunter2" not in repr(found)
    assert dsn.parsed("postgres://hub:p%40ss@db.example.com").password == "p@ss"
    assert dsn.parsed("postgresql://hub:p@[2001:db8::1]:5432/x").host == "2001:db8::1"
    assert dsn.parsed(GOOD + "?sslmode=verify-full").is_verified


@pytest.mark.parametrize(
    "bad",
    [
        "host=db.example.com user=u password=hunter2",
        "https://db.example.com",
        "postgresql://u:hunter2@/postgres",
        "postgresql://u:hunter2@%2Fvar%2Frun%2Fpostgresql/postgres",
        "postgresql://u:hunter2@/postgres?host=/var/run/postgresql",
        "postgresql://u:hunter2@%40abstract/postgres",
        "postgresql://u:hunter2@a.example,b.example/postgres",
        "postgresql://u@db.example.com/postgres",
        "postgresql://:hunter2@db.example.com/postgres",
        "postgresql://u:hunter2@db.example.com:99999/postgres",
        "postgresql://u:hunter2@db.example.com:0/postgres",
        "postgresql://u:[YOUR-PASSWORD]@db.example.com/postgres",
        GOOD + "?sslmode=prefer",
        GOOD + "?sslmode=disable",
        GOOD + "?sslmode=allow",
        GOOD + "?service=prod",
        GOOD + "?passfile=/etc/passwd",
        GOOD + "?options=-csearch_path%3Dx",
        GOOD + "?hostaddr=127.0.0.1",
        GOOD + "?sslrootcert=/etc/passwd",
        GOOD + "?sslkey=/root/.ssh/id_rsa",
        GOOD + "?target_session_attrs=any",
        GOOD + "?pgbouncer=true",
        GOOD + "?host=127.0.0.1%2Cx",
    ],
)
def test_whatever_else_stands_in_a_string_is_refused_without_quoting_it(bad):
    with pytest.raises(ValueError, match="\\.") as raised:
        FIELDS["dsn"].clean(bad)
    assert "hunter2" not in str(raised.value)
    assert "passwd" not in str(raised.value)


def test_other_fields_say_what_to_paste_instead():
    with pytest.raises(ValueError, match="dashboard's address"):
        FIELDS["project_url"].clean("https://supabase.com/dashboard/project/abcd/settings")
    assert FIELDS["project_url"].clean("https://abcd.supabase.co/rest/v1/") == "https://abcd.supabase.co"
    assert FIELDS["entities"].clean("orders,  customers,orders") == "customers, orders"
    with pytest.raises(ValueError, match="Not known: order"):
        FIELDS["entities"].clean("order")
    for pem in ("hello", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----", "-----BEGIN CERTIFICATE-----"):
        with pytest.raises(ValueError, match="certificate"):
            FIELDS["ca_pem"].clean(pem)
