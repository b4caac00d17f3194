"""The supervisor with small children; nothing here needs a database."""

import io
import json
import os
import signal
import socket
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import psutil
import pytest

from config.processes import Child, Console, Entry, Ledger, LogFile, Server, Speaker, wait_until
from config.supervisor import Pace, Refused, Stopped, Supervisor, refuse_taken_ports
from tests.plugin import BASE_DIR

FOREVER = [sys.executable, "-c", "import time; print('up', flush=True); time.sleep(60)"]
STUBBORN = [
    sys.executable,
    "-c",
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(60)",
]


@pytest.fixture
def screen():
    return io.StringIO()


@pytest.fixture
def supervisor(tmp_path, screen):
    pace = Pace(first_s=0.1, longest_s=0.4, healthy_after_s=60)
    return Supervisor(home=tmp_path, folder=BASE_DIR, console=Console(screen), pace=pace)


def has_said(screen: io.StringIO, text: str, times: int = 1):
    return lambda: screen.getvalue().count(text) >= times


def run_until(supervisor: Supervisor, condition) -> None:
    supervisor.wait_for("The test", condition, limit_s=10)


def test_output_is_prefixed_on_the_console_and_bare_in_the_log(supervisor, screen, tmp_path):
    with supervisor:
        supervisor.child("talker", [sys.executable, "-c", "print('one\\ntwo')"], {"WORD": "x"})
        run_until(supervisor, has_said(screen, "two"))
    assert "talker       | one\ntalker       | two\n" in screen.getvalue()
    assert (tmp_path / "logs/talker.log").read_text().startswith("one\ntwo\n")


def test_a_child_knows_which_process_it_is(supervisor, screen):
    program = "import os; print(os.environ['CAUSEWAY_PROCESS'], os.environ['WORD'], os.getsid(0) == os.getpid())"
    with supervisor:
        supervisor.child("worker", [sys.executable, "-c", program], {"WORD": "x"})
        run_until(supervisor, has_said(screen, "worker x True"))


def test_work_goes_on_beside_what_is_kept_running(supervisor, screen):
    with supervisor:
        supervisor.child("fragile", [sys.executable, "-c", ""])
        supervisor.run_beside(lambda: None if wait_until(has_said(screen, "it starts again", 2), 10) else 1 / 0)
        with pytest.raises(ZeroDivisionError):
            supervisor.run_beside(lambda: print(1 / 0))


def test_a_speaker_speaks_in_whole_lines(screen):
    speaker = Speaker(Console(screen), "seed")
    for part in ("one ", "line\nan", "other\n", "half"):
        print(part, end="", file=speaker, flush=True)
    assert screen.getvalue() == "seed         | one line\nseed         | another\n"


def test_stages_stop_in_reverse_and_the_newest_first(supervisor, screen):
    program = "import signal, sys, time; signal.signal(signal.SIGTERM, lambda *_: sys.exit(print('bye', flush=True))); print('up', flush=True); time.sleep(60)"
    with supervisor:
        supervisor.child("first", [sys.executable, "-c", program])
        run_until(supervisor, has_said(screen, "up"))
        supervisor.next_stage()
        supervisor.child("second", [sys.executable, "-c", program])
        run_until(supervisor, has_said(screen, "up", 2))
    farewells = [line.split()[0] for line in screen.getvalue().splitlines() if line.endswith("bye")]
    assert farewells == ["second", "first"]


def test_a_crashed_child_starts_again_later_each_time(supervisor, screen):
    with supervisor:
        supervisor.child("fragile", [sys.executable, "-c", "raise SystemExit(3)"])
        run_until(supervisor, has_said(screen, "ended with exit code 3", 4))
    delays = [line.split("starts again in ")[1] for line in screen.getvalue().splitlines() if "starts again" in line]
    assert delays[:4] == ["0.1 s.", "0.2 s.", "0.4 s.", "0.4 s."]


def test_patience_returns_after_a_healthy_while(supervisor, screen):
    supervisor.pace = Pace(first_s=0.1, longest_s=30, healthy_after_s=0.2)
    with supervisor:
        supervisor.child("fragile", [sys.executable, "-c", "import time; time.sleep(0.5)"])
        run_until(supervisor, has_said(screen, "starts again in 0.1 s.", 3))


