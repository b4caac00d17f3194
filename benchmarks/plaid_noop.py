"""Syncs that bring nothing: what a connection costs on the many days on which its bank has no news.

    make benchmark NAME=plaid_noop [ARGS="--connections 1000"]

Counted for each sync: provider calls (in the simulator's log), statements, rows written by table (PostgreSQL's own
statistics), and CPU of the worker and of its database session. Beside it the same call to the provider with four
one-row statements around it, which is what any engine that claims, tells of its run and lets go has to pay.
"""

import argparse
import time
import uuid

from benchmarks import harness

RECORDS = ("sync_transaction", "sync_stagedpage", "sync_syncfailure", "connections_account")


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--connections", type=int, default=1000)
    options = arguments.parse_args()
    with harness.causeway() as simulator:
        banks = link(simulator, options.connections)
        harness.say(f"{len(banks)} connections linked and synced")
        plain = measure(simulator, banks, plain_turn(simulator))
        ours = measure(simulator, banks, engine_turn)
        harness.say(f"plain {plain}\nengine {ours}")
        harness.result(
            benchmark="plaid_noop",
            connections=len(banks),
            ratio_to_limit=round(plain["wall_ms"] / ours["wall_ms"], 3),
            limit_wall_ms=plain["wall_ms"],
            rss_mb=round(harness.peak_rss_mb(), 1),
            **ours,
        )


def link(simulator: harness.Simulator, count: int) -> list:
    """Connections with a short history, synced once: [(Item's key, connection's key, access token)]."""
    from connections.models import PlaidItem
    from connections.services.plaid_exchange import public_token_exchange
    from connections.services.workspaces import person_bootstrap
    from sync import engine

    person = person_bootstrap(
        username="benchmark", password=uuid.uuid4().hex, workspace="benchmark", role="owner", is_staff=False
    )
    found = []
    for _ in range(count):
        made = simulator.control("POST", "items", {"transactions": 5, "accounts": 1, "life": False})
        connection = public_token_exchange(
            user=person.user,
            workspace_id=person.membership.workspace_id,
            public_token=made["public_token"],
            environment="sandbox",
        )
        item = PlaidItem.objects.get(connection=connection)
        for _ in range(2):  # the first reads the history, the second finds nothing: from then on all is quiet
            PlaidItem.objects.filter(pk=item.pk).update(dirty_seq=item.dirty_seq + 1)
            engine.sync_item(item.pk, deadline=time.monotonic() + 60)
            item.refresh_from_db()
        assert item.last_synced_at
        assert not item.is_dirty
        found.append((item.pk, connection.pk, made["access_token"]))
    return found


def measure(simulator: harness.Simulator, banks: list, turn) -> dict:
    """One turn over every connection. Figures are for one connection; `record_rows` of all tables that hold records."""
    import psutil
    from django.db import connection

    from connections.models import PlaidItem

    PlaidItem.objects.update(dirty_seq=10**6, synced_seq=0)
    statements = 0

    def count(execute, sql, parameters, many, context):
        nonlocal statements
        statements += 1
        return execute(sql, parameters, many, context)

    worker, session = psutil.Process(), psutil.Process(connection.connection.info.backend_pid)
    rows_before, calls_before = rows_written(), simulator.control("GET", "log?after=0")["requests"][-1]["seq"]
    cpu_before = cpu_s(worker), cpu_s(session)
    began = time.perf_counter()
    with connection.execute_wrapper(count):
        for bank in banks:
            turn(*bank)
    took = time.perf_counter() - began
    worker_s, session_s = cpu_s(worker) - cpu_before[0], cpu_s(session) - cpu_before[1]
    calls = simulator.control("GET", "log?after=0")["requests"][-1]["seq"] - calls_before
    rows = {table: count - rows_before.get(table, 0) for table, count in rows_written().items()}
    return {
        "provider_calls": calls / len(banks),
        "statements": statements / len(banks),
        "record_rows": sum(rows.get(table, 0) for table in RECORDS),
        "bookkeeping_rows": round(sum(count for table, count in rows.items() if table not in RECORDS) / len(banks), 2),
        "wall_ms": round(took / len(banks) * 1000, 3),
        "worker_cpu_ms": round(worker_s / len(banks) * 1000, 3),
        "database_cpu_ms": round(session_s / len(banks) * 1000, 3),
    }


def cpu_s(process) -> float:
    times = process.cpu_times()
    return times.user + times.system


def rows_written() -> dict[str, int]:
    """Rows inserted, updated and deleted so far, by table."""
    from django.db import connection

    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_stat_force_next_flush()")
        cursor.execute("SELECT relname, n_tup_ins + n_tup_upd + n_tup_del FROM pg_stat_user_tables")
        return dict(cursor.fetchall())


def engine_turn(item_id, _connection_id, _access_token) -> None:
    from sync import engine

    assert engine.sync_item(item_id, deadline=time.monotonic() + 60) == engine.Outcome.SYNCED


def plain_turn(simulator: harness.Simulator):
    """A turn without an engine: one call, and four statements about one row each."""
    import orjson
    import urllib3
    from django.conf import settings
    from django.db import connection

    http = urllib3.HTTPConnectionPool("127.0.0.1", int(simulator.url.rpartition(":")[2]), maxsize=1)
    keys = {"client_id": settings.PLAID_CLIENT_ID, "secret": settings.PLAID_SECRET, "count": 500}

    def turn(item_id, connection_id, access_token) -> None:
        with connection.cursor() as cursor:
            cursor.execute(
                "UPDATE connections_plaiditem SET lease_expires_at = now() WHERE id = %s RETURNING cursor", [item_id]
            )
            (position,) = cursor.fetchone()
            body = orjson.dumps(keys | {"access_token": access_token, "cursor": position})
            answer = http.request(
                "POST", "/plaid/transactions/sync", body=body, headers={"Content-Type": "application/json"}
            )
            page = orjson.loads(answer.data)
            assert not page["added"]
            cursor.execute("SELECT status FROM connections_connection WHERE id = %s", [connection_id])
            cursor.execute("UPDATE connections_connection SET failure_count = 0 WHERE id = %s", [connection_id])
            cursor.execute(
                "UPDATE connections_plaiditem SET cursor = %s, lease_expires_at = NULL WHERE id = %s",
                [page["next_cursor"], item_id],
            )

    return turn


if __name__ == "__main__":
    main()
