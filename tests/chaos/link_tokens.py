"""A person who asks for link tokens, each under an Idempotency-Key, and asks again until there is an answer."""

import itertools
import threading

from tests.chaos.world import World

PATH = "plaid/link-token"
PAUSE_S = 0.5
LIMIT_S = 120


class LinkTokens:
    """`given` is the key of each request that was answered, and the token that it got."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.given: dict[str, str] = {}
        self.error: BaseException | None = None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="link-tokens", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Whatever was begun has its answer."""
        self._stop.set()
        self._thread.join(LIMIT_S + 10)
        assert not self._thread.is_alive()
        if self.error:
            raise self.error

    def _run(self) -> None:
        try:
            for number in itertools.count(1):
                key = f"link-token-{number}"
                answer = self.world.post_until_accepted(PATH, {}, LIMIT_S, key=key)
                self.given[key] = answer["link_token"]
                if self._stop.wait(PAUSE_S):
                    return
        except BaseException as error:  # noqa: BLE001 - raised again by `stop`, in the test's own thread
            self.error = error

    def assert_given_once(self) -> None:
        """One session a key, and each key still gives the token that it gave: no claim of the dead is in the way."""
        assert len(self.given) == len(set(self.given.values()))
        again = {key: self.world.post(PATH, {}, key=key) for key in self.given}
        assert {key: answer.get("link_token") for key, (_, answer) in again.items()} == self.given
        assert self.world.ask("SELECT count(*)::int FROM connections_plaidlink") == [(len(self.given),)]
