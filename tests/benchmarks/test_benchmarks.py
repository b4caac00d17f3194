"""Every benchmark runs from end to end and ends with its figures. How fast is not a test's business; what is done is."""

import json
import os
import subprocess
import sys

from tests import plugin


def run(module: str, *arguments: str) -> dict:
    """Its last line, as JSON. It brings servers of its own, so nothing of this run's environment may reach it."""
    own = {name: value for name, value in os.environ.items() if name not in (*plugin.ENVIRONMENT, *plugin.KEPT)}
    done = subprocess.run(
        [sys.executable, "-m", f"benchmarks.{module}", *arguments],
        cwd=plugin.BASE_DIR,
        env=own,
        capture_output=True,
        text=True,
        timeout=150,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


def test_the_engine_and_the_plain_loop_bring_the_same_rows():
    """Each of the benchmark's turns counts the rows that arrived."""
    figures = run("plaid_sync", "--rows", "1200", "--long", "1700", "--rounds", "1")
    assert figures["ratio_to_limit"] > 0
    assert figures["rate_1m_to_100k"] > 0
    assert figures["rss_growth_mb"] >= 0


def test_a_sync_without_news_is_one_call_and_four_statements_and_touches_no_record():
    figures = run("plaid_noop", "--connections", "5")
    assert figures["connections"] == 5
    assert figures["provider_calls"] == 1
    assert figures["statements"] <= 4
    assert figures["record_rows"] == 0


def test_whatever_is_due_at_once_is_handed_out():
    """The benchmark itself fails where a bank is left out, or an empty tick hands one out."""
    figures = run("dispatch", "--connections", "300")
    assert figures["connections"] == 300
    assert figures["empty_tick_ms"] > 0
