"""A bank's whole history through the engine, beside the fastest plain code that does less.

    make benchmark NAME=plaid_sync [ARGS="--rows 100000 --long 1000000 --rounds 3"]

The limit: fetch a page, parse its envelope, merge it into the same table in one set-based statement, commit, next. It
has no claim, no stage, no restart, no poison check, no ledger; a loop that breaks leaves half of an update behind. The
engine does all of that for the same pages, from the same simulator, in turns with it.
"""

import argparse
import time
import uuid

from benchmarks import harness

PLAIN_MERGE = """
    INSERT INTO sync_transaction AS t (
        id, workspace_id, connection_id, account_id, external_id, source_id, amount, iso_currency, unofficial_currency,
        date, authorized_date, name, merchant_name, pending, pending_external_id, category, raw_json, archived, note,
        user_category, created_at, updated_at
    )
    SELECT uuidv7(), %(workspace)s, %(connection)s, m.account_id, r->>'transaction_id', %(source)s, (r->'amount')::numeric,
           r->>'iso_currency_code', r->>'unofficial_currency_code', (r->>'date')::date, (r->>'authorized_date')::date,
           r->>'name', r->>'merchant_name', (r->'pending')::boolean, r->>'pending_transaction_id',
           r->'personal_finance_category'->>'primary', r, false, '', '', now(), now()
    FROM jsonb_array_elements(%(page)s->'added') AS r
    JOIN connections_plaiditemaccount m ON m.item_id = %(item)s AND m.plaid_account_id = r->>'account_id'
    ON CONFLICT (connection_id, external_id) DO UPDATE SET
        account_id = excluded.account_id, amount = excluded.amount, iso_currency = excluded.iso_currency,
        date = excluded.date, authorized_date = excluded.authorized_date, name = excluded.name,
        merchant_name = excluded.merchant_name, pending = excluded.pending, category = excluded.category,
        raw_json = excluded.raw_json, archived = false, updated_at = now()
    WHERE t.raw_json IS DISTINCT FROM excluded.raw_json
"""


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--rows", type=int, default=100_000)
    arguments.add_argument("--long", type=int, default=1_000_000, help="0: leave the long run out")
    arguments.add_argument("--rounds", type=int, default=3)
    options = arguments.parse_args()
    with harness.causeway() as simulator:
        bench = Bench(simulator)
        for part in (bench.limit, bench.engine):
            part(5_000)  # warm: imports, plans, files
        limits, engines = [], []
        for number in range(options.rounds):
            limits.append(bench.limit(options.rows))
            engines.append(bench.engine(options.rows))
            harness.say(f"round {number + 1}: limit {limits[-1]:,.0f} rows/s, engine {engines[-1]:,.0f} rows/s")
        figures = {
            "rows": options.rows,
            "ratio_to_limit": round(
                harness.median([ours / plain for ours, plain in zip(engines, limits, strict=True)]), 3
            ),
            "engine_rows_s": round(harness.median(engines)),
            "limit_rows_s": round(harness.median(limits)),
            "rss_mb": round(harness.peak_rss_mb(), 1),
        }
        if options.long:
            plain = bench.limit(
                options.long
            )  # first, so that the memory which the long runs take is the machine's already
            with harness.rss_growth() as growth:
                rate = bench.engine(options.long)
            figures |= {
                "long_rows": options.long,
                "long_ratio_to_limit": round(rate / plain, 3),
                "long_engine_rows_s": round(rate),
                "long_limit_rows_s": round(plain),
                "limit_1m_to_100k": round(plain / harness.median(limits), 3),
                "rate_1m_to_100k": round(rate / harness.median(engines), 3),
                "rss_growth_mb": round(growth(), 1),
            }
        harness.result(benchmark="plaid_sync", **figures)


class Bench:
    """One person with one bank a run, in an empty table each time."""

    def __init__(self, simulator: harness.Simulator) -> None:
        from connections.models import Role
        from connections.services.workspaces import person_bootstrap

        self.simulator = simulator
        self.person = person_bootstrap(
            username="benchmark", password=uuid.uuid4().hex, workspace="benchmark", role=Role.OWNER, is_staff=False
        )

    def link(self, rows: int):
        from connections.models import PlaidItem
        from connections.services.plaid_exchange import public_token_exchange

        harness.owner("TRUNCATE sync_transaction, sync_stagedpage")
        harness.checkpoint()
        made = self.simulator.control(
            "POST", "items", {"transactions": rows, "days": 1500, "accounts": 2, "life": False}
        )
        connection = public_token_exchange(
            user=self.person.user,
            workspace_id=self.person.membership.workspace_id,
            public_token=made["public_token"],
            environment="sandbox",
        )
        return PlaidItem.objects.get(connection=connection), made["access_token"]

    def engine(self, rows: int) -> float:
        """Rows a second through the engine, from the claim to the moved cursor."""
        from sync import engine

        item, _ = self.link(rows)
        began = time.perf_counter()
        outcome = engine.sync_item(item.pk, deadline=time.monotonic() + 3600, is_large_queue=True)
        took = time.perf_counter() - began
        assert outcome == engine.Outcome.SYNCED, outcome
        self.check(item, rows)
        return rows / took

    def limit(self, rows: int) -> float:
        """Rows a second of the plain loop, over the account mappings that the engine would make."""
        import orjson
        import psycopg
        import urllib3
        from django.conf import settings
        from psycopg.types.json import Jsonb

        from config.roles import dsn_of
        from connections.models import Connection
        from connections.services.plaid_items import details_fetch

        item, access_token = self.link(rows)
        details_fetch(connection=Connection.objects.get(pk=item.connection_id), access_token=access_token)
        http = urllib3.HTTPConnectionPool("127.0.0.1", int(self.simulator.url.rpartition(":")[2]), maxsize=1)
        keys = {"client_id": settings.PLAID_CLIENT_ID, "secret": settings.PLAID_SECRET, "access_token": access_token}
        row = {
            "workspace": item.workspace_id,
            "connection": item.connection_id,
            "item": item.pk,
            "source": item.item_id,
        }
        began = time.perf_counter()
        cursor, has_more = "", True
        with psycopg.connect(dsn_of(settings.DATABASES["default"])) as database:
            while has_more:
                body = orjson.dumps(keys | {"cursor": cursor, "count": 500})
                raw = http.request(
                    "POST", "/plaid/transactions/sync", body=body, headers={"Content-Type": "application/json"}
                ).data
                envelope = orjson.loads(raw)
                cursor, has_more = envelope["next_cursor"], envelope["has_more"]
                database.execute(PLAIN_MERGE, row | {"page": Jsonb(raw, dumps=bytes)})
                database.execute("UPDATE connections_plaiditem SET cursor = %s WHERE id = %s", [cursor, item.pk])
                database.commit()
        took = time.perf_counter() - began
        self.check(item, rows)
        return rows / took

    @staticmethod
    def check(item, rows: int) -> None:
        from sync.models import Transaction

        found = Transaction.objects.filter(connection_id=item.connection_id).count()
        assert found == rows, f"{found} of {rows} rows arrived"


if __name__ == "__main__":
    main()
