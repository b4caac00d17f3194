"""Verified, durable ingest of webhooks beside a view of the same stack that does nothing.

    make benchmark NAME=webhooks [ARGS="--count 4000 --rounds 5 --backlog 500000"]

A real web process takes signed webhooks (Plaid's JWT, made with the simulator's key) over keep-alive connections: each is
verified, written with its Item marked dirty, and committed to disk before it is answered. The same clients ask `/healthz`
in turns with them: the same server, middleware, threads and bytes, and no work. Then the same once more with half a million
events waiting to be processed.
"""

import argparse
import json
import socket
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

from benchmarks import harness

CLIENTS = 32  # as many as the web processes have threads
SECRET_OF_NOBODY = {"LOG_LEVEL": "ERROR", "CAUSEWAY_PROCESS": "web"}


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--count", type=int, default=4000, help="requests a round")
    arguments.add_argument("--rounds", type=int, default=5)
    arguments.add_argument("--backlog", type=int, default=500_000, help="0: leave it out")
    options = arguments.parse_args()
    with harness.causeway() as simulator, web() as url:
        sender = Sender(simulator, url)
        sender.noop(400)
        sender.ingest(400)
        rounds = [(sender.noop(options.count), sender.ingest(options.count)) for _ in range(options.rounds)]
        figures = compare(rounds)
        harness.say(f"without a backlog: {figures}")
        if options.backlog:
            sender.pile_up(options.backlog)
            behind = [sender.ingest(options.count) for _ in range(options.rounds)]
            with_it = harness.median([taken.p50_ms for taken in behind])
            figures |= {"backlog": options.backlog, "backlog_ratio": round(with_it / figures["p50_ms"], 3)}
        harness.result(benchmark="webhooks", **figures)


@contextmanager
def web() -> Iterator[str]:
    """The web process as `manage.py up` starts it."""
    import os

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [
        "gunicorn",
        "config.wsgi:application",
        "--bind",
        f"127.0.0.1:{port}",
        "--workers",
        "2",
        "--threads",
        "16",
    ]
    command += ["--worker-class", "config.gunicorn.Worker", "--no-control-socket", "--log-level", "error", "--preload"]
    with subprocess.Popen(
        [sys.executable, "-m", *command], env=os.environ | SECRET_OF_NOBODY, stdout=subprocess.DEVNULL
    ) as process:
        try:
            url = f"http://127.0.0.1:{port}"
            deadline = time.monotonic() + 60
            while time.monotonic() < deadline:
                try:
                    socket.create_connection(("127.0.0.1", port), timeout=1).close()
                    break
                except OSError:
                    time.sleep(0.1)
            yield url
        finally:
            process.terminate()


