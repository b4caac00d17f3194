"""A hundred thousand banks that are due at once: how long until every one is claimed for a worker and handed out.

    make benchmark NAME=dispatch [ARGS="--connections 100000"]

The limit beside it: one UPDATE of the same rows, and the same messages put into Valkey by its own client in one go.
"""

import argparse
import time
import uuid

from benchmarks import harness


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--connections", type=int, default=100_000)
    options = arguments.parse_args()
    with harness.causeway():
        fill(options.connections)
        limit_s = limit(options.connections)
        reset()
        took_s, offered = engine()
        assert offered == options.connections, f"{offered} of {options.connections} were handed out"
        harness.result(
            benchmark="dispatch",
            connections=options.connections,
            ratio_to_limit=round(limit_s / took_s, 3),
            handed_out_s=round(took_s, 2),
            limit_s=round(limit_s, 2),
            empty_tick_ms=empty_tick_ms(),
            rss_mb=round(harness.peak_rss_mb(), 1),
        )


def fill(count: int) -> None:
    """Banks with news, made in sets."""
    from connections.services.workspaces import person_bootstrap

    person = person_bootstrap(
        username="benchmark", password=uuid.uuid4().hex, workspace="benchmark", role="owner", is_staff=False
    )
    from connections.models import Connection, PlaidItem

    owned = {"workspace_id": person.membership.workspace_id}
    for start in range(0, count, 5_000):
        rows = [
            Connection(
                **owned, owner=person.user, provider="plaid", name="Bank", status="active", environment="sandbox"
            )
            for _ in range(min(5_000, count - start))
        ]
        Connection.objects.bulk_create(rows)
        PlaidItem.objects.bulk_create(
            PlaidItem(**owned, connection=row, item_id=row.pk.hex, dirty_seq=2, synced_seq=1) for row in rows
        )
    harness.owner("VACUUM ANALYZE")
    harness.checkpoint()


def reset() -> None:
    import redis
    from django.conf import settings

    harness.owner("UPDATE connections_plaiditem SET offered_until = NULL")
    harness.owner("VACUUM ANALYZE connections_plaiditem")
    harness.checkpoint()
    redis.Redis.from_url(settings.REDIS_URL).flushdb()


def engine() -> tuple[float, int]:
    """Seconds until nothing is due any more, and how many were handed out, through the job that beat calls."""
    from sync.services.jobs import job_run

    offered = 0
    began = time.perf_counter()
    while counts := job_run("process")["offered"]:
        offered += counts
    return time.perf_counter() - began, offered


def limit(count: int) -> float:
    """The same rows and messages, without asking which are due, in batches of what one message carries."""
    import json

    import redis
    from django.conf import settings
    from django.db import connection

    from sync.services.jobs import LARGEST_BATCH

    client = redis.Redis.from_url(settings.REDIS_URL)
    began = time.perf_counter()
    with connection.cursor() as cursor:
        cursor.execute("UPDATE connections_plaiditem SET offered_until = now() + interval '30 seconds' RETURNING id")
        ids = [str(row[0]) for row in cursor.fetchall()]
    with client.pipeline(transaction=False) as pipeline:
        for start in range(0, len(ids), LARGEST_BATCH):
            pipeline.lpush("benchmark", json.dumps(ids[start : start + LARGEST_BATCH]))
        pipeline.execute()
    return time.perf_counter() - began


def empty_tick_ms() -> float:
    """The median of a hundred ticks with nothing due, as many rows as there are."""
    from sync.services.jobs import job_run

    times = []
    for _ in range(100):
        began = time.perf_counter()
        assert not any(job_run("process").values())
        times.append((time.perf_counter() - began) * 1000)
    return round(harness.median(times), 2)


if __name__ == "__main__":
    main()
