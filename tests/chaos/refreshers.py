"""A process of refreshers: at every line on its standard input all its threads ask for a fresh token at once.

    python -m tests.chaos.refreshers THREADS < "CONNECTION_ID REFUSED_TOKEN_OR_-\\n"

Answers with one line of JSON a round: what each of them got, a token or {"code"}.
"""

import json
import sys
import threading
from typing import Any
from uuid import UUID

import django


def main(threads: int) -> None:
    django.setup()
    print("ready", flush=True)
    for line in sys.stdin:
        connection_id, refused = line.split()
        print(json.dumps(ask(threads, UUID(connection_id), "" if refused == "-" else refused)), flush=True)


def ask(threads: int, connection_id: UUID, refused: str) -> list[Any]:
    from django.db import connections

    from connections.errors import CausewayError
    from connections.services.token_refresh import fresh_token

    found: list[Any] = []
    start = threading.Barrier(threads)

    def one() -> None:
        start.wait()
        try:
            found.append(fresh_token(connection_id, refused))
        except CausewayError as error:
            found.append({"code": error.code})
        finally:
            connections.close_all()

    workers = [threading.Thread(target=one) for _ in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return found


if __name__ == "__main__":
    main(int(sys.argv[1]))
