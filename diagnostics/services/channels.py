"""Where alerts go: the URLs of ALERT_URLS, as apprise understands them. A URL holds secrets, so it is never shown whole."""

import hashlib
import logging
import re
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any
from urllib.parse import unquote, urlsplit

import structlog
from django.conf import settings

from config.logs import scrub

log = structlog.get_logger(__name__)

# Nothing that runs a program or writes to this machine: an alert leaves by the network or by mail.
SCHEMES = frozenset(
    [
        "json",
        "jsons",
        "xml",
        "xmls",
        "form",
        "forms",
        "mailto",
        "mailtos",
        "slack",
        "msteams",
        "workflows",
        "discord",
        "mmost",
        "mmosts",
        "rocket",
        "rockets",
        "matrix",
        "matrixs",
        "tgram",
        "ntfy",
        "ntfys",
        "gotify",
        "gotifys",
        "pover",
        "pagerduty",
        "opsgenie",
        "splunk",
        "signal",
        "signals",
        "twilio",
        "zulip",
        "wxteams",
        "gchat",
        "hassio",
        "hassios",
        "ifttt",
        "webexteams",
        "sendgrid",
        "mailgun",
        "ses",
        "sns",
    ]
)


# With these, and an s where they are encrypted, what stands where a host does is one. With the others it may be part of
# a token, or a topic that lets anybody in.
_WITH_HOST = ("json", "xml", "form", "mailto", "workflow", "mmost", "rocket", "gotify", "hassio", "signal")


class ChannelRefused(Exception):
    """The channel did not take the message; the text says why, without secrets."""


class NobodyToTell(Exception):
    """This message has nowhere to go any more; the text says why, without secrets."""


@dataclass(frozen=True, slots=True)
class Channel:
    fingerprint: str
    name: str
    url: str = field(repr=False)

    def send(self, *, title: str, text: str, is_recovery: bool) -> None:
        """Deliver one message; a few seconds at most. Raises ChannelRefused with what apprise said, without secrets."""
        import apprise

        kind = apprise.NotifyType.SUCCESS if is_recovery else apprise.NotifyType.FAILURE
        with apprise.LogCapture(level=logging.WARNING) as said:
            has_arrived = _instance(self.url).notify(body=text, title=title, notify_type=kind)
            reason = said.getvalue()
        if not has_arrived:
            raise ChannelRefused(self._without_secrets(reason) or "the channel did not take it")

    def _without_secrets(self, said: str) -> str:
        parts = re.split(r"[/?&=@:#]+", self.url.partition("://")[2])
        secrets = {form for part in parts if len(part) > 3 for form in (part, unquote(part))}
        for secret in sorted(secrets, key=len, reverse=True):
            said = said.replace(secret, "…")
        return scrub(" ".join(said.split()))[:1_000]


def channels() -> dict[str, Channel]:
    """By fingerprint."""
    return _channels(tuple(settings.ALERT_URLS))


@lru_cache(maxsize=4)
def _channels(urls: tuple[str, ...]) -> dict[str, Channel]:
    """Without those that cannot work: the others must not go silent for them."""
    found = {}
    for url in urls:
        if unusable([url]):
            log.error("alert_channel_unusable", scheme=urlsplit(url).scheme[:20])
            continue
        fingerprint = hashlib.sha256(url.encode()).hexdigest()[:32]
        found[fingerprint] = Channel(fingerprint, _name(url, fingerprint), url)
    return found


def _name(url: str, fingerprint: str) -> str:
    """Scheme, host where there is one, and what tells two of a kind apart. A path or a query can be a secret whole."""
    parts, channel = urlsplit(url), _instance(url)
    is_host = parts.scheme.lower().removesuffix("s") in _WITH_HOST
    # Two readers have to agree: a password with an @ or a / in it can pass for a host with one of them.
    host = parts.hostname if is_host and parts.hostname == str(channel.host).strip("[]").lower() else ""
    port = f":{channel.port}" if host and channel.port else ""
    return f"{parts.scheme.lower()}://{host}{port} ({fingerprint[:6]})"[:200]


def unusable(urls: list[str]) -> list[str]:
    """A sentence for each URL that is no channel; nothing of the URL but its place and scheme."""
    sentences = []
    for number, url in enumerate(urls, 1):
        scheme = urlsplit(url).scheme.lower()
        if scheme not in SCHEMES:
            sentences.append(f"ALERT_URLS: entry {number} has the scheme {scheme or 'none'!r}, which is not allowed.")
        elif _instance(url) is None:
            sentences.append(f"ALERT_URLS: entry {number} ({scheme}://…) is not a complete address of that kind.")
    return sentences


def _instance(url: str) -> Any:
    import apprise

    logging.getLogger("apprise").propagate = False  # its lines may quote a URL; what it says is kept with the delivery
    made = apprise.Apprise.instantiate(url, suppress_exceptions=True)
    if isinstance(made, apprise.NotifyBase):
        made.redirects = False  # an alert goes where the operator has said, whatever its receiver answers
    return made
