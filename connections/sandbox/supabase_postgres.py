"""Direct connections: two TLS ports in front of the real server, as Supabase's poolers are.

*session* hands each client a server connection of its own; it also plays the direct host, `db.<ref>.supabase.test`, told by
the name the client asks for in TLS. *transaction* gives the server connection back after every transaction. Here that
means DISCARD ALL on it: whatever a client left behind (prepared statements, SET, LISTEN, advisory locks, open cursors,
temporary tables) is gone in its next transaction, as if that had met another connection, and fails with the server's own errors.
Passwords are checked by the server: the proxy passes SCRAM through.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import threading
from collections import Counter
from collections.abc import Coroutine
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import supabase_roles
from .faults import Fault
from .supabase_projects import NoDatabase, Project
from .supabase_tls import DIRECT_HOST, Authority
from .supabase_wire import (
    CANCEL_REQUEST,
    GSS_REQUEST,
    SSL_REQUEST,
    fatal,
    message,
    parse_parameters,
    read_message,
    read_startup,
    startup,
)

if TYPE_CHECKING:
    from .supabase import SupabaseSimulator

PATH = "postgres"  # what faults call a direct connection
CONNECTING = frozenset({"latency", "error", "hang", "reset"})
COMMITTED = frozenset({"commit_then_drop"})
MODES = ("session", "transaction")
POOL_SIZE = 15  # of the session pooler, a project
FIRST_WORDS_S = 10
# Only statements about roles are read for their names; data passes as it is.
ABOUT_ROLES = re.compile(rb"\s*(grant|revoke|alter|create|drop|reassign|set|do|comment)\b", re.IGNORECASE)


class Refused(Exception):
    """The client gets this FATAL and is hung up on."""

    def __init__(self, code: str, text: str):
        super().__init__(code)
        self.answer = fatal(code, text)


class Doors:
    """The listening ports, in a thread with an event loop of its own. The ports are kept in the home."""

    def __init__(self, simulator: SupabaseSimulator, folder: Path, host: str):
        self.simulator = simulator
        self.host = host
        self.file = folder / "supabase-ports.json"
        self.authority = Authority(folder / "supabase-tls")
        self.ports: dict[str, int] = {}
        self.sessions: Counter[str] = Counter()
        self.loop = asyncio.new_event_loop()
        self._open = threading.Event()
        self._thread = threading.Thread(target=self._run, name="supabase-postgres", daemon=True)
        self._thread.start()
        self._open.wait(10)

    def _run(self) -> None:
        asyncio.set_event_loop(self.loop)
        self.loop.run_until_complete(self._listen())
        self._open.set()
        self.loop.run_forever()

    def stop(self) -> None:
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(1)

    async def _listen(self) -> None:
        kept = json.loads(self.file.read_text()) if self.file.exists() else {}
        for mode in MODES:
            self.ports[mode] = await self._bind(mode, kept.get(mode, 0))
        if self.ports != kept:
            self.file.write_text(json.dumps(self.ports))

    async def _bind(self, mode: str, port: int) -> int:
        """The port listened on: the one wished for, or a free one where that is taken."""

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await Session(self, mode, reader, writer).run()

        try:
            server = await asyncio.start_server(serve, self.host, port)
        except OSError:
            server = await asyncio.start_server(serve, self.host, 0)
        return server.sockets[0].getsockname()[1]

    async def server(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """A connection to the real server. Raises Refused."""
        try:
            host, port = await asyncio.to_thread(self.simulator.projects.address)
            if host.startswith("/"):
                return await asyncio.open_unix_connection(f"{host}/.s.PGSQL.{port}")
            return await asyncio.open_connection(host, port)
        except (NoDatabase, OSError):
            raise Refused("57P03", "the database system is starting up") from None


class Session:
    """One client's connection."""

    def __init__(self, doors: Doors, mode: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter):
        self.doors, self.mode = doors, mode
        self.reader, self.writer = reader, writer
        self.simulator = doors.simulator
        self.tls: str | None = None
        self.asked_for = ""
        self.project: Project | None = None
        self.back: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        self.may_send = asyncio.Event()
        self.entry: dict[str, Any] = {"method": "CONNECT", "path": PATH, "mode": mode, "project": None, "code": None}

    async def run(self) -> None:
        """Serve until either side ends. Nothing that a client does may end more than its own connection."""
        is_counted = False
        try:
            async with asyncio.timeout(FIRST_WORDS_S):
                version, parameters = await self._greet()
            if parameters is not None:
                project, role = self._meant(parameters)
                is_counted = self._count(project, parameters["user"])
                await self._meet(project)
                self.back = await self.doors.server()
                renamed = {"user": project.role(role), "database": project.database}
                self.back[1].write(startup(version, parameters | renamed))
                self._log()
                await self._relay(project)
        except Refused as refusal:
            self._log(refusal)
            self.writer.write(refusal.answer)
        except (OSError, ValueError, asyncio.IncompleteReadError, TimeoutError):
            pass
        finally:
            if is_counted and self.project:
                self.doors.sessions[self.project.ref] -= 1
            await self._close()

    def _log(self, refusal: Refused | None = None) -> None:
        code = refusal.args[0] if refusal else None
        self.simulator.log(self.entry | {"tls": self.tls, "code": code})

    async def _close(self) -> None:
        for writer in (self.writer, self.back[1] if self.back else None):
            if writer:
                with contextlib.suppress(OSError, RuntimeError):
                    await asyncio.wait_for(writer.drain(), 1)
                writer.close()

    # --- the beginning ---

    async def _greet(self) -> tuple[int, dict[str, str] | None]:
        """Version and parameters of the startup packet, TLS begun where asked for. None: it was no session's."""
        while True:
            code, rest = await read_startup(self.reader)
            if code == GSS_REQUEST or (code == SSL_REQUEST and self.tls):
                self.writer.write(b"N")
            elif code == SSL_REQUEST:
                self.writer.write(b"S")
                await self.writer.start_tls(self.doors.authority.context())
                self.tls = self.writer.get_extra_info("cipher")[1]
                self.asked_for = getattr(self.writer.get_extra_info("ssl_object"), "asked_for", "")
            elif code == CANCEL_REQUEST:
                await self._cancel(rest)
                return code, None
            else:
                return code, parse_parameters(rest)

    async def _cancel(self, rest: bytes) -> None:
        _reader, writer = await self.doors.server()
        writer.write((len(rest) + 8).to_bytes(4) + CANCEL_REQUEST.to_bytes(4) + rest)
        await writer.drain()
        writer.close()

    def _meant(self, parameters: dict[str, str]) -> tuple[Project, str]:
        """Project and role. Raises Refused."""
        user = parameters.get("user", "")
        role, dot, ref = user.rpartition(".")
        direct = DIRECT_HOST.fullmatch(self.asked_for) if self.mode == "session" else None
        if not dot and direct:
            role, ref = user, direct[1]
        project = self.simulator.projects.projects.get(ref)
        self.entry |= {"project": ref, "role": role, "application_name": parameters.get("application_name")}
        if project is None or not role or project.state in ("paused", "restricted"):
            raise Refused("XX000", "Tenant or user not found")
        self.project = project
        if project.state != "active":
            raise Refused("57P03", "the database system is starting up")
        if not self.tls and project.switches["ssl_enforced"]:
            raise Refused("XX000", "SSL connection is required")
        if role not in project.role_names:
            raise Refused("28P01", f'password authentication failed for user "{role}"')
        if (database := parameters.get("database", user)) != "postgres":
            raise Refused("3D000", f'database "{database}" does not exist')
        return project, role

    def _count(self, project: Project, user: str) -> bool:
        """Take a place in the session pooler, which the direct host does without. Raises Refused."""
        if self.mode != "session" or "." not in user:
            return False
        if self.doors.sessions[project.ref] >= POOL_SIZE:
            reason = "max clients reached - in Session mode max clients are limited to pool_size"
            raise Refused("XX000", f"MaxClientsInSessionMode: {reason}")
        self.doors.sessions[project.ref] += 1
        return True

    async def _meet(self, project: Project) -> None:
        """The fault that is armed for a connection, if one is. Raises Refused, ConnectionResetError."""
        fault = self.simulator.faults.take(PATH, project.ref, CONNECTING)
        if fault is None:
            return
        self.entry["fault"] = fault.kind
        options = fault.options
        if fault.kind in ("latency", "hang"):
            await asyncio.sleep(float(options.get("seconds", 1 if fault.kind == "latency" else 60)))
        if fault.kind == "error":
            raise Refused(options.get("code", "53300"), options.get("message", "sorry, too many clients already"))
        if fault.kind != "latency":
            self._drop()
            raise ConnectionResetError

    def _drop(self) -> None:
        self.writer.transport.abort()

    # --- the rest ---

    async def _relay(self, project: Project) -> None:
        """Pass messages both ways until one side ends."""
        self.may_send.set()
        ways: list[Coroutine[Any, Any, None]] = [self._to_server(project), self._to_client(project)]
        tasks = [asyncio.ensure_future(way) for way in ways]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _to_server(self, project: Project) -> None:
        """The client's messages. In transaction mode nothing overtakes the end of the transaction before it."""
        assert self.back  # noqa: S101
        server = self.back[1]
        while True:
            kind, body = await read_message(self.reader)
            if kind in b"QP":
                body = self._renamed(project, kind, body)
            if self.mode == "transaction" and kind not in b"dcfp":
                await self.may_send.wait()
                if kind in b"QSF":
                    self.may_send.clear()
            server.write(message(kind, body))
            await server.drain()
            if kind == b"X":
                return

    def _renamed(self, project: Project, kind: bytes, body: bytes) -> bytes:
        """A statement of the owner's about roles, with the names that the server knows them by."""
        name, _, rest = (b"", b"", body) if kind == b"Q" else body.partition(b"\0")
        text, _, types = rest.partition(b"\0")
        if not ABOUT_ROLES.match(text):
            return body
        written = text.decode("utf-8", "surrogateescape")
        self.simulator.projects.note_roles(project, supabase_roles.roles_made(written))
        text = project.renamed(written).encode("utf-8", "surrogateescape")
        return (b"" if kind == b"Q" else name + b"\0") + text + b"\0" + types

    async def _to_client(self, project: Project) -> None:
        """The server's messages, with its roles called by their short names."""
        assert self.back  # noqa: S101
        server = self.back[0]
        prefix = project.prefix.encode()
        is_signed_in = False
        while True:
            kind, body = await read_message(server)
            if kind in b"EN":
                body = body.replace(prefix, b"")
            if kind == b"C" and body == b"COMMIT\0" and self._fault_at_commit(project):
                self._drop()
                return
            if self.mode == "transaction":
                if kind == b"Z" and body == b"I" and is_signed_in:
                    await self._give_back()
                if kind in b"ZGW":
                    self.may_send.set()
            is_signed_in = is_signed_in or kind == b"Z"
            self.writer.write(message(kind, body))
            await self.writer.drain()

    def _fault_at_commit(self, project: Project) -> Fault | None:
        return self.simulator.faults.take(PATH, project.ref, COMMITTED)

    async def _give_back(self) -> None:
        """The server connection is as good as another one."""
        assert self.back  # noqa: S101
        reader, writer = self.back
        writer.write(message(b"Q", b"DISCARD ALL\0"))
        while True:
            kind, body = await read_message(reader)
            if kind == b"S":
                self.writer.write(message(kind, body))
            if kind == b"Z":
                return
