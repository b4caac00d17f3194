"""The control endpoint, /supabase/_control/...: make projects, be their owner, inject faults, read the truth.

Never part of the wire protocol. Reference: docs/reference/simulators.md.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import psycopg
from psycopg import sql

from . import exact, supabase_roles
from .supabase_errors import ApiError
from .supabase_projects import STATES, NoDatabase, Project
from .supabase_tls import DOMAIN
from .wire import Request, Response

if TYPE_CHECKING:
    from .supabase import SupabaseSimulator

READ_ONLY = "ALTER DATABASE {} SET default_transaction_read_only = {}"
MOST_ROWS = 10_000


def handle(simulator: SupabaseSimulator, request: Request) -> Response:
    """Answer 200 with what was done, 400 with why not, 404 for what is not there, 503 where there is no database."""
    try:
        body = exact.parse(request.body) if request.body else {}
        shown = Control(simulator, request, body).answer()
    except KeyError as error:
        return Response(status=404, body=exact.dumps({"error": f"not found: {error.args[0]}"}))
    except (ValueError, TypeError) as error:
        return Response(status=400, body=exact.dumps({"error": str(error)}))
    except psycopg.Error as error:
        told = {
            "error": error.diag.message_primary or str(error),
            "code": error.sqlstate,
            "hint": error.diag.message_hint,
        }
        return Response(status=400, body=exact.dumps(told))
    except (NoDatabase, ApiError) as error:
        return Response(status=503, body=exact.dumps({"error": str(error)}))
    return Response(body=exact.dumps(shown))


class Control:
    """One control request."""

    def __init__(self, simulator: SupabaseSimulator, request: Request, body: Any):
        if not isinstance(body, dict):
            raise TypeError("the body must be an object")
        self.simulator = simulator
        self.projects = simulator.projects
        self.request = request
        self.query = request.query
        self.body: dict[str, Any] = body

    def answer(self) -> Any:
        names = self.request.path.removeprefix("/_control/").strip("/").split("/")
        verb = self.request.method.lower()
        if names[0] == "projects" and len(names) in (2, 3):
            project = self.projects.projects.get(names[1]) or self.projects.named(names[1])
            if project is None:
                raise KeyError(names[1])
            if action := getattr(self, f"{verb}_project_{names[2] if len(names) > 2 else 'whole'}", None):
                return action(project)
        elif action := getattr(self, f"{verb}_{'_'.join(names)}", None):
            return action()
        raise KeyError(self.request.path)

    # --- the whole simulator ---

    def post_reset(self) -> dict[str, Any]:
        """No fault and no log is left. With `projects`: no project either."""
        self.simulator.faults.clear()
        self.simulator.requests.clear()
        gone = list(self.projects.projects.values()) if self.body.get("projects") else []
        for project in gone:
            self.projects.remove(project)
        return {"reset": True, "projects": len(gone)}

    def get_log(self) -> dict[str, Any]:
        after, project = int(self.query.get("after", 0)), self.query.get("project")
        rows = [row for row in list(self.simulator.requests) if row["seq"] > after]
        return {"requests": [row for row in rows if project in (None, row["project"])]}

    def post_faults(self) -> dict[str, Any]:
        given = dict(self.body)
        if project := given.pop("project", None):
            given["item_id"] = project
        return self.simulator.faults.add({"path": "*"} | given)

    def get_faults(self) -> dict[str, Any]:
        return {"faults": self.simulator.faults.listed()}

    def delete_faults(self) -> dict[str, Any]:
        given = self.query.get("id")
        return {"cleared": self.simulator.faults.clear(int(given) if given else None)}

    # --- projects ---

    def get_projects(self) -> dict[str, Any]:
        return {"projects": [self._shown(project) for project in list(self.projects.projects.values())]}

    def post_projects(self) -> dict[str, Any]:
        """A new project {"name"?, "ref"?}. With `if_missing`, the one of that name where there is one."""
        name = str(self.body.get("name", "project"))
        with self.projects.lock:
            found = self.projects.named(name) if self.body.get("if_missing") else None
            return self._shown(found or self.projects.create(name=name, ref=self.body.get("ref")))

    def get_project_whole(self, project: Project) -> dict[str, Any]:
        return self._shown(project)

    def delete_project_whole(self, project: Project) -> dict[str, Any]:
        self.projects.remove(project)
        return {"removed": project.ref}

    def patch_project_whole(self, project: Project) -> dict[str, Any]:
        """Change state, switches, exposed_schemas, max_rows, statement_timeout_ms, read_only."""
        for name, value in self.body.items():
            if name == "state" and value not in STATES:
                raise ValueError(f"state must be one of {', '.join(STATES)}")
            if name == "read_only":
                self._set_read_only(project, bool(value))
            elif name in project.switches:
                project.switches[name] = bool(value)
            elif name == "statement_timeout_ms":
                project.statement_timeout_ms |= {role: int(limit) for role, limit in value.items()}
            elif name in ("state", "exposed_schemas", "max_rows"):
                setattr(project, name, value)
            else:
                raise ValueError(f"unknown: {name}")
        self.projects.save(project)
        return self._shown(project)

    def _set_read_only(self, project: Project, value: bool) -> None:
        with self.projects.admin() as admin:
            words = sql.SQL("on" if value else "off")
            admin.execute(sql.SQL(READ_ONLY).format(sql.Identifier(project.database), words))
        self.projects.live(project).pool.close()  # a session keeps what it was born with

    def post_project_keys(self, project: Project) -> dict[str, Any]:
        """New opaque keys; the old ones are worth nothing."""
        self.projects.rotate(project)
        return self._shown(project)

    def post_project_roles(self, project: Project) -> dict[str, Any]:
        """A login {"name", "password"?} for direct connections, without any grant; or a new password for it."""
        name = str(self.body["name"])
        return {"name": name, "password": self.projects.add_role(project, name, self.body.get("password"))}

    def post_project_sql(self, project: Project) -> dict[str, Any]:
        """Run the owner's SQL {"sql"}: one transaction, unless it says otherwise. Gives the last result's rows."""
        text = str(self.body["sql"])
        self.projects.note_roles(project, supabase_roles.roles_made(text))
        with self.projects.owner(project) as owner, owner.cursor() as cursor:
            cursor.execute(project.renamed(text).encode())
            while cursor.nextset():
                pass
            rows = cursor.fetchmany(MOST_ROWS) if cursor.description else []
            names = [column.name for column in cursor.description or ()]
            status = cursor.statusmessage
        self._tell(project, text)
        shown = [{name: _plain(value) for name, value in zip(names, row, strict=True)} for row in rows]
        return {"rows": shown, "status": status}

    def _tell(self, project: Project, text: str) -> None:
        """Whoever ran SQL here finds the Data API up to date, if it would be before long."""
        schema = self.projects.live(project).schema
        if project.switches["auto_reload"]:
            schema.reload()
        elif re.search(r"\bnotify\s+pgrst\b", text, re.IGNORECASE):
            schema.listen(hears_ddl=False, patience_s=2)

    def post_project_disconnect(self, project: Project) -> dict[str, Any]:
        """Whoever is connected to the database is cut off (57P01), the Data API too."""
        query = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE datname = %s"
        with self.projects.admin() as admin:
            found = admin.execute(query, [project.database]).fetchone()
        return {"disconnected": found[0] if found else 0}

    def post_project_reload(self, project: Project) -> dict[str, Any]:
        """The Data API looks at the database again, now."""
        schema = self.projects.live(project).schema
        schema.reload()
        return {"tables": sorted(f"{place}.{name}" for place, name in schema.tables)}

    def get_project_rows(self, project: Project) -> dict[str, Any]:
        """?table=, ?schema=public, ?limit=: the rows that exist, as JSON, whatever grants and policies say."""
        table = sql.Identifier(self.query.get("schema", "public"), self.query["table"])
        limit = min(int(self.query.get("limit", 1000)), MOST_ROWS)
        with self.projects.owner(project) as owner:
            owner.execute("SET row_security = off")
            found = owner.execute(sql.SQL("SELECT count(*) FROM {}").format(table)).fetchone()
            text = sql.SQL("SELECT to_json(t)::text FROM {} t ORDER BY 1 LIMIT {}").format(table, sql.Literal(limit))
            rows = [exact.parse(row) for (row,) in owner.execute(text)]
        return {"total": found[0] if found else 0, "rows": rows}

    def _shown(self, project: Project) -> dict[str, Any]:
        return {
            "ref": project.ref,
            "name": project.name,
            "url": f"{self.request.origin}{self.request.mount}/{project.ref}",
            "keys": project.keys,
            "jwt_secret": project.jwt_secret,
            "state": project.state,
            "exposed_schemas": project.exposed_schemas,
            "max_rows": project.max_rows,
            "statement_timeout_ms": project.statement_timeout_ms,
            "switches": project.switches,
            "roles": project.role_names,
            "direct": self._direct(project),
        }

    def _direct(self, project: Project) -> dict[str, Any] | None:
        """How the tables' owner connects directly; `ca_pem` is what verify-full needs."""
        doors = self.simulator.doors
        if doors is None:
            return None
        host = "127.0.0.1" if doors.host in ("", "0.0.0.0", "::") else doors.host  # noqa: S104
        password = project.passwords["postgres"]
        return {
            "host": host,
            "host_name": f"db.{project.ref}.{DOMAIN}",
            "ports": doors.ports,
            "user": f"postgres.{project.ref}",
            "password": password,
            "database": "postgres",
            "dsn": f"postgresql://postgres.{project.ref}:{password}@{host}:{doors.ports['session']}/postgres",
            "ca_pem": doors.authority.pem,
        }


def _plain(value: Any) -> Any:
    return value if isinstance(value, str | int | float | bool | list | dict | None) else str(value)
