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
        self.news = threading.Lock()  # released when it is done, or when it is its thread's turn to do what waits
        self.news.acquire()

    @property
    def is_done(self) -> bool:
        return bool(self.results) or self.error is not None


class Together(Generic[Given, Result]):
    """Calls of one process as few pieces of work: while one is under way, all that come in the meantime are the next.

    Nobody waits for company: a call that is alone is done at once. What `do` raises is raised in every call of its piece.
    Each thread is woken once, and at once: whoever has done a piece first hands the turn to the next that waits, then
    their results to those whose piece it was.

    do: the results in the order of what was given. most: in one piece.
    """

    def __init__(self, do: Callable[[Sequence[Given]], Sequence[Result]], *, most: int) -> None:
        self._do, self._most = do, most
        self._waiting: list[_Call[Given, Result]] = []
        self._changing = threading.Lock()
        self._is_under_way = False

    def __call__(self, given: Given) -> Result:
        call: _Call[Given, Result] = _Call(given)
        with self._changing:
            self._waiting.append(call)
            is_ours, self._is_under_way = not self._is_under_way, True
        if not is_ours:
            call.news.acquire()
        if not call.is_done:
            self._do_waiting()
        if call.error is not None:
            raise call.error
        return call.results[0]

    def _do_waiting(self) -> None:
        """The caller's own is the first of what waits."""
        with self._changing:
            calls = self._waiting[: self._most]
            del self._waiting[: len(calls)]
        try:
            for call, result in zip(calls, self._do([call.given for call in calls]), strict=True):
                call.results.append(result)
        except BaseException as error:  # noqa: BLE001 - raised by each of its calls
            for call in calls:
                call.error = call.error or error
        self._hand_over()
        for call in calls[1:]:
            call.news.release()

    def _hand_over(self) -> None:
        with self._changing:
            self._is_under_way = bool(self._waiting)
            if self._waiting:
                self._waiting[0].news.release()