class Taken:
    """What one round took: every answer's time, and that of the whole."""

    def __init__(self, times_s: list[float], whole_s: float) -> None:
        self.times_ms = sorted(taken * 1000 for taken in times_s)
        self.per_s = len(times_s) / whole_s

    @property
    def p50_ms(self) -> float:
        return self.times_ms[len(self.times_ms) // 2]

    @property
    def p99_ms(self) -> float:
        return self.times_ms[len(self.times_ms) * 99 // 100]


def compare(rounds: list[tuple[Taken, Taken]]) -> dict[str, float]:
    """Medians over the rounds; each ratio within its own round."""
    noop, ingest = [pair[0] for pair in rounds], [pair[1] for pair in rounds]
    rate = [ours.per_s / plain.per_s for plain, ours in rounds]
    return {
        "ratio_to_noop": round(harness.median(rate), 3),
        "p99_ratio": round(harness.median([ours.p99_ms / plain.p99_ms for plain, ours in rounds]), 3),
        "webhooks_s": round(harness.median([taken.per_s for taken in ingest])),
        "noop_s": round(harness.median([taken.per_s for taken in noop])),
        "p50_ms": round(harness.median([taken.p50_ms for taken in ingest]), 2),
        "p99_ms": round(harness.median([taken.p99_ms for taken in ingest]), 2),
        "noop_p50_ms": round(harness.median([taken.p50_ms for taken in noop]), 2),
        "noop_p99_ms": round(harness.median([taken.p99_ms for taken in noop]), 2),
    }


class Sender:
    """As many clients as there are threads, each with one connection, and a bank for the webhooks to be about."""

    def __init__(self, simulator: harness.Simulator, url: str) -> None:
        from connections.sandbox.plaid_webhooks import SigningKey
        from connections.services.plaid_exchange import public_token_exchange
        from connections.services.workspaces import person_bootstrap

        person = person_bootstrap(
            username="benchmark", password=uuid.uuid4().hex, workspace="benchmark", role="owner", is_staff=False
        )
        self.items = []
        for _ in range(20):
            made = simulator.control("POST", "items", {"transactions": 5, "accounts": 1, "life": False})
            public_token_exchange(
                user=person.user,
                workspace_id=person.membership.workspace_id,
                public_token=made["public_token"],
                environment="sandbox",
            )
            self.items.append(made["item_id"])
        journal = (harness.HOME / "simulators" / "plaid.jsonl").read_text().splitlines()
        key = [entry for entry in map(json.loads, journal) if entry.get("e") == "key"][-1]
        self.key = SigningKey(key["kid"], key["pem"], key["created_at"])
        self.port, self.sent = urlsplit(url).port or 0, 0

    def noop(self, count: int) -> Taken:
        """The same bytes to a view that does nothing."""
        return self._send([self._webhook("GET /healthz") for _ in range(count)])

    def ingest(self, count: int) -> Taken:
        return self._send([self._webhook() for _ in range(count)])

    def _webhook(self, line: str = "POST /webhook/plaid") -> bytes:
        """A request no other is like: true news of one of the banks."""
        self.sent += 1
        said = {"webhook_type": "TRANSACTIONS", "webhook_code": "SYNC_UPDATES_AVAILABLE", "environment": "sandbox"}
        said |= {"item_id": self.items[self.sent % len(self.items)], "initial_update_complete": True}
        body = json.dumps(said | {"historical_update_complete": True, "number": self.sent}).encode()
        head = f"{line} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nPlaid-Verification: {self.key.sign(body)}\r\nContent-Length: {len(body)}\r\n\r\n"
        return head.encode() + body

    def _send(self, requests: list[bytes]) -> Taken:
        times: list[float] = []
        failures: list[str] = []
        left = iter(
            requests
        )  # each client takes the next: however connections fall to the web processes, all end together
        threads = [threading.Thread(target=self._client, args=(left, times, failures)) for _ in range(CLIENTS)]
        began = time.perf_counter()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        took = time.perf_counter() - began
        assert not failures, failures[0]
        return Taken(times, took)

    def _client(self, requests: Iterator[bytes], times: list[float], failures: list[str]) -> None:
        connection = socket.create_connection(("127.0.0.1", self.port), timeout=30)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for request in requests:
            began = time.perf_counter()
            connection.sendall(request)
            answer = self._answer(connection)
            times.append(time.perf_counter() - began)
            if not answer.startswith(b"HTTP/1.1 200"):
                failures.append(answer[:200].decode(errors="replace"))
                break
        connection.close()

    @staticmethod
    def _answer(connection: socket.socket) -> bytes:
        """One answer, read to its end; it names its length."""
        answer = b""
        while b"\r\n\r\n" not in answer:
            answer += connection.recv(65536) or b"\r\n\r\n"
        head, _, body = answer.partition(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length:")[2].split(b"\r\n")[0] or 0)
        while len(body) < length:
            body += connection.recv(65536)
        return head

    def pile_up(self, count: int) -> None:
        """So many events that nobody has processed yet, of banks that nobody knows."""
        harness.owner(f"""
            INSERT INTO webhooks_webhookevent (id, provider, environment, dedupe_key, event_type, code, item_id, link_digest,
                headers, payload, body, status, deliveries, is_marked, attempts, replays, next_attempt_at, note, received_at,
                last_received_at, correlation_id)
            SELECT gen_random_uuid(), 'plaid', 'sandbox', 'backlog-' || number, 'TRANSACTIONS', 'SYNC_UPDATES_AVAILABLE',
                'item-' || number, '', '{{}}', '{{"webhook_type": "TRANSACTIONS"}}', '{{}}', 'received', 1, false, 0, 0, now(),
                '', now(), now(), '' FROM generate_series(1, {count}) AS number
        """)
        harness.owner("VACUUM ANALYZE webhooks_webhookevent")
        harness.checkpoint()


if __name__ == "__main__":
    main()