def test_a_child_killed_by_force_comes_back_and_its_own_children_go(supervisor, screen):
    program = (
        f"import subprocess, time; print('grandchild', subprocess.Popen({FOREVER!r}).pid, flush=True); time.sleep(60)"
    )
    with supervisor:
        child = supervisor.child("parent", [sys.executable, "-c", program])
        run_until(supervisor, has_said(screen, "up"))
        grandchild = next(int(line.split()[-1]) for line in screen.getvalue().splitlines() if "grandchild" in line)
        before = child.pid
        os.kill(before, signal.SIGKILL)
        run_until(supervisor, has_said(screen, "grandchild", 2))
        assert child.pid != before
        assert "parent was ended by SIGKILL" in screen.getvalue().replace("causeway     | ", "")
        assert wait_until(lambda: not psutil.pid_exists(grandchild), 5)


def test_a_stubborn_child_is_killed_in_time(supervisor, screen):
    with supervisor:
        child = supervisor.child("stubborn", STUBBORN)
        child.stop_patience_s = 0.3
        run_until(supervisor, has_said(screen, "up"))
        began = time.monotonic()
    assert time.monotonic() - began < 2
    assert not child.is_alive()
    assert "stubborn did not stop in time" in screen.getvalue()


def test_a_server_that_is_gone_starts_again(supervisor, screen):
    state = {"pid": None, "starts": 0}

    def start(_patience_s: float) -> None:
        state["starts"] += 1
        if state["starts"] == 2:
            raise RuntimeError("not yet")
        state["pid"] = 1

    with supervisor:
        supervisor.server(Server("postgres", start, lambda: state["pid"], lambda _patience: state.update(pid=None)))
        state["pid"] = None
        run_until(supervisor, lambda: state["starts"] == 3)
    assert state["pid"] is None
    assert "postgres is gone" in screen.getvalue()
    assert "postgres: not yet" in screen.getvalue()


def test_a_server_that_does_not_come_back_keeps_nobody_waiting(supervisor, screen):
    state = {"pid": None, "starts": 0}

    def start(patience_s: float) -> None:
        state["starts"] += 1
        state["pid"] = 1 if state["starts"] == 1 else None
        if state["starts"] > 1:
            time.sleep(patience_s)
            raise RuntimeError("not now")

    with supervisor:
        supervisor.server(Server("valkey", start, lambda: state["pid"], lambda _patience: None))
        child = supervisor.child("web", FOREVER)
        state["pid"] = None
        run_until(supervisor, has_said(screen, "not now"))
        killed = child.pid
        os.kill(killed, signal.SIGKILL)
        began = time.monotonic()
        run_until(supervisor, lambda: child.is_alive() and child.pid != killed)
    assert time.monotonic() - began < 10


def test_waiting_in_vain_is_refused_with_the_place_of_the_logs(supervisor, tmp_path):
    with pytest.raises(Refused, match=r"The web server was not ready.*logs"), supervisor:
        supervisor.wait_for("The web server", lambda: False, limit_s=0)


def test_a_signal_ends_the_wait_and_stops_everything(supervisor, screen):
    with supervisor:
        child = supervisor.child("child", FOREVER)
        run_until(supervisor, has_said(screen, "up"))
        os.kill(os.getpid(), signal.SIGTERM)
        supervisor.run()
        with pytest.raises(Stopped):
            supervisor.child("too-late", FOREVER)
    assert not child.is_alive()


def test_a_signal_interrupts_preparations(supervisor):
    with supervisor:
        with supervisor.interruptible():
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(5)
        pytest.fail("went on")


def test_a_second_supervisor_of_the_same_home_is_refused(supervisor, tmp_path):
    with supervisor:
        other = Supervisor(home=tmp_path, folder=BASE_DIR, console=Console(io.StringIO()))
        with pytest.raises(Refused, match=rf"already runs in .* \(process {os.getpid()}\)"), other:
            pytest.fail("started")
    with other:
        pass


def test_one_that_is_stopping_is_waited_for(supervisor, tmp_path):
    program = textwrap.dedent(f"""
        import fcntl, os, time
        handle = os.open({str(tmp_path / "run/supervisor.lock")!r}, os.O_RDWR | os.O_CREAT)
        fcntl.flock(handle, fcntl.LOCK_EX)
        os.write(handle, b"1 stopping")
        print("locked", flush=True)
        time.sleep(2)
    """)
    (tmp_path / "run").mkdir()
    holder = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE)
    assert holder.stdout
    assert holder.stdout.readline()
    with supervisor:
        assert holder.wait(5) == 0
    holder.stdout.close()


