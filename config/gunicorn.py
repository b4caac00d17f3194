"""gunicorn's threaded worker, for clients that stall: a request gets a thread once all of it is here.

The worker's own loop collects heads and bodies, which costs a stalled client's connection some memory and nothing
else; gunicorn's parser then reads the request from what was collected, and a thread never waits for a client to send.
What is longer than any endpoint takes is handed over unfinished: the application refuses it by its declared length, the
answer says `Connection: close`, and the loop reads on for a while so that the client gets to that answer.

Plain TCP only: TLS ends at the proxy in front.
"""

import contextlib
import gc
import re
import socket
import time
from functools import partial
from selectors import EVENT_READ
from typing import Any

import structlog
from django.conf import settings
from gunicorn import http
from gunicorn.http.body import ChunkedReader
from gunicorn.workers.gthread import STOP_KEEPALIVE_LINGER, ThreadWorker

from config import correlation

log = structlog.get_logger(__name__)

DRAIN_LIMIT = 8 * 1024 * 1024  # how much of a refused request is read and thrown away
DRAIN_S = 5.0
HELD_LIMIT = 64 * 1024 * 1024  # how much unfinished requests may hold together, in one worker
_PIECE = 65_536
_CHUNK_SIZE = re.compile(rb"[0-9A-Fa-f]{1,16}")


class Arrival:
    """A request on its way in.

    is_ready: a thread can answer it now. is_whole: and all of it is here, so the connection can be used again.
    """

    def __init__(self, cfg: Any, client: Any, *, limit: int, deadline: float) -> None:
        self.data = bytearray()
        self.deadline = deadline
        self.is_ready = self.is_whole = self.wants_continue = False
        self.path = ""
        self._cfg, self._client, self._limit = cfg, client, limit
        self._searched = 0  # where the search for the end of the head goes on
        self._end: int | None = None  # of the body, where its length was declared
        self._chunk_at: int | None = None  # where the size of the next chunk stands, where it comes in chunks
        self._unpacked = 0

    def feed(self, data: bytes) -> None:
        self.data += data
        if self._end is None and self._chunk_at is None:
            self._read_head()
        if self.is_ready:
            return
        if self._end is not None:
            self.is_ready = self.is_whole = len(self.data) >= self._end
        elif self._chunk_at is not None:
            self._read_chunks()
            self.is_ready = self.is_ready or len(self.data) > 2 * self._limit + _PIECE  # mostly framing: nobody's body

    def _read_head(self) -> None:
        """Framing is gunicorn's to decide. Whatever it refuses is ready: it says why once a thread has it."""
        end = self.data.find(b"\r\n\r\n", max(0, self._searched - 3))
        if end < 0:
            self._searched = len(self.data)
            line = self._cfg.limit_request_line
            is_line_too_long = len(self.data) > line + 2 and b"\r\n" not in self.data[: line + 2]
            longest = line + self._cfg.limit_request_fields * (self._cfg.limit_request_field_size + 2) + _PIECE
            self.is_ready = is_line_too_long or len(self.data) > longest
            return
        start = end + 4
        try:
            request = next(http.get_parser(self._cfg, [bytes(self.data[:start])], self._client))
            reader = request.body.reader
        except Exception:  # noqa: BLE001 - told to the client by gunicorn, see above
            self.is_ready = True
            return
        self.path = request.path
        self.wants_continue = bool(request._expected_100_continue)
        if isinstance(reader, ChunkedReader):
            self._chunk_at = start
        else:
            self._end = start + reader.length
            self.is_ready = reader.length > self._limit

    def _read_chunks(self) -> None:
        """Go on to the chunk that is not whole yet. Ready without being whole: too much, or not chunks at all."""
        while self._chunk_at is not None:
            end = self.data.find(b"\r\n", self._chunk_at)
            if end < 0:
                self.is_ready = len(self.data) - self._chunk_at > self._cfg.limit_request_field_size
                return
            digits = bytes(self.data[self._chunk_at : end]).split(b";", 1)[0].rstrip(b" \t")
            if not _CHUNK_SIZE.fullmatch(digits):
                self.is_ready = True
                return
            size, start = int(digits, 16), end + 2
            if size == 0:  # trailers may follow; an empty line ends it all
                self.is_ready = self.is_whole = self.data.find(b"\r\n\r\n", end) >= 0
                return
            here = min(size, len(self.data) - start)
            if self._unpacked + here > self._limit + _PIECE:  # the margin is what a reader asks for beyond the limit
                self.is_ready = True
                return
            if len(self.data) < start + size + 2:
                return
            if self.data[start + size : start + size + 2] != b"\r\n":
                self.is_ready = True
                return
            self._unpacked += size
            self._chunk_at = start + size + 2


