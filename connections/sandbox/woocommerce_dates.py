"""Dates as a WordPress site writes and reads them: naive, in the site's zone or in UTC."""

from __future__ import annotations

import datetime as dt
import re
from zoneinfo import ZoneInfo

DATE = re.compile(r"(\d{4}-\d{2}-\d{2})[Tt ](\d{2}:\d{2}:\d{2})(?:\.\d+)?(Z|z|[+-]\d{2}(?::?\d{2})?)?")
FORMAT = "%Y-%m-%dT%H:%M:%S"


def gmt(seconds: int | None) -> str | None:
    return None if seconds is None else dt.datetime.fromtimestamp(seconds, dt.UTC).strftime(FORMAT)


def local(seconds: int | None, zone: ZoneInfo) -> str | None:
    return None if seconds is None else dt.datetime.fromtimestamp(seconds, zone).strftime(FORMAT)


def parsed(text: str) -> dt.datetime:
    """Aware where the text has a suffix, else naive. Raises ValueError."""
    match = DATE.fullmatch(text.strip())
    if match is None:
        raise ValueError("Invalid date.")
    day, clock, suffix = match.groups()
    suffix = {"Z": "+00:00", "z": "+00:00", None: ""}.get(suffix, suffix or "")
    if len(suffix) == 3:
        suffix += ":00"
    return dt.datetime.fromisoformat(f"{day}T{clock}{suffix}")


def seconds_of(text: str, zone: ZoneInfo, *, is_gmt: bool = False) -> int:
    """Unix seconds of a date in a body: UTC in a `*_gmt` field, site time in others. Raises ValueError."""
    moment = parsed(text)
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=dt.UTC if is_gmt else zone)
    return int(moment.timestamp())


def bound(text: str, zone: ZoneInfo, *, are_gmt: bool) -> int:
    """The second that `modified_after` and its like compare with. Raises ValueError.

    WordPress first turns any text into site time, and so loses the suffix; only then it looks at which column is asked. With
    `dates_are_gmt` the site time's digits are taken for UTC: right for a text without suffix, shifted by the zone's
    offset for one with `Z`. Site time that does not exist (the hour that spring skips) is moved on by an hour on the
    way, also where the digits were meant as UTC (WP_Date_Query::build_mysql_datetime).
    """
    moment = parsed(text)
    aware = moment.replace(tzinfo=zone) if moment.tzinfo is None else moment
    site = dt.datetime.fromtimestamp(aware.timestamp(), zone).replace(tzinfo=None)
    return int(site.replace(tzinfo=dt.UTC if are_gmt else zone).timestamp())
