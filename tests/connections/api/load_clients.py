"""Clients that walk through the API of their workspace, and try the doors of the others."""

import contextlib
import http.client
import json
import random
import re
import socket
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

from connections.api.matrix import API, rules
from connections.models import Role
from tests.connections.api.load_town import House, Town
from tests.factories import Person

UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
TAG = re.compile(r"ws\d+-")
CLIENTS_A_HOUSE = 5
NAMES_NO_ROW = {"settings/webhooks", "integrations/health"}  # what these answer is about the workspace as a whole
RAW = ("raw/everything", "raw/stream")  # of load_urls
# Writes that may be repeated for ever, and their bodies. Any other method than GET is left to the tests of its endpoint.
WRITES = {
    "POST connections/{connection_id}/refresh": lambda _pk: {},
    "POST plaid/link-token": lambda pk: {"connection_id": pk},
    "POST plaid/exchange-token": lambda pk: {"public_token": "public-sandbox-of-nobody", "connection_id": pk},
    "POST plaid/sync": lambda _pk: {},
}


def paths() -> list[str]:
    """Every GET of the URL table below the API's root that asks as somebody, and the two of load_urls."""
    found = [rule.path.removeprefix(API) for rule in rules() if rule.method == "GET"]
    return [path for path in found if not path.startswith("oauth/")] + list(RAW)


@dataclass
class Findings:
    """What all clients saw. unknown: ids that were not there at the start, by the house that was shown them."""

    wrong: list[str] = field(default_factory=list)
    unknown: dict[str, str] = field(default_factory=dict)
    answers: Counter[tuple[str, int]] = field(default_factory=Counter)
    full: Counter[tuple[str, str]] = field(default_factory=Counter)  # (path, house): answers that held rows
    cursors: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))  # by path, whoever got them
    dropped: int = 0
    cut_off: int = 0


