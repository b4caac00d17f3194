"""Work that several threads bring at the same time, done as one."""

import threading
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

Given = TypeVar("Given")
Result = TypeVar("Result")


class _Call(Generic[Given, Result]):
    """One thread's part: what it gave, and what came of it."""

    def __init__(self, given: Given) -> None:
        self.given = given
        self.results: list[Result] = []
        self.error: BaseException | None = None

    @property
    def is_done(self) -> bool:
        return bool(self.results) or self.error is not None


class Together(Generic[Given, Result]):
    """Calls of one process as few pieces of work: while one is under way, all that come in the meantime are the next.

    Nobody waits for company: a call that is alone is done at once. What `do` raises is raised in every call of its piece.

    do: the results in the order of what was given. most: in one piece.
    """

    def __init__(self, do: Callable[[Sequence[Given]], Sequence[Result]], *, most: int) -> None:
        self._do, self._most = do, most
        self._waiting: list[_Call[Given, Result]] = []
        self._turn = threading.Lock()

    def __call__(self, given: Given) -> Result:
        call: _Call[Given, Result] = _Call(given)
        self._waiting.append(call)  # atomic; taken out by whoever has the turn
        while not call.is_done:
            with self._turn:
                if not call.is_done:
                    self._do_waiting()
        if call.error is not None:
            raise call.error
        return call.results[0]

    def _do_waiting(self) -> None:
        calls = self._waiting[: self._most]
        del self._waiting[: len(calls)]
        try:
            for call, result in zip(calls, self._do([call.given for call in calls]), strict=True):
                call.results.append(result)
        except BaseException as error:  # noqa: BLE001 - raised by each of its calls
            for call in calls:
                call.error = call.error or error