class Worker(ThreadWorker):
    """`gunicorn --worker-class config.gunicorn.Worker`. Everything here but the handling runs in the worker's loop."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._arriving: dict[Any, Arrival] = {}  # by deadline, as all wait equally long
        self._leaving: dict[Any, tuple[float, int]] = {}  # answered: until when, and how many bytes, are read in vain
        self._held = 0

    def run(self) -> None:
        """What is loaded by now stays for good, and is looked through for garbage no more: that stops all threads for 0.1 s.

        Not collected first: that would write to every object, and workers would no longer share the memory of what was
        loaded before they were forked.
        """
        gc.freeze()
        super().run()

    # --- in ---
    def enqueue_req(self, conn: Any) -> None:
        """A connection was made, or is used again: collect its next request."""
        early = conn.parser.unreader.take_buffered() if conn.parser else b""
        conn.sock.setblocking(False)
        deadline = time.monotonic() + _patience_s()
        limit = settings.DATA_UPLOAD_MAX_MEMORY_SIZE
        self._arriving[conn] = Arrival(self.cfg, conn.client, limit=limit, deadline=deadline)
        self.poller.register(conn.sock, EVENT_READ, partial(self._on_arriving, conn))
        if early:
            self._feed(conn, early)

    def _on_arriving(self, conn: Any, client: socket.socket) -> None:
        try:
            data = client.recv(_PIECE)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if data:
            self._feed(conn, data)
        else:
            self._collected(conn)
            self._close(conn)

    def _feed(self, conn: Any, data: bytes) -> None:
        arrival = self._arriving[conn]
        self._held += len(data)
        arrival.feed(data)
        if arrival.is_ready:
            self._collected(conn)
            conn.parser = http.get_parser(self.cfg, [bytes(arrival.data)], conn.client)
            conn.initialized = conn.data_ready = True
            conn.is_whole = arrival.is_whole
            super().enqueue_req(conn)
        elif self._held > HELD_LIMIT:
            log.warning("requests_hold_too_much", connections=len(self._arriving))
            self._collected(conn)
            self._close(conn)
        elif arrival.wants_continue:
            arrival.wants_continue = False
            with contextlib.suppress(OSError):
                conn.sock.send(b"HTTP/1.1 100 Continue\r\n\r\n")

    def _collected(self, conn: Any) -> Arrival:
        arrival = self._arriving.pop(conn)
        self._held -= len(arrival.data)
        with contextlib.suppress(OSError, KeyError, ValueError):
            self.poller.unregister(conn.sock)
        return arrival

    # --- in a thread ---
    def handle_request(self, req: Any, conn: Any) -> bool:
        req._expected_100_continue = False  # nobody waits for it any more
        if not conn.is_whole:
            req.force_close()
        conn.sock.settimeout(_patience_s())  # for a client that does not take its answer
        try:
            return super().handle_request(req, conn)
        except TimeoutError:
            log.info("answer_not_taken", path=req.path)
            return False

    def _keepalive_after(self, conn: Any, keepalive: bool) -> bool:
        """What the application left unread is in memory, so skipping it takes no time."""
        if not (keepalive and conn.is_whole):
            return False
        with contextlib.suppress(Exception):  # chunks that are none: finish_body says so
            while conn.parser.mesg.body.read(1024 * 1024):
                pass
        return bool(conn.parser.finish_body())

    # --- out ---
    def finish_request(self, conn: Any, fs: Any) -> None:
        if not fs.cancelled() and fs.exception() is None and fs.result():
            super().finish_request(conn, fs)
        else:
            self._leave(conn)

    def _leave(self, conn: Any) -> None:
        """Close in a way that lets the client read its answer (RFC 9112 section 9.6): without waiting for it."""
        try:
            conn.sock.setblocking(False)
            conn.sock.shutdown(socket.SHUT_WR)
            self.poller.register(conn.sock, EVENT_READ, partial(self._on_leaving, conn))
        except (OSError, KeyError, ValueError):
            self._close(conn)
        else:
            self._leaving[conn] = (time.monotonic() + DRAIN_S, DRAIN_LIMIT)

    def _on_leaving(self, conn: Any, client: socket.socket) -> None:
        deadline, left = self._leaving[conn]
        try:
            left -= (read := len(client.recv(_PIECE)))
        except BlockingIOError:
            return
        except OSError:
            read = 0
        if read and left > 0:
            self._leaving[conn] = (deadline, left)
        else:
            self._left(conn)

    def _left(self, conn: Any) -> None:
        del self._leaving[conn]
        with contextlib.suppress(OSError, KeyError, ValueError):
            self.poller.unregister(conn.sock)
        self._close(conn)

    def _close(self, conn: Any) -> None:
        self.nr_conns -= 1
        conn.close()

    # --- every second, and with every event ---
    def murder_pending(self) -> None:
        super().murder_pending()
        now = time.monotonic()
        if not self.alive:
            for arrival in self._arriving.values():
                arrival.deadline = min(arrival.deadline, now + STOP_KEEPALIVE_LINGER)
        while self._arriving and next(iter(self._arriving.values())).deadline <= now:
            conn = next(iter(self._arriving))
            self._give_up(conn, self._collected(conn))
        while self._leaving and next(iter(self._leaving.values()))[0] <= now:
            self._left(next(iter(self._leaving)))

    def _give_up(self, conn: Any, arrival: Arrival) -> None:
        if not arrival.data:
            self._close(conn)
            return
        with contextlib.suppress(OSError):
            conn.sock.send(_timed_out(arrival.path))
        self._leave(conn)


def _patience_s() -> float:
    return max(1.0, settings.WEB_READ_TIMEOUT_S)  # 0 would be a socket that never waits, not even for its own buffers


def _timed_out(path: str) -> bytes:
    from config import problems  # needs the applications, which are loaded after this class
    from config.rendering import JSONRenderer
    from connections.errors import CausewayError

    with correlation.bound(None) as correlation_id:
        error = CausewayError(code="request_timeout")
        body = JSONRenderer().render(problems.problem(error, instance=path))
        log.info("request_refused", code=error.code, status=error.entry.status, path=path)
    head = (
        f"HTTP/1.1 {error.entry.status} {error.entry.title}\r\nContent-Type: {problems.MEDIA_TYPE}\r\n"
        f"Content-Length: {len(body)}\r\n{correlation.HEADER}: {correlation_id}\r\nConnection: close\r\n\r\n"
    )
    return head.encode() + body
