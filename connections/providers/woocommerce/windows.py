"""A span of time, as the filters of a shop's lists take it.

WordPress makes site time of whatever it is given, and only then looks whether UTC was meant. Digits of UTC that fall
into the hour which the site's zone skips in spring are moved on by that hour on the way, and what changed in it would
never be read. Source: WordPress, WP_Date_Query::build_mysql_datetime.
"""

from datetime import UTC, datetime
from functools import lru_cache
from zoneinfo import ZoneInfo

from connections.providers.base import Access, Json
from connections.providers.woocommerce.records import wire_date


def zone_of(access: Access) -> ZoneInfo | None:
    """The shop's zone as its last verification found it; None for one that keeps its offset all year."""
    return _zone(str((access.facts.get("shop") or {}).get("timezone") or ""))


@lru_cache(maxsize=256)
def _zone(name: str) -> ZoneInfo | None:
    try:
        return ZoneInfo(name) if name else None
    except (ValueError, OSError):  # none that we know
        return None


def window(
    zone: ZoneInfo | None, *, after: tuple[str, datetime], before: tuple[str, datetime | None] = ("", None)
) -> Json:
    """Parameters, each bound under its name. More than the span may be answered, never less.

    As a rule digits of UTC with `dates_are_gmt`. Where those of `after` are skipped as site time, the moments are sent as
    what they are, and compared with site time: that is good wherever no hour comes twice.
    """
    (from_name, begins), (until_name, ends) = after, before
    found: Json = {from_name: wire_date(begins), until_name: wire_date(ends) if ends else None}
    if zone is None or not _is_skipped(begins, zone):
        return {**found, "dates_are_gmt": "true"}
    is_open = ends is None or _comes_twice(ends, zone)
    return {from_name: f"{found[from_name]}Z", until_name: None if is_open else f"{found[until_name]}Z"}


def _is_skipped(moment: datetime, zone: ZoneInfo) -> bool:
    """Whether the digits that this moment has in UTC are no time in the zone."""
    digits = moment.astimezone(UTC).replace(tzinfo=None)
    return digits.replace(tzinfo=zone).astimezone(UTC).astimezone(zone).replace(tzinfo=None) != digits


def _comes_twice(moment: datetime, zone: ZoneInfo) -> bool:
    here = moment.astimezone(zone)
    return here.replace(fold=0).utcoffset() != here.replace(fold=1).utcoffset()
