"""The set-up behind `make`, in a copy of the checkout's few files for it, with stubs for a PATH."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.plugin import BASE_DIR

pytestmark = pytest.mark.skipif(not shutil.which("make"), reason="make is not installed")


@pytest.fixture
def checkout(tmp_path):
    made = tmp_path / "checkout"
    (made / ".ci").mkdir(parents=True)
    (made / "tests").mkdir()
    for name in ("Makefile", ".ci/venv", ".ci/venv.py", ".ci/uv.txt"):
        shutil.copy(BASE_DIR / name, made / name)
    (made / "requirements.txt").write_text("")
    return made


@pytest.fixture
def path(tmp_path):
    """An empty folder as the whole PATH."""
    folder = tmp_path / "bin"
    folder.mkdir()
    return folder


def stub(folder: Path, name: str, script: str) -> None:
    (folder / name).write_text(f"#!/bin/sh\n{script}\n")
    (folder / name).chmod(0o755)


def make(checkout: Path, target: str, path: Path, **environment: str) -> subprocess.CompletedProcess:
    program = shutil.which("make")
    assert program
    variables = {"PATH": str(path), "HOME": str(checkout)} | environment
    return subprocess.run(
        [program, "-s", target], cwd=checkout, env=variables, capture_output=True, text=True, timeout=120
    )


@pytest.mark.parametrize("target", [".venv", "run", "test", "lint"])
def test_no_python_is_one_sentence(checkout, path, target):
    done = make(checkout, target, path)
    assert done.returncode
    first, *rest = done.stderr.splitlines()
    assert first.startswith("Causeway needs Python 3.11 or newer: install it")
    assert all(line.startswith("make") for line in rest)
    assert done.stdout == ""


def test_shims_that_fail_and_old_pythons_are_passed_over(checkout, path):
    stub(path, "python3.14", "echo 'pyenv: python3.14: command not found' >&2; exit 127")
    stub(path, "python3.12", "exit 1")  # says it is older
    done = make(checkout, ".venv", path)
    assert done.stderr.startswith("Causeway needs Python 3.11 or newer")


def test_a_python_without_venv_is_one_sentence(checkout, path):
    stub(path, "python3.11", 'case "$2" in *ensurepip*) exit 1;; esac; exit 0')
    done = make(checkout, ".venv", path)
    assert done.stderr.startswith("python3.11 cannot make a virtual environment: install its venv module")


def test_the_first_python_that_works_makes_the_environment(checkout, path):
    stub(path, "python3.13", "exit 127")
    stub(path, "python3.12", 'case "$1" in -c) exit 0;; esac; echo "3.12 sets up $*"')
    stub(path, "python3.11", 'case "$1" in -c) exit 0;; esac; echo "3.11 sets up $*"')
    assert make(checkout, ".venv", path).stdout == "3.12 sets up .ci/venv.py requirements.txt\n"


def fake_environment(checkout: Path) -> None:
    """What a finished set-up leaves, without installing anything."""
    (checkout / ".venv/bin").mkdir(parents=True)
    (checkout / ".venv/bin/python").symlink_to(sys.executable)
    stamp(checkout)


def stamp(checkout: Path) -> None:
    program = (
        "import runpy; m = runpy.run_path('.ci/venv.py'); lock = m['CHECKOUT'] / 'requirements.txt'\n"
        "m['MADE'].write_text(str(m['CHECKOUT'])); m['stamp_of'](lock).write_text(m['checksum'](lock))"
    )
    subprocess.run([sys.executable, "-c", program], cwd=checkout, check=True)


def is_current(checkout: Path) -> bool:
    command = [sys.executable, ".ci/venv.py", "--is-current", "requirements.txt"]
    return subprocess.run(command, cwd=checkout).returncode == 0


def test_a_finished_environment_is_left_alone(checkout, path):
    assert not is_current(checkout)
    fake_environment(checkout)
    assert is_current(checkout)
    done = make(checkout, ".venv", path)  # would fail if it looked for a Python
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_a_changed_lock_file_a_moved_checkout_and_a_lost_python_are_noticed(checkout):
    fake_environment(checkout)
    (checkout / "requirements.txt").write_text("# changed\n")
    assert not is_current(checkout)
    stamp(checkout)
    moved = checkout.rename(checkout.with_name("moved"))
    assert not is_current(moved)
    stamp(moved)
    assert is_current(moved)
    (moved / ".venv/bin/python").unlink()
    assert not is_current(moved)


def test_an_interrupted_set_up_is_not_taken_for_whole(checkout):
    (checkout / ".venv/bin").mkdir(parents=True)
    (checkout / ".venv/bin/python").symlink_to(sys.executable)
    assert not is_current(checkout)


def test_run_replaces_the_shell_by_the_supervisor(checkout, path):
    fake_environment(checkout)
    (checkout / "manage.py").write_text("import os, sys; print(os.getppid() != 1, sys.argv[1:])")
    done = make(checkout, "run", path)
    assert done.stdout == "True ['up', '--follow-parent']\n"
    recipe = re.search(r"^run:.*\n\t@exec ", (BASE_DIR / "Makefile").read_text(), re.MULTILINE)
    assert recipe


@pytest.mark.parametrize("name", [".ci/run", ".ci/venv", "tests/browser.sh"])
def test_scripts_can_be_run_and_are_well_formed(name):
    script = BASE_DIR / name
    assert os.access(script, os.X_OK)
    shell = "bash" if "bash" in script.read_text().splitlines()[0] else "sh"
    subprocess.run([shell, "-n", script], check=True)


def test_without_browser_tests_no_browser_is_looked_for(tmp_path):
    (tmp_path / "tests").mkdir()
    shutil.copy(BASE_DIR / "tests/browser.sh", tmp_path / "tests")
    done = subprocess.run(["/bin/sh", "tests/browser.sh"], cwd=tmp_path, capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("export E2E=0\n", "")


def test_a_browser_is_taken_from_its_variable(tmp_path):
    (tmp_path / "tests/e2e").mkdir(parents=True)
    (tmp_path / "tests/e2e/test_portal.py").touch()
    shutil.copy(BASE_DIR / "tests/browser.sh", tmp_path / "tests")
    variables = {"PATH": os.environ["PATH"], "CHROMIUM_PATH": "/bin/sh"}
    done = subprocess.run(["/bin/sh", "tests/browser.sh"], cwd=tmp_path, env=variables, capture_output=True, text=True)
    assert done.stdout == "export E2E=1 CHROMIUM_PATH='/bin/sh'\n"


def test_every_setting_is_in_the_example_and_in_the_reference():
    read = set(re.findall(r'env\.\w+\(\s*"([A-Z_]+)"', (BASE_DIR / "config/settings.py").read_text()))
    listed = set(re.findall(r"^# ([A-Z_]+)=", (BASE_DIR / ".env.example").read_text(), re.MULTILINE))
    described = set(re.findall(r"`([A-Z_]+)`", (BASE_DIR / "docs/reference/settings.md").read_text()))
    assert listed - {"CAUSEWAY_ENV"} == read
    assert read - described == set()
