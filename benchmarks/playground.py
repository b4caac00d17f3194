"""Servers, simulator and one linked bank that stay up, for whoever wants to run another engine against the same source.

    make benchmark NAME=playground [ARGS="--rows 100000"]

Prints what a peer needs as shell assignments, and ends at Enter or when its input ends. See benchmarks/peers.md.
"""

import argparse
import sys

from benchmarks import harness


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--rows", type=int, default=100_000)
    options = arguments.parse_args()
    with harness.causeway() as simulator:
        from django.conf import settings

        body = {"transactions": options.rows, "days": 1500, "accounts": 2, "life": False}
        item = simulator.control("POST", "items", body)
        print(f"export PEER_URL={simulator.url}/plaid")
        print(f"export PEER_CLIENT_ID={settings.PLAID_CLIENT_ID} PEER_SECRET={settings.PLAID_SECRET}")
        print(f"export PEER_ACCESS_TOKEN={item['access_token']}")
        print(
            f"export PEER_DB_HOST={settings.EMBEDDED.socket_dir} PEER_DB_USER={settings.DATABASE_ROLES['owner']}",
            flush=True,
        )
        harness.say("Everything is up. Enter ends it.")
        sys.stdin.readline()


if __name__ == "__main__":
    main()
