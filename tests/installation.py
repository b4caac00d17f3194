"""All of Causeway as a person runs it: `manage.py up`, in a home and on ports of its own."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from config.processes import wait_until
from tests.conftest import free_port, is_answering
from tests.plugin import BASE_DIR, ENVIRONMENT


class Installation:
    """One home, started and stopped as a person would."""

    def __init__(self, home: Path, **variables: str) -> None:
        self.home = home
        self.port, self.simulator_port = free_port(), free_port()
        ours = {*ENVIRONMENT, "CAUSEWAY_DATABASE", "DATABASE_URL", "DATABASE_OWNER_URL", "REDIS_URL"}
        self.environment = {name: value for name, value in os.environ.items() if name not in ours} | {
            "CAUSEWAY_ENV": "test",
            "CAUSEWAY_HOME": str(home),
            "PORT": str(self.port),
            "SIMULATOR_PORT": str(self.simulator_port),
            **variables,
        }
        self.url = f"http://127.0.0.1:{self.port}"
        self.process: subprocess.Popen | None = None

    def start(self) -> None:
        with (self.home.parent / "screen").open("ab") as screen:
            self.process = subprocess.Popen(
                [sys.executable, "manage.py", "up", "--follow-parent"],
                cwd=BASE_DIR,
                env=self.environment,
                stdout=screen,
                stderr=screen,
            )
        assert wait_until(lambda: self.process.poll() is not None or is_answering(f"{self.url}/readyz"), 90, 0.3)
        assert self.process.poll() is None, self.screen()

    def try_to_start(self) -> subprocess.CompletedProcess:
        command = [sys.executable, "manage.py", "up"]
        return subprocess.run(command, cwd=BASE_DIR, env=self.environment, capture_output=True, text=True, timeout=60)

    def screen(self) -> str:
        return (self.home.parent / "screen").read_text()

    def stop(self) -> float:
        """How long it took."""
        began = time.monotonic()
        if self.process and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                self.process.kill()  # what it started is noted in its home
                raise
        return time.monotonic() - began
