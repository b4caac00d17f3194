"""What the Data API believes the database to look like, until it is told to look again."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from difflib import get_close_matches

import psycopg

from .supabase_errors import ApiError

TABLES = """
SELECT n.nspname, c.relname, a.attname,
       CASE WHEN t.typtype = 'd' THEN format_type(a.atttypid, NULL) ELSE format_type(a.atttypid, a.atttypmod) END,
       CASE WHEN a.attidentity <> '' THEN format('nextval(%%L)', pg_get_serial_sequence(format('%%I.%%I', n.nspname, c.relname), a.attname))
            WHEN a.attgenerated = '' THEN pg_get_expr(d.adbin, d.adrelid) END,
       a.attnum = ANY (coalesce(p.conkey, '{}'))
  FROM pg_class c
  JOIN pg_namespace n ON n.oid = c.relnamespace
  JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
  JOIN pg_type t ON t.oid = a.atttypid
  LEFT JOIN pg_attrdef d ON d.adrelid = c.oid AND d.adnum = a.attnum
  LEFT JOIN pg_constraint p ON p.conrelid = c.oid AND p.contype = 'p'
 WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f') AND n.nspname NOT IN ('pg_catalog', 'information_schema')
 ORDER BY n.nspname, c.relname, a.attnum
""".replace("%%", "%")
FUNCTIONS = """
SELECT n.nspname, p.proname, p.proretset, p.provolatile::text, format_type(p.prorettype, NULL), r.typtype = 'c' OR p.prorettype = 'record'::regtype,
       coalesce((SELECT array_agg(coalesce(p.proargnames[i], '') ORDER BY i) FROM generate_series(1, p.pronargs) i), '{}'),
       coalesce((SELECT array_agg(format_type(p.proargtypes[i], NULL) ORDER BY i) FROM generate_series(0, p.pronargs - 1) i), '{}'),
       p.pronargdefaults
  FROM pg_proc p
  JOIN pg_namespace n ON n.oid = p.pronamespace
  JOIN pg_type r ON r.oid = p.prorettype
 WHERE p.prokind = 'f' AND n.nspname NOT IN ('pg_catalog', 'information_schema') AND p.prorettype NOT IN ('trigger'::regtype, 'event_trigger'::regtype)
