"""`python -m connections.sandbox`: the provider simulators, without Django."""

from __future__ import annotations

import argparse
from pathlib import Path

from .server import serve


def main() -> None:
    parser = argparse.ArgumentParser(prog="connections.sandbox", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8100, help="0 takes a free port; the ready line says which")
    parser.add_argument("--home", type=Path, default=Path(".causeway"), help="where the simulators keep their journals")
    parser.add_argument(
        "--life-interval-s", type=float, default=0, help="mean time between bank days; 0: nothing moves"
    )
    parser.add_argument("--ready-after-s", type=float, default=1, help="time from linking to a new Item's first data")
    parser.add_argument("--no-limits", action="store_true", help="start with rate limits off")
    parser.add_argument("--demo", action="store_true", help="with a Supabase project and a shop to look at")
    given = parser.parse_args()
    serve(
        host=given.host,
        port=given.port,
        home=given.home,
        life_interval_s=given.life_interval_s,
        ready_after_s=given.ready_after_s,
        has_limits=not given.no_limits,
        is_demo=given.demo,
    )


if __name__ == "__main__":
    main()
