"""Make `.venv` hold what lock files name, hashes checked. Run by any Python 3.11+, before anything is installed.

Quick where it does already, safe to run several times at once, and an interrupted run leaves nothing that a later one
would take for whole: what a lock file's stamp vouches for is struck out first and written last.
"""

import contextlib
import fcntl
import hashlib
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parent.parent
VENV = CHECKOUT / ".venv"
PYTHON = VENV / "bin" / "python"
MADE = VENV / ".made"  # holds where the environment was made: its scripts name that place
UV = CHECKOUT / ".ci" / "uv.txt"


def main(arguments: list[str]) -> int:
    locks = [CHECKOUT / name for name in arguments if not name.startswith("--")]
    if "--is-current" in arguments:
        return 0 if all(is_current(lock) for lock in locks) else 1
    with one_at_a_time():
        try:
            if not is_whole():
                make()
            for lock in locks:
                if not is_current(lock):
                    install(lock)
        except subprocess.CalledProcessError as error:
            print(
                f"The set-up stopped (exit code {error.returncode}); the reason is above. Run it again to go on.",
                file=sys.stderr,
            )
            return 1
    return 0


@contextlib.contextmanager
def one_at_a_time() -> Iterator[None]:
    with Path(__file__).open() as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def is_whole() -> bool:
    if not MADE.exists() or MADE.read_text() != str(CHECKOUT):
        return False
    return subprocess.run([PYTHON, "-c", ""], capture_output=True, check=False).returncode == 0


def is_current(lock: Path) -> bool:
    stamp = stamp_of(lock)
    return is_whole() and stamp.exists() and stamp.read_text() == checksum(lock)


def stamp_of(lock: Path) -> Path:
    return VENV / f".{'-'.join(lock.relative_to(CHECKOUT).parts)}.sha256"


def checksum(lock: Path) -> str:
    return hashlib.sha256(lock.read_bytes()).hexdigest()


def make() -> None:
    print(f"Setting up .venv with Python {sys.version.split()[0]} ...", flush=True)
    if VENV.is_dir():
        shutil.rmtree(VENV)
    run(sys.executable, "-m", "venv", VENV)
    MADE.write_text(str(CHECKOUT))


def install(lock: Path) -> None:
    """Install the lock file with uv, or with pip where uv cannot be had for this machine."""
    print(f"Installing {lock.relative_to(CHECKOUT)} ...", flush=True)
    before = checksum(lock)
    stamp_of(lock).unlink(missing_ok=True)
    pip = [PYTHON, "-m", "pip", "--disable-pip-version-check", "install", "--quiet", "--require-hashes"]
    try:
        run(*pip, "--only-binary", ":all:", "-r", UV)
        run(PYTHON, "-m", "uv", "pip", "install", "--quiet", "--python", PYTHON, "--require-hashes", "-r", lock)
    except subprocess.CalledProcessError:
        print("Installing with pip instead ...", flush=True)
        run(*pip, "-r", lock)
    stamp_of(lock).write_text(before)


def run(*command: object) -> None:
    subprocess.run([str(part) for part in command], check=True, cwd=CHECKOUT)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
