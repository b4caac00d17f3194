"""Finding the rows for which a whole batch was refused: halves, until each of them stands alone."""

from collections.abc import Callable, Iterator, Sequence

from connections.errors import RejectedRecord
from connections.providers.supabase.errors import Busy
from connections.providers.supabase.records import Row

FEWEST_WHEN_BUSY = 16  # below, it is not the number of rows that keeps the store busy


def isolated(rows: Sequence[Row], send: Callable[[Sequence[Row]], None]) -> Iterator[tuple[Row, RejectedRecord | None]]:
    """Every row, in order, with why it was refused, or None where it is written. Whatever else `send` raises is raised.

    send: writes all the rows it is given, or none and raises.
    """
    waiting = [rows] if rows else []
    while waiting:
        some = waiting.pop()
        try:
            send(some)
        except RejectedRecord as error:
            if len(some) == 1:
                yield some[0], error
                continue
            waiting += _halves(some)
        except Busy:
            if len(some) <= FEWEST_WHEN_BUSY:
                raise
            waiting += _halves(some)
        else:
            yield from ((row, None) for row in some)


def _halves(rows: Sequence[Row]) -> list[Sequence[Row]]:
    middle = len(rows) // 2
    return [rows[middle:], rows[:middle]]
