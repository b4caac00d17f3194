"""A bank that grew since PostgreSQL last looked is read again as fast as one it knows well."""

import time

import pytest
from django.db import connection

from sync.engine import Outcome

pytestmark = pytest.mark.django_db(transaction=True)

TABLES = ("sync_transaction", "sync_stagedpage", "connections_account")


@pytest.fixture
def _nobody_looks(owner_connection):
    """No autovacuum, whose timing would decide what PostgreSQL knows."""
    for table in TABLES:
        owner_connection.execute(f"ALTER TABLE {table} SET (autovacuum_enabled = false)")
    yield
    for table in TABLES:
        owner_connection.execute(f"ALTER TABLE {table} RESET (autovacuum_enabled)")
    owner_connection.execute("ANALYZE")


def seconds(bank) -> float:
    began = time.monotonic()
    assert bank.sync() == Outcome.SYNCED
    return time.monotonic() - began


@pytest.mark.usefixtures("_nobody_looks")
def test_a_replay_takes_no_longer_where_the_statistics_are_old(link, owner_connection):
    """They are after every crash of the database. Comparing each row with every other took minutes then."""
    other, bank = link(transactions=4000), link(transactions=40)
    other.sync()
    bank.sync()
    owner_connection.execute("ANALYZE")
    for _ in range(10):
        bank.ops(*[{"op": "add", "transaction": {"amount": 1, "name": "Grown"}} for _ in range(1000)])
    growing_s = seconds(bank)
    gone = bank.add()
    bank.sync()
    bank.ops({"op": "remove", "transaction_id": gone})
    bank.control("state", disown_cursors=True)
    assert seconds(bank) < 2 * growing_s
    assert bank.transaction(gone).raw_json["absent_from_replay"]
    assert (bank.run.page_count, bank.run.records_removed) == (21, 1)


@pytest.mark.usefixtures("_nobody_looks")
def test_a_first_history_reads_no_table_whole_where_the_statistics_are_those_of_an_empty_one(link, owner_connection):
    """A million rows took hours: each page was compared with all that had arrived before it."""
    bank = link(transactions=5000)
    owner_connection.execute("ANALYZE")
    read = "SELECT seq_tup_read FROM pg_stat_user_tables WHERE relname = 'sync_transaction'"
    (before,) = owner_connection.execute(read).fetchone()
    assert bank.sync() == Outcome.SYNCED
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_stat_force_next_flush()")
        cursor.execute(read)
        (after,) = cursor.fetchone()
    assert bank.run.page_count == 10
    assert after - before < 5000


@pytest.mark.usefixtures("_nobody_looks")
def test_a_first_history_looks_each_record_up_by_its_whole_key_where_a_large_table_is_taken_for_empty(
    link, owner_connection
):
    """ANALYZE counts no row of a history that is not committed yet. Any index of the bank's seems to do then."""
    link(transactions=5000).sync()
    owner_connection.execute("DELETE FROM sync_transaction")
    owner_connection.execute("ANALYZE sync_transaction")
    bank = link(transactions=5000)
    before = entries_read(owner_connection)
    assert bank.sync() == Outcome.SYNCED
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_stat_force_next_flush()")
    assert bank.run.records_created == 5000
    assert entries_read(owner_connection) - before < 20_000  # a few for each row, where the other way is 12 million


def test_an_account_is_written_once_for_a_whole_history(link, owner_connection):
    """Every look at a row passes by all of its versions of one transaction, and each new row's foreign key looks at it."""
    bank = link(transactions=3000)
    bank.sync()
    written = updates_of_accounts(owner_connection)
    bank.control("state", disown_cursors=True)
    assert bank.sync() == Outcome.SYNCED
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_stat_force_next_flush()")
    assert bank.run.page_count == 6
    told = updates_of_accounts(owner_connection) - written
    assert 0 < told < bank.run.page_count * len(bank.account_ids)  # a few each, however many pages


def updates_of_accounts(database) -> int:
    (written,) = database.execute(
        "SELECT n_tup_upd FROM pg_stat_user_tables WHERE relname = 'connections_account'"
    ).fetchone()
    return int(written)


def entries_read(database) -> int:
    """Of all indexes of the transactions, by everybody."""
    (read,) = database.execute(
        "SELECT sum(idx_tup_read) FROM pg_stat_user_indexes WHERE relname = 'sync_transaction'"
    ).fetchone()
    return int(read)
