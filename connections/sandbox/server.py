"""The simulators' HTTP server: one gunicorn worker (the state is in memory) with many threads."""

from __future__ import annotations

import ctypes
import signal
import sys
from collections.abc import Callable
from http import HTTPStatus
from pathlib import Path
from typing import Any

from gunicorn.app.base import BaseApplication

from .wire import Request, Response, Simulator, stopping

PR_SET_PDEATHSIG = 1  # linux/prctl.h
THREADS = 64  # a hanging fault holds a thread; clients that merely keep a connection open do not


class Dispatcher:
    """The WSGI application: the first path segment names the simulator, `/healthz` answers for the process."""

    def __init__(self, simulators: dict[str, Simulator]):
        self.simulators = simulators

    def __call__(self, environ: dict[str, Any], start_response: Callable) -> list[bytes]:
        response = self.respond(environ)
        known = response.status in HTTPStatus.__members__.values()
        reason = HTTPStatus(response.status).phrase if known else "Unknown"
        headers = [("Content-Type", response.content_type), ("Content-Length", str(len(response.body)))]
        start_response(f"{response.status} {reason}", headers + response.headers)
        return [] if environ["REQUEST_METHOD"] == "HEAD" else [response.body]

    def respond(self, environ: dict[str, Any]) -> Response:
        path = environ["PATH_INFO"]
        if path == "/healthz":
            return Response(body=b'{"status":"ok"}')
        prefix, slash, rest = path[1:].partition("/")
        simulator = self.simulators.get(prefix)
        if simulator is None:
            return Response(status=404, body=b'{"error":"no simulator here"}')
        return simulator.handle(Request.from_environ(environ, f"/{prefix}", slash + rest))


class Server(BaseApplication):
    """gunicorn, embedded. `build` runs in the worker, so that threads and state are born after the fork."""

    def __init__(self, host: str, port: int, build: Callable[[], dict[str, Simulator]]):
        self.address = f"{host}:{port}"
        self.build = build
        self.simulators: dict[str, Simulator] = {}
        super().__init__()

    def load_config(self) -> None:
        settings = {
            "bind": self.address,
            "workers": 1,
            "worker_class": "gthread",
            "threads": THREADS,
            "worker_connections": 2000,
            "keepalive": 75,
            "timeout": 0,  # a busy machine is no reason to kill the one worker that holds the state
            "graceful_timeout": 1,
            "loglevel": "warning",
            "control_socket_disable": True,
            "proc_name": "causeway-simulators",
            "post_fork": self.after_fork,
            "post_worker_init": self.announce,
            "worker_exit": self.leave,
        }
        for name, value in settings.items():
            self.cfg.set(name, value)

    def load(self) -> Dispatcher:
        self.simulators = self.build()
        return Dispatcher(self.simulators)

    @staticmethod
    def after_fork(_arbiter: Any, worker: Any) -> None:
        """Die with the arbiter however it dies, so that the port is free for the next start; wake waiters on SIGTERM."""
        if sys.platform == "linux":
            ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        graceful = worker.handle_exit

        def handle_exit(sig: int, frame: Any) -> None:
            stopping.set()
            graceful(sig, frame)

        worker.handle_exit = handle_exit

    @staticmethod
    def announce(worker: Any) -> None:
        if worker.age == 1:  # a replacement after a crash stays quiet
            host, port = worker.sockets[0].getsockname()[:2]
            print(f"simulators ready http://{host}:{port}", flush=True)

    def leave(self, _arbiter: Any, _worker: Any) -> None:
        stopping.set()
        for simulator in self.simulators.values():
            simulator.stop()


def serve(
    *, host: str, port: int, home: Path, life_interval_s: float, ready_after_s: float, has_limits: bool, is_demo: bool
) -> None:
    """Serve all simulators until SIGTERM. `home`: CAUSEWAY_HOME; the journals live in `home`/simulators.

    is_demo: what is to be looked at without having been asked for is made.
    """
    from .plaid import PlaidSimulator
    from .quickbooks import QuickBooksSimulator
    from .supabase import SupabaseSimulator
    from .woocommerce import WooSimulator

    folder = home / "simulators"
    folder.mkdir(parents=True, exist_ok=True)

    def build() -> dict[str, Simulator]:
        plaid = PlaidSimulator(folder / "plaid.jsonl", life_interval_s, ready_after_s, has_limits=has_limits)
        supabase = SupabaseSimulator(folder, host, is_demo=is_demo)
        woocommerce = WooSimulator(folder / "woocommerce.jsonl", life_interval_s, is_demo=is_demo)
        quickbooks = QuickBooksSimulator(folder / "quickbooks.jsonl", life_interval_s, has_limits=has_limits)
        return {"plaid": plaid, "supabase": supabase, "woocommerce": woocommerce, "quickbooks": quickbooks}

    sys.argv = sys.argv[:1]  # gunicorn must not read our options
    Server(host, port, build).run()