"""


@dataclass(slots=True)
class Column:
    type: str
    default: str | None
    is_key: bool


@dataclass(slots=True)
class Table:
    schema: str
    name: str
    columns: dict[str, Column] = field(default_factory=dict)

    @property
    def key(self) -> list[str]:
        return [name for name, column in self.columns.items() if column.is_key]


@dataclass(slots=True)
class Function:
    schema: str
    name: str
    is_set: bool
    volatility: str
    returns: str
    is_composite: bool
    arguments: dict[str, str]  # name → type, in order
    optional: int  # how many of the last ones have defaults

    @property
    def required(self) -> set[str]:
        return set(list(self.arguments)[: len(self.arguments) - self.optional])

    @property
    def takes_whole_body(self) -> bool:
        return list(self.arguments) == [""] and self.arguments[""] in ("json", "jsonb")

    def accepts(self, given: set[str]) -> bool:
        return self.required <= given <= set(self.arguments)


class SchemaCache:
    """Tables and functions as they were at the last reload. NOTIFY pgrst is heard at the next request."""

    def __init__(self, dsn: str):
        self.dsn = dsn
        self._lock = threading.RLock()
        self._listener: psycopg.Connection | None = None
        self._is_loaded = False
        self.tables: dict[tuple[str, str], Table] = {}
        self.functions: dict[tuple[str, str], list[Function]] = {}
        self.loads = 0

    def close(self) -> None:
        with self._lock:
            if self._listener:
                self._listener.close()

    def listen(self, *, hears_ddl: bool, patience_s: float = 0) -> None:
        """Look again where the database asked for it since, or nobody has looked yet. Raises ApiError.

        hears_ddl: whether a changed table is reason enough; NOTIFY pgrst by hand always is. patience_s: how long a word
        that is on its way is waited for.
        """
        reasons = ("", "reload schema", "ddl") if hears_ddl else ("", "reload schema")
        with self._lock:
            for has_another_try in (True, False):
                listener = self._listening()
                try:
                    self._hear(listener, reasons, patience_s)
                except psycopg.Error as error:
                    listener.close()  # the server may have gone and come back meanwhile
                    if not has_another_try:
                        raise ApiError("PGRST002", details=str(error)) from None
                else:
                    return

    def _hear(self, listener: psycopg.Connection, reasons: tuple[str, ...], patience_s: float) -> None:
        told = [note.payload for note in listener.notifies(timeout=patience_s, stop_after=1)]
        told += [note.payload for note in listener.notifies(timeout=0)] if told else []
        if not self._is_loaded or any(word in reasons for word in told):
            self._load(listener)

    def reload(self) -> None:
        with self._lock:
            self._is_loaded = False
            self.listen(hears_ddl=True)

    def _listening(self) -> psycopg.Connection:
        if self._listener is None or self._listener.closed:
            try:
                self._listener = psycopg.connect(self.dsn, autocommit=True)
                self._listener.execute("SET search_path TO ''")  # so that every type's name says its schema
                self._listener.execute("LISTEN pgrst")
            except psycopg.Error as error:
                raise ApiError("PGRST002", details=str(error).strip().splitlines()[-1]) from None
            self._is_loaded = False
        return self._listener

    def _load(self, connection: psycopg.Connection) -> None:
        tables: dict[tuple[str, str], Table] = {}
        for schema, name, column, kind, default, is_key in connection.execute(TABLES):
            table = tables.setdefault((schema, name), Table(schema, name))
            table.columns[column] = Column(kind, default, is_key)
        functions: dict[tuple[str, str], list[Function]] = {}
        for schema, name, is_set, volatility, returns, is_composite, names, types, optional in connection.execute(
            FUNCTIONS
        ):
            arguments = dict(zip(names, types, strict=True))
            made = Function(schema, name, is_set, volatility, returns, is_composite, arguments, optional)
            functions.setdefault((schema, name), []).append(made)
        self.tables, self.functions = tables, functions
        self._is_loaded = True
        self.loads += 1

    # --- questions ---

    def table(self, schema: str, name: str) -> Table:
        """Raises ApiError PGRST205."""
        if found := self.tables.get((schema, name)):
            return found
        near = get_close_matches(name, [other for place, other in self.tables if place == schema], 1)
        hint = f"Perhaps you meant the table '{schema}.{near[0]}'" if near else None
        raise ApiError("PGRST205", f"Could not find the table '{schema}.{name}' in the schema cache", hint=hint)

    def function(self, schema: str, name: str, given: set[str]) -> Function:
        """The overload that takes the arguments. Raises ApiError PGRST202, PGRST203."""
        overloads = self.functions.get((schema, name), [])
        fitting = [one for one in overloads if one.accepts(given)]
        if not fitting:
            fitting = [one for one in overloads if one.takes_whole_body]
        if len(fitting) == 1:
            return fitting[0]
        if fitting:
            shown = ", ".join(
                f"{schema}.{name}({', '.join(f'{arg} => {kind}' for arg, kind in one.arguments.items())})"
                for one in fitting
            )
            raise ApiError(
                "PGRST203",
                f"Could not choose the best candidate function between: {shown}",
                hint="Try renaming the parameters or the function itself in the database so function overloading can be resolved",
            )
        names = ", ".join(sorted(given))
        looked = f"with parameter{'s' if len(given) > 1 else ''} {names} or with a single unnamed json/jsonb parameter"
        without = "without parameters" if not given else looked
        raise ApiError(
            "PGRST202",
            f"Could not find the function {schema}.{name}{f'({names})' if given else ' without parameters'} in the schema cache",
            details=f"Searched for the function {schema}.{name} {without}, but no matches were found in the schema cache.",
        )