def test_orphans_of_a_killed_supervisor_are_reaped(tmp_path, supervisor, screen):
    program = textwrap.dedent(f"""
        import sys
        from pathlib import Path
        from config.processes import Console
        from config.supervisor import Supervisor
        with Supervisor(home=Path({str(tmp_path)!r}), folder=Path({str(BASE_DIR)!r}), console=Console(sys.stdout)) as supervisor:
            supervisor.child("orphan", {STUBBORN!r})
            supervisor.run()
    """)
    first = subprocess.Popen([sys.executable, "-c", program], cwd=BASE_DIR, stdout=subprocess.PIPE, text=True)
    assert first.stdout
    assert "up" in first.stdout.readline()
    first.kill()
    first.wait()
    first.stdout.close()
    (orphan,) = json.loads((tmp_path / "run/processes.json").read_text())
    assert psutil.pid_exists(orphan["pid"])
    with supervisor:
        assert not psutil.pid_exists(orphan["pid"]) or psutil.Process(orphan["pid"]).status() == psutil.STATUS_ZOMBIE
    assert "Ended orphan, left behind" in screen.getvalue()


def test_it_ends_with_its_parent_if_told_to(tmp_path):
    program = textwrap.dedent(f"""
        import sys
        from pathlib import Path
        from config.processes import Console
        from config.supervisor import Supervisor
        console = Console(open({str(tmp_path / "screen")!r}, "w"))
        made = Supervisor(home=Path({str(tmp_path)!r}), folder=Path({str(BASE_DIR)!r}), console=console, follows_parent=True)
        with made:
            made.child("child", {FOREVER!r})
            made.run()
        console.say("over")
    """)
    shell = subprocess.Popen(["/bin/sh", "-c", '"$0" -c "$1"; true', sys.executable, program], cwd=BASE_DIR)
    screen = tmp_path / "screen"
    assert wait_until(lambda: "up" in (screen.read_text() if screen.exists() else ""), 10)
    shell.kill()
    shell.wait()
    assert wait_until(lambda: "over" in screen.read_text(), 10)


def test_a_pid_used_again_is_not_reaped(tmp_path):
    bystander = subprocess.Popen(FOREVER, stdout=subprocess.DEVNULL, start_new_session=True)
    try:
        ledger = Ledger(tmp_path / "processes.json")
        ledger._write([Entry("worker", bystander.pid, time.time() - 3600)])
        assert ledger.reap() == []
        assert bystander.poll() is None
    finally:
        bystander.kill()
        bystander.wait()


def test_a_damaged_ledger_is_an_empty_one(tmp_path):
    (tmp_path / "processes.json").write_text("{")
    assert Ledger(tmp_path / "processes.json").reap() == []


def test_taken_ports_are_named_with_their_variables():
    with socket.socket() as taken, socket.socket() as also:
        for one in (taken, also):
            one.bind(("127.0.0.1", 0))
            one.listen()
        ports = {"PORT": taken.getsockname(), "SIMULATOR_PORT": also.getsockname()}
        with pytest.raises(Refused) as refused:
            refuse_taken_ports(ports)
    first, second = str(refused.value).splitlines()
    assert f"Port {ports['PORT'][1]} is taken" in first
    assert "set PORT" in first
    assert "set SIMULATOR_PORT" in second
    refuse_taken_ports(ports)


def test_an_address_of_another_machine_is_named():
    with pytest.raises(Refused, match="192.0.2.1:80 cannot be listened on"):
        refuse_taken_ports({"PORT": ("192.0.2.1", 80)})


def test_a_full_log_makes_room(tmp_path, monkeypatch):
    monkeypatch.setattr("config.processes.LOG_LIMIT_BYTES", 10)
    log = LogFile(tmp_path / "web.log")
    for word in (b"first line\n", b"second line\n", b"x\n"):
        log.write(word)
    log.close()
    assert (tmp_path / "web.log").read_bytes() == b"x\n"
    assert (tmp_path / "web.log.1").read_bytes() == b"second line\n"


def test_a_terminal_gets_colours_and_a_closed_one_does_no_harm():
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    terminal = Terminal()
    console = Console(terminal)
    console.say("hello", name="web")
    assert terminal.getvalue() == "\x1b[36mweb          |\x1b[0m hello\n"
    terminal.close()
    console.say("hello", name="web")


def test_a_child_that_never_started_is_not_alive(tmp_path):
    child = Child("x", FOREVER, {}, Console(io.StringIO()), tmp_path / "x.log", Ledger(tmp_path / "p.json"), Path("/"))
    child.ask_to_stop()
    child.kill()
    assert (child.pid, child.is_alive()) == (None, False)
