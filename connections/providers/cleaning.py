"""What people type or paste, as it is stored. Every function raises ValueError with a sentence that says what to do."""

import re
from collections.abc import Callable
from urllib.parse import urlsplit


def web_address(value: str) -> str:
    """An http or https address of a host and perhaps a folder, without a slash at its end, query, fragment or login."""
    try:
        parts = urlsplit(value)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        raise ValueError("Not an address. Copy it from the browser's address line.") from None
    if parts.scheme not in ("http", "https") or not host:
        raise ValueError("Not an http or https address. Write it out, such as https://shop.example.com.")
    if parts.username is not None or parts.password is not None:
        raise ValueError("The address must not hold a login. Secrets go under credentials.")
    if parts.query or parts.fragment:
        raise ValueError("The address must end before any ? or #.")
    if not value.isprintable() or " " in value:
        raise ValueError("The address holds characters that no address has.")
    where = f"[{host}]" if ":" in host else host
    return f"{parts.scheme}://{where}{f':{port}' if port else ''}{parts.path}".rstrip("/")


def prefixed(prefix: str, refusal: str) -> Callable[[str], str]:
    """Of a key that begins with `prefix` and has no spaces; `refusal` says what to send instead."""

    def clean(value: str) -> str:
        if not re.fullmatch(re.escape(prefix) + r"[\x21-\x7e]+", value):
            raise ValueError(refusal)
        return value

    return clean