class Client:
    """One keep-alive connection on which one person after the other asks, as behind a proxy."""

    def __init__(self, town: Town, url: str, findings: Findings, *, seed: int) -> None:
        self.town, self.findings, self.random = town, findings, random.Random(seed)
        parts = urlsplit(url)
        self.address = (parts.hostname or "", parts.port or 0)
        self.connection = http.client.HTTPConnection(*self.address, timeout=30)
        self.home = town.houses[seed % len(town.houses)]
        self.paths = paths()
        self.number, self.seed = 0, seed

    def walk(self, seconds: float) -> None:
        """First a share of all addresses as an owner and everything that a client does, so that nothing is left out."""
        with contextlib.closing(self.connection):
            houses = len(self.town.houses)
            for path in self.paths[self.seed // houses :: CLIENTS_A_HOUSE]:
                self._read(self.home, self.home.people[-2], path)
            for turn in self.turns:
                turn(self.home, self.home.people[-2])
            until = time.monotonic() + seconds
            while time.monotonic() < until and len(self.findings.wrong) < 20:
                self.step()

    @property
    def turns(self) -> dict[Callable[[House, Person], None], int]:
        """What a client does, and how often in a hundred."""
        return {
            self.read: 50,
            self.page: 15,
            self.knock: 12,
            self.enter_elsewhere: 5,
            self.write: 8,
            self.err: 5,
            self.hang_up: 5,
        }

    def step(self) -> None:
        house = self.home if self.random.random() < 0.8 else self.random.choice(self.town.houses)
        (turn,) = self.random.choices(list(self.turns), list(self.turns.values()))
        turn(house, self.random.choice(house.people))

    # --- what a client does ---
    def read(self, house: House, caller: Person) -> None:
        self._read(house, caller, self.random.choice(self.paths))

    def _read(self, house: House, caller: Person, path: str) -> None:
        status, body = self.ask(house, caller, "GET", self._fill(path, house), path)
        if status != 200 and caller.membership.role == Role.OWNER:
            self._wrong(house, path, f"{status} for what is {caller.user}'s own: {body[:300]}")

    def page(self, house: House, caller: Person) -> None:
        """A page of a list; sometimes from a position that somebody of another workspace was given."""
        lists = [path for path in self.paths if path not in {*RAW, *NAMES_NO_ROW, "me"} and not path.endswith("_id}")]
        path = self.random.choice(lists)
        taken = list(self.findings.cursors[path])
        query = {"page_size": self.random.choice((1, 3, 20, 100))} | (
            {"cursor": self.random.choice(taken)} if taken else {}
        )
        status, body = self.ask(house, caller, "GET", f"{self._fill(path, house)}?{urlencode(query)}", path)
        if status == 200 and (following := json.loads(body)["next"]):
            cursor = parse_qs(urlsplit(following).query)["cursor"][0]
            self.findings.cursors[path] = [*self.findings.cursors[path][-30:], cursor]

    def knock(self, house: House, caller: Person) -> None:
        """An id of somebody else's."""
        path = self.random.choice([path for path in self.paths if "{" in path])
        status, body = self.ask(house, caller, "GET", self._fill(path, self._other(house)), path)
        if status != 404:
            self._wrong(house, path, f"{status} for an id of another workspace: {body[:300]}")

    def enter_elsewhere(self, house: House, caller: Person) -> None:
        theirs = self.town.owners[str(caller.user.pk)]
        other = self.random.choice([one for one in self.town.houses if one.tag not in theirs])
        path = self.random.choice([path for path in self.paths if path != "me"])
        wanted = self.random.choice((other.workspace.slug, str(other.workspace.pk)))
        status, body = self.ask(house, caller, "GET", self._fill(path, other), path, workspace=wanted)
        if status != 404:
            self._wrong(house, path, f"{status} in a workspace of others: {body[:300]}")

    def write(self, house: House, caller: Person) -> None:
        label, body_of = self.random.choice(list(WRITES.items()))
        whose = self.random.choice((house, house, self._other(house)))
        method, path = label.split()
        pk = self.random.choice(whose.ids["connection_id"])
        where = path.format(connection_id=pk)
        status, body = self.ask(house, caller, method, where, path, body=body_of(pk))
        if whose is not house and path != "plaid/sync" and status not in (403, 404):
            self._wrong(house, path, f"{status} for writing to another workspace: {body[:300]}")

    def err(self, house: House, caller: Person) -> None:
        path = self.random.choice([path for path in self.paths if path not in (*RAW, "me")])
        bad = self.random.choice(("?no_such=1", "?cursor=x", "?page_size=0", "?q=%00", "/nowhere"))
        self.ask(house, caller, "GET", self._fill(path, house) + bad, path)

    def hang_up(self, house: House, caller: Person) -> None:
        """Ask, read the first bytes or none, and be gone."""
        path = self.random.choice((*RAW, *self.paths))
        head = f"GET {API}{self._fill(path, house)} HTTP/1.1\r\nHost: 127.0.0.1\r\n"
        headers = "".join(f"{name}: {value}\r\n" for name, value in self._headers(house, caller, None).items())
        with socket.create_connection(self.address, timeout=30) as made:
            made.sendall((head + headers + "\r\n").encode())
            if self.random.random() < 0.7:
                made.recv(self.random.choice((1, 200, 2000)))
        self.findings.cut_off += 1

    # --- asking and checking ---
    def ask(
        self,
        house: House,
        caller: Person,
        method: str,
        path: str,
        label: str,
        *,
        body: Any = None,
        workspace: str | None = None,
    ) -> tuple[int, str]:
        headers = self._headers(house, caller, workspace)
        text = None if body is None else json.dumps(body)
        for _ in range(2):
            try:
                self.connection.request(method, API + path, text, headers)
                answer = self.connection.getresponse()
                shown = answer.read().decode()
                break
            except (http.client.HTTPException, ConnectionError):
                self.connection.close()  # an idle connection that the server has let go of
                self.findings.dropped += 1
        else:
            self._wrong(house, label, "no answer, twice")
            return 0, ""
        self.findings.answers[f"{method} {label}", answer.status] += 1
        if answer.status >= 500:
            self._wrong(house, label, f"{answer.status}: {shown[:300]}")
        if answer.headers["X-Correlation-ID"] != headers["X-Correlation-ID"]:
            self._wrong(house, label, f"correlation {answer.headers['X-Correlation-ID']}")
        allowed = self.town.owners[str(caller.user.pk)] if label == "me" else {house.tag}
        self._check(house, label, shown, allowed, own=set(UUID.findall(path)) | set(UUID.findall(text or "")))
        return answer.status, shown

    def _headers(self, house: House, caller: Person, workspace: str | None) -> dict[str, str]:
        self.number += 1
        headers = {
            "Authorization": f"Bearer {caller.token}",
            "X-Correlation-ID": f"{house.tag}load-{self.seed}-{self.number}",
            "Content-Type": "application/json",
        }
        if workspace or caller.user.username.endswith("guest"):
            headers["X-Workspace"] = workspace or house.workspace.slug
        return headers

    def _check(self, house: House, label: str, shown: str, allowed: set[str], own: set[str]) -> None:
        """Every id and every name of the answer is of an allowed house; ids that the caller sent himself may come back."""
        ids = set(UUID.findall(shown)) - own
        for found in ids:
            owners = self.town.owners.get(found)
            if owners is None:
                self.findings.unknown[found] = house.tag
            elif not owners & allowed:
                self._wrong(house, label, f"shows {found} of {owners}")
        if others := set(TAG.findall(shown)) - allowed:
            self._wrong(house, label, f"shows names of {others}: {shown[:300]}")
        if ids:
            self.findings.full[label, house.tag] += 1

    def _fill(self, path: str, house: House) -> str:
        return re.sub(r"\{(\w+)\}", lambda found: self.random.choice(house.ids[found[1]]), path)

    def _other(self, house: House) -> House:
        return self.random.choice([one for one in self.town.houses if one is not house])

    def _wrong(self, house: House, label: str, what: str) -> None:
        self.findings.wrong.append(f"{house.tag} {label}: {what}")
