"""Secrets that must be found nowhere, and the looking for them in whatever form they may have taken."""

import base64
import html
import json
import secrets
from urllib.parse import quote, quote_plus


class Canaries:
    """Planted secrets by name. A marker is the opposite: harmless, and to be found wherever one looks."""

    def __init__(self) -> None:
        self.planted: dict[str, str] = {}
        self._needles: dict[str, set[str]] = {}

    def plant(self, name: str, looks: str = "{}") -> str:
        """A new secret that looks like this."""
        return self.watch(name, looks.format(secrets.token_hex(12)))

    def watch(self, name: str, secret: str) -> str:
        """A secret that somebody else made. Its middle alone is a find, too."""
        assert name not in self.planted
        assert secret not in self.planted.values()
        self.planted[name] = secret
        middle = secret[-28:-4] if len(secret) >= 32 else secret
        self._needles[name] = forms(secret) | forms(middle)
        return secret

    def found(self, text: str) -> set[str]:
        """Whose secrets are in the text."""
        return {name for name, needles in self._needles.items() if any(needle in text for needle in needles)}

    def around(self, name: str, text: str) -> str:
        """What stands about the first place where it is found."""
        places = [place for needle in self._needles[name] if (place := text.find(needle)) >= 0]
        return " ".join(text[max(0, min(places) - 200) : min(places) + 100].split()) if places else ""


def forms(secret: str) -> set[str]:
    """The ways to write a secret: plain, quoted for URLs, JSON and HTML, in hex, in base64 wherever it may begin."""
    raw = secret.encode()
    found = {secret, quote(secret), quote(secret, safe=""), quote_plus(secret), html.escape(secret), raw.hex()}
    found |= {json.dumps(secret)[1:-1], json.dumps(json.dumps(secret))[3:-3], raw.hex().upper()}
    for before in range(3):
        whole = raw[: len(raw) - (len(raw) + before) % 3]  # what shares no character with its neighbours
        encoded = base64.b64encode(b"\0" * before + whole).decode()[(0, 2, 3)[before] :]
        found |= {encoded, encoded.replace("+", "-").replace("/", "_")}
    return found
