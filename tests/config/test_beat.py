"""The clock while the broker is away."""

import contextlib
import re
import socket
import threading
from urllib.parse import parse_qs, urlsplit

import pytest
import redis
from django.conf import settings

from config.processes import wait_until

pytestmark = pytest.mark.django_db(transaction=True)


class Road:
    """A TCP port that leads to the broker, until it is closed."""

    def __init__(self, url: str) -> None:
        self.broker = urlsplit(url).path
        self.listening = socket.create_server(("127.0.0.1", 0))
        self.open: list[socket.socket] = []
        database = parse_qs(urlsplit(url).query).get("db", ["0"])[0]
        self.url = f"redis://127.0.0.1:{self.listening.getsockname()[1]}/{database}"
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self.listening.accept()
            except OSError:
                return
            far = socket.socket(socket.AF_UNIX)
            far.connect(self.broker)
            self.open += [near, far]
            for one, other in ((near, far), (far, near)):
                threading.Thread(target=self._carry, args=(one, other), daemon=True).start()

    @staticmethod
    def _carry(one: socket.socket, other: socket.socket) -> None:
        try:
            while data := one.recv(1 << 16):
                other.sendall(data)
        except OSError:
            pass
        other.close()

    def close(self) -> None:
        self.listening.shutdown(socket.SHUT_RDWR)
        self.listening.close()
        for one in self.open:
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)


@pytest.fixture
def road() -> Road:
    if not settings.REDIS_URL.startswith("unix://"):
        pytest.skip("The broker of this run is not behind a socket of its own.")
    return Road(settings.REDIS_URL)


def lost(beat) -> list[str]:
    return [line for line in beat.output().splitlines() if "tick_lost " in line]


@pytest.mark.parametrize("level", ["INFO", "DEBUG"])
def test_each_tick_that_is_lost_is_one_line_and_its_stack_only_for_who_asks(process, road, level):
    beat = process("beat", REDIS_URL=road.url, LOG_LEVEL=level)
    with contextlib.closing(redis.Redis.from_url(settings.REDIS_URL)) as broker:
        assert wait_until(lambda: broker.dbsize() > 0, 60), beat.output()[-2000:]  # a tick has come through
    before = len(beat.output().splitlines())
    road.close()
    assert wait_until(lambda: len(lost(beat)) >= 3, 90), beat.output()[-2000:]
    said = beat.output()
    assert beat.is_running
    assert "Message Error" not in said
    assert all("warning" in line and re.search("refused|closed|connect", line, re.IGNORECASE) for line in lost(beat))
    assert ("Traceback" in said) is (level == "DEBUG")
    if level == "INFO":
        assert len(said.splitlines()) - before <= 4 * len(lost(beat)) + 10
