"""The environment, read once and forgivingly: what is wrong with it is collected, not raised.

`settings.py` reads every value through one `Environment`. A missing or malformed value leaves a sentence in
`problems` and a harmless default in its place, so that `config.checks` can list all of them together.
"""

import base64
import binascii
import hmac
import ipaddress
import json
import os
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

import environ

T = TypeVar("T")
Network = ipaddress.IPv4Network | ipaddress.IPv6Network


class Environment:
    """Typed access to environment variables; an empty value counts as unset."""

    def __init__(self, *, base_dir: Path) -> None:
        self.problems: list[str] = []
        self._env = environ.Env()
        self.name = self.choice("CAUSEWAY_ENV", "development", ("development", "staging", "production", "test"))
        # The first file to name a variable wins, and the process environment wins over both. Tests read neither.
        for file in (base_dir / f".env.{self.name}", base_dir / ".env"):
            if file.is_file() and self.name != "test":
                self._env.read_env(str(file))

    def text(self, name: str, default: str = "") -> str:
        return os.environ.get(name, "").strip() or default

    def required(self, name: str, *, because: str) -> str:
        """The value, or "" with a problem noted."""
        value = self.text(name)
        if not value:
            self.problems.append(f"{name} is not set: {because}")
        return value

    def integer(self, name: str, default: int, *, at_least: int = 0, at_most: int = 2**31 - 1) -> int:
        def parse(value: str) -> int:
            if not at_least <= (number := int(value)) <= at_most:
                raise ValueError
            return number

        limit = f" and at most {at_most}" if at_most < 2**31 - 1 else ""
        return self._parsed(name, default, parse, f"a whole number, at least {at_least}{limit}")

    def port(self, name: str, default: int) -> int:
        return self.integer(name, default, at_least=1, at_most=65_535)

    def seconds(self, name: str, default: float) -> float:
        def parse(value: str) -> float:
            if not 0 <= (number := float(value)) < float("inf"):
                raise ValueError
            return number

        return self._parsed(name, default, parse, "a number of seconds")

    def flag(self, name: str, *, default: bool) -> bool:
        words = {
            "1": True,
            "true": True,
            "yes": True,
            "on": True,
            "0": False,
            "false": False,
            "no": False,
            "off": False,
        }
        return self._parsed(name, default, lambda value: words[value.lower()], "1 or 0")

    def choice(self, name: str, default: str, choices: tuple[str, ...]) -> str:
        def parse(value: str) -> str:
            if value not in choices:
                raise ValueError
            return value

        return self._parsed(name, default, parse, "one of " + ", ".join(choices))

    def url(self, name: str, default: str, *, schemes: tuple[str, ...] = ("http", "https")) -> str:
        def parse(value: str) -> str:
            parts = urlsplit(value)
            if parts.scheme not in schemes or not (parts.hostname or parts.path):
                raise ValueError
            _ = parts.port  # raises ValueError where it is not a number
            return value.rstrip("/")

        return self._parsed(name, default, parse, f"a URL that starts with {' or '.join(s + '://' for s in schemes)}")

    def mail(self, name: str) -> dict[str, Any]:
        """Django's EMAIL_… settings from one URL; empty without one."""

        def parse(value: str) -> dict[str, Any]:
            parts = urlsplit(value)
            _ = parts.port
            if parts.scheme not in ("smtp", "smtp+tls", "smtp+ssl") or not parts.hostname:
                raise ValueError
            found = environ.Env.email_url_config(value)
            port = parts.port or {"smtp": 25, "smtp+tls": 587, "smtp+ssl": 465}[parts.scheme]
            named = {name: found[name] or "" for name in found if name not in ("EMAIL_FILE_PATH", "OPTIONS")}
            return named | {"EMAIL_PORT": port}

        return self._parsed(name, {}, parse, "smtp://, smtp+tls:// or smtp+ssl://user:password@host:port")

    def networks(self, name: str) -> list[Network]:
        """Networks a user-given host may lie in; `true` means private and loopback."""
        private = "127.0.0.0/8,::1/128,10.0.0.0/8,172.16.0.0/12,192.168.0.0/16,fc00::/7"

        def parse(value: str) -> list[Network]:
            value = private if value.lower() == "true" else value
            return [ipaddress.ip_network(part.strip()) for part in value.split(",")]

        return self._parsed(name, [], parse, "a comma-separated list of networks such as 10.0.0.0/8, or true")

    def keyring(self, name: str, default: str = "") -> dict[str, bytes]:
        """`id:base64,...`, newest first → {id: 32 bytes}, in that order."""

        def parse(value: str) -> dict[str, bytes]:
            keys = {}
            for part in value.split(","):
                key_id, _, encoded = part.strip().partition(":")
                try:
                    key = base64.b64decode(encoded, validate=True)
                except binascii.Error as error:
                    raise ValueError from error
                if not key_id.isalnum() or len(key_id) > 32 or len(key) != 32 or key_id in keys:
                    raise ValueError
                keys[key_id] = key
            return keys

        return self._parsed(
            name,
            parse(default) if default else {},
            parse,
            "id:key pairs, each key 32 bytes in base64, ids letters and digits",
        )

    def _parsed(self, name: str, default: T, parse: Callable[[str], T], expected: str) -> T:
        value = self.text(name)
        if not value:
            return default
        try:
            return parse(value)
        except (ValueError, KeyError):
            self.problems.append(f"{name} is not {expected}.")  # the value itself may be a secret: never echoed
            return default


# Came after the first homes were made: they follow from the home's own key, so that an older file serves too.
LATER_SECRETS = ("QUICKBOOKS_CLIENT_ID", "QUICKBOOKS_CLIENT_SECRET", "QUICKBOOKS_WEBHOOK_VERIFIER")


def demo_secrets(home: Path) -> dict[str, str]:
    """The demo's own secrets, made once per home and kept in `secrets.json` (mode 600). Raises OSError."""
    file = home / "secrets.json"
    if not file.exists():
        made = {
            "SECRET_KEY": secrets.token_urlsafe(48),
            "ENCRYPTION_KEYS": "demo1:" + base64.b64encode(secrets.token_bytes(32)).decode(),
            "JOBS_SECRET": secrets.token_urlsafe(24),
            "PLAID_CLIENT_ID": "demo-" + secrets.token_hex(8),
            "PLAID_SECRET": secrets.token_hex(16),
            "USER_PASSWORD": secrets.token_hex(6),
            "OPERATOR_PASSWORD": secrets.token_hex(6),
        }
        made |= _later(made)
        home.mkdir(parents=True, exist_ok=True)
        draft = home / f".secrets.{os.getpid()}.{secrets.token_hex(4)}"
        draft.touch(mode=0o600)
        draft.write_text(json.dumps(made, indent=2))
        try:
            os.link(draft, file)  # the first process wins, whoever else starts at the same moment reads its file
        except FileExistsError:
            pass
        finally:
            draft.unlink()
    kept = json.loads(file.read_text())
    return _later(kept) | kept


def _later(kept: dict[str, str]) -> dict[str, str]:
    key = kept["SECRET_KEY"].encode()
    return {name: hmac.digest(key, name.encode(), "sha256").hex()[:40] for name in LATER_SECRETS}
