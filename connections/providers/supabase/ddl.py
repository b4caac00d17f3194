"""The SQL that the owner of a store runs once, and again after a change: the tables of the contract and who may use them.

It is made from names that `contract` and the fields' cleaning have checked, quotes every one of them, changes nothing
that is right already, and stops where a table of that name is somebody else's.
"""

from collections.abc import Iterable, Iterator

from connections.providers.base import Access
from connections.providers.supabase import dsn
from connections.providers.supabase.contract import SYNCED_AT, VERSION, Column, Lines, Table, wanted

SERVICE_ROLE = "service_role"
CONTRACT = "causeway_contract"
MARK = "Kept by Causeway."  # how our tables are told from others


def contract_of(access: Access) -> str:
    """The file for one connection: its entities, its schema, and the role that its key or login has."""
    is_direct = access.config.get("kind") == "postgres"
    role = dsn.parsed(access.secret("dsn")).role if is_direct else SERVICE_ROLE
    return contract_sql(wanted(access.config), schema=str(access.config.get("schema") or "public"), role=role)


def contract_sql(tables: Iterable[Table], *, schema: str = "public", role: str = SERVICE_ROLE) -> str:
    """The whole file. role: who writes; anybody but service_role gets a policy of its own, since row security holds it."""
    chosen = list(tables)
    parts = [_head(chosen, schema, role)]
    for table in chosen:
        parts.append(_table(schema, table.name, table.all_columns, table.key, table.comment, role))
        if lines := table.lines:
            parts.append(_table(schema, lines.name, lines.all_columns, lines.key, lines.comment, role))
            parts.append(_replace(schema, lines, role))
    parts.append(_told(schema, list(names(chosen)), role))
    parts.append("notify pgrst, 'reload schema';\ncommit;\n")
    return "\n".join(parts)


def names(tables: Iterable[Table]) -> Iterator[str]:
    """Of all tables, those of lines included."""
    for table in tables:
        yield table.name
        if table.lines:
            yield table.lines.name


def quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def text(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"


def _head(tables: list[Table], schema: str, role: str) -> str:
    shown = ", ".join(names(tables))
    where = "" if schema == "public" else f"create schema if not exists {quoted(schema)};\n"
    return f"""\
-- Causeway's tables: {shown}.
-- Run this in the SQL editor, or with psql, as the role that shall own them. It may be run again at any time.
begin;
{where}grant usage on schema {quoted(schema)} to {quoted(role)};
do $causeway$
declare taken text;
begin
  select string_agg(c.relname, ', ') into taken
    from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace
   where n.nspname = {text(schema)} and c.relname in ({", ".join(map(text, names(tables)))})
     and coalesce(obj_description(c.oid, 'pg_class'), '') not like {text("%" + MARK)};
  if taken is not null then
    raise exception 'There are other tables of these names already: %. Choose a schema of its own for Causeway.', taken;
  end if;
end
$causeway$;
create or replace function {quoted(schema)}.causeway_synced() returns trigger language plpgsql set search_path = '' as $causeway$
begin
  new.{SYNCED_AT} := now();
  return new;
end
$causeway$;
"""


def _table(schema: str, name: str, columns: tuple[Column, ...], key: tuple[str, ...], comment: str, role: str) -> str:
    at = f"{quoted(schema)}.{quoted(name)}"
    lines = [f"  {_declared(column)}" for column in columns]
    lines.append(f"  {quoted(SYNCED_AT)} timestamptz not null default now()")
    lines.append(f"  unique ({', '.join(map(quoted, key))})")
    later = [
        f"alter table {at} add column if not exists {quoted(column.name)} {column.type};"
        for column in columns
        if not column.is_required
    ]
    said = [
        f"comment on column {at}.{quoted(column.name)} is {text(column.comment)};"
        for column in columns
        if column.comment
    ]
    body = ",\n".join(lines)
    return "\n".join(
        [
            f"-- {name}",
            f"create table if not exists {at} (\n{body}\n);",
            *later,
            f"comment on table {at} is {text(f'{comment} {MARK}'.strip())};",
            *said,
            *_rights(schema, at, role),
            *_triggers(schema, at),
            "",
        ]
    )


def _declared(column: Column) -> str:
    return f"{quoted(column.name)} {column.type}{' not null' if column.is_required else ''}"


def _rights(schema: str, at: str, role: str) -> Iterator[str]:
    """Row security is on and opens the table to nobody by itself; service_role passes it, another login by a policy."""
    yield f"alter table {at} enable row level security;"
    yield f"grant select, insert, update, delete on {at} to {quoted(role)};"
    if role == SERVICE_ROLE:
        yield f"revoke all on {at} from anon, authenticated;"
        return
    yield f"drop policy if exists causeway on {at};"
    yield f"create policy causeway on {at} to {quoted(role)} using (true) with check (true);"


def _triggers(schema: str, at: str) -> Iterator[str]:
    """By name, as PostgreSQL fires them: an update that changes nothing ends before the time of the sync is set."""
    for name, function in (
        ("causeway_a_unchanged", "suppress_redundant_updates_trigger()"),
        ("causeway_b_synced", f"{quoted(schema)}.causeway_synced()"),
    ):
        yield f"drop trigger if exists {name} on {at};"
        yield f"create trigger {name} before update on {at} for each row execute function {function};"


def _replace(schema: str, lines: Lines, role: str) -> str:
    """Lines are replaced as a set, or not at all. Two writers of one connection take turns."""
    at, name = f"{quoted(schema)}.{quoted(lines.name)}", f"{quoted(schema)}.{quoted(lines.replace)}"
    columns = ", ".join(quoted(column.name) for column in lines.all_columns)
    typed = ", ".join(f"{quoted(column.name)} {column.type}" for column in lines.all_columns)
    keyed = ", ".join(
        f"{quoted(column.name)} {column.type}" for column in lines.all_columns if column.name in lines.key
    )
    same_line = " and ".join(f"l.{quoted(one)} = old.{quoted(one)}" for one in lines.key)
    changed = ", ".join(f"{quoted(column.name)} = excluded.{quoted(column.name)}" for column in lines.columns)
    return f"""\
create or replace function {name}(parents jsonb, lines jsonb) returns void
language plpgsql security invoker set search_path = '' as $causeway$
#variable_conflict use_column
begin
  perform pg_advisory_xact_lock(hashtextextended({text(lines.name + " ")} || p.connection_id, 0))
     from (select distinct value ->> 'connection_id' as connection_id from jsonb_array_elements(parents) order by 1) p;
  delete from {at} as old
   using jsonb_to_recordset(parents) as p(connection_id uuid, source_system text, source_id text)
   where old.connection_id = p.connection_id and old.source_system = p.source_system
     and old.{quoted(lines.parent)} = p.source_id
     and not exists (select 1 from jsonb_to_recordset(lines) as l({keyed}) where {same_line});
  insert into {at} ({columns})
  select {columns} from jsonb_to_recordset(lines) as l({typed})
  on conflict ({", ".join(map(quoted, lines.key))}) do update set {changed};
end
$causeway$;
revoke all on function {name}(jsonb, jsonb) from {_nobody(role)};
grant execute on function {name}(jsonb, jsonb) to {quoted(role)};
"""


def _told(schema: str, tables: list[str], role: str) -> str:
    """What a verification cannot see from outside: row security, PostgreSQL's version, its clock."""
    name = f"{quoted(schema)}.{CONTRACT}"
    return f"""\
create or replace function {name}() returns jsonb language sql stable security invoker set search_path = '' as $causeway$
  select jsonb_build_object(
    'contract', {VERSION}, 'server_version_num', current_setting('server_version_num')::int, 'time', clock_timestamp(),
    'row_security', (
      select jsonb_object_agg(c.relname, c.relrowsecurity)
        from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace
       where n.nspname = {text(schema)} and c.relname in ({", ".join(map(text, tables))})));
$causeway$;
revoke all on function {name}() from {_nobody(role)};
grant execute on function {name}() to {quoted(role)};
"""


def _nobody(role: str) -> str:
    """Whom nothing is granted: Supabase gives its own roles every new function."""
    return "public, anon, authenticated" if role == SERVICE_ROLE else "public"
