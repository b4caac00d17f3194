"""The pieces the console's pages are made of: times, states, ids, money, JSON; and its navigation."""

import json
from collections.abc import Iterable
from datetime import date, datetime
from decimal import Decimal
from typing import Any
from urllib.parse import urlencode

from django.apps import apps
from django.conf import settings
from django.http import HttpRequest
from django.templatetags.static import static
from django.urls import NoReverseMatch, reverse
from django.utils import timezone
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from config.states import State

DASH = "–"  # unknown or nothing; a zero is "0"
WITHOUT_CENTS = frozenset(
    ["BIF", "CLP", "DJF", "GNF", "ISK", "JPY", "KMF", "KRW", "PYG", "RWF", "UGX", "VND", "VUV", "XAF", "XOF", "XPF"]
)
_STEPS = (
    (60, 1, "second"),
    (3600, 60, "minute"),
    (86_400, 3600, "hour"),
    (2_592_000, 86_400, "day"),
    (31_536_000, 2_592_000, "month"),
)


# --- pieces ----------------------------------------------------------------------------------------------------------


def ago(value: datetime, now: datetime | None = None) -> str:
    """ "4 minutes ago", "in 2 hours", "just now"."""
    seconds = int(((now or timezone.now()) - value).total_seconds())
    distance = abs(seconds)
    if distance < 10:
        return "just now"
    size, unit = next(((size, unit) for limit, size, unit in _STEPS if distance < limit), (31_536_000, "year"))
    count = distance // size
    words = f"{count} {unit}{'' if count == 1 else 's'}"
    return f"{words} ago" if seconds > 0 else f"in {words}"


def exactly(value: datetime) -> str:
    """ "12 May 2026, 14:03:05 UTC"."""
    return f"{value.astimezone(timezone.get_default_timezone()):%-d %B %Y, %H:%M:%S %Z}"


def moment(value: datetime | None, *, is_exact: bool = False) -> SafeString | str:
    """An instant: relative with the exact one on hover, or the exact one with the relative one beside it."""
    if value is None:
        return DASH
    if is_exact:
        return format_html(
            '<time datetime="{}">{}</time> <span class="cw-quiet">· {}</span>',
            value.isoformat(),
            exactly(value),
            ago(value),
        )
    return format_html('<time datetime="{}" title="{}">{}</time>', value.isoformat(), exactly(value), ago(value))


def day(value: date | None) -> SafeString | str:
    return format_html('<time datetime="{}">{}</time>', value.isoformat(), f"{value:%-d %b %Y}") if value else DASH


def badge(state: State, *, title: str = "") -> SafeString:
    """A state as a word, an icon and a tone."""
    return format_html(
        '<span class="cw-state cw-{}" title="{}"><span class="material-symbols-outlined" aria-hidden="true">{}</span>{}</span>',
        state.tone.value,
        title,
        state.icon,
        state.word,
    )


def shortened(text: str, keep: int = 18) -> str:
    """The beginning and the end of a long id: that is what people compare."""
    return text if len(text) <= keep else f"{text[: keep // 2]}…{text[-(keep // 2 - 1) :]}"


def code(value: object, *, is_whole: bool = False) -> SafeString | str:
    """An id in fixed width: shortened in lists, whole and with a copy button on pages."""
    text = str(value) if value not in (None, "") else ""
    if not text:
        return DASH
    if not is_whole:
        return format_html('<code class="cw-code" title="{}">{}</code>', text, shortened(text))
    button = '<button type="button" class="cw-copy" data-copy="{}" aria-label="Copy" title="Copy"><span class="material-symbols-outlined" aria-hidden="true">content_copy</span></button>'
    return format_html(
        '<span class="cw-copyable"><code class="cw-code cw-whole">{}</code>' + button + "</span>", text, text
    )


def name(value: object) -> SafeString | str:
    """A name somebody gave: one line, isolated so that right-to-left ones leave their surroundings alone, whole on hover."""
    text = str(value) if value not in (None, "") else ""
    return format_html('<bdi class="cw-name" title="{}">{}</bdi>', text, text) if text else DASH


def money(amount: Decimal | None, currency: str | None) -> SafeString | str:
    """An amount with its currency, with two decimals, the currency's own, or as many as the source gave."""
    if amount is None:
        return DASH
    decimals = max(0 if currency in WITHOUT_CENTS else 2, -int(amount.as_tuple().exponent))
    return format_html(
        '<span class="cw-money">{} <span class="cw-quiet">{}</span></span>', f"{amount:,.{decimals}f}", currency or ""
    )


def number(value: int) -> SafeString:
    return format_html('<span class="cw-number">{}</span>', f"{value:,}")


def pretty(text: str) -> SafeString | str:
    """Evidence as it was received: fixed width, escaped, scrolling inside its own box."""
    return format_html('<pre class="cw-raw" tabindex="0">{}</pre>', text) if text else DASH


def pretty_json(value: Any) -> SafeString | str:
    return (
        pretty(json.dumps(value, indent=2, ensure_ascii=False, default=str))
        if value not in (None, "", [], {})
        else DASH
    )


def link(url: str, text: object) -> SafeString:
    return format_html('<a class="cw-link" href="{}">{}</a>', url, text)


def joined(parts: Iterable[str], *, between: str = " · ") -> SafeString:
    return format_html_join(between, "{}", ((part,) for part in parts))


def to_list(model: str, **query: object) -> str:
    """The address of a model's list ("sync.syncrun"), filtered."""
    address = reverse(f"admin:{model.replace('.', '_')}_changelist")
    return f"{address}?{urlencode(query)}" if query else address


def to_page(row: Any) -> str:
    """The address of a row's page; "" where its model has none."""
    try:
        return reverse(f"admin:{row._meta.app_label}_{row._meta.model_name}_change", args=[row.pk])
    except NoReverseMatch:
        return ""


# --- unfold's callbacks ----------------------------------------------------------------------------------------------

NAVIGATION: tuple[tuple[str, tuple[tuple[str, str, str], ...]], ...] = (
    (
        "Connections",
        (
            ("Connections", "hub", "connections.connection"),
            ("Bank logins", "account_balance", "connections.plaiditem"),
            ("Accounts", "credit_card", "connections.account"),
            ("Link sessions", "add_link", "connections.plaidlink"),
            ("Sign-ins at providers", "login", "connections.oauthstate"),
            ("Exchanges", "swap_horiz", "connections.plaidexchange"),
            ("Credentials", "key", "connections.credential"),
            ("Verifications", "fact_check", "connections.verification"),
            ("Metered calls", "speed", "connections.meteredcalls"),
            ("News of records", "fiber_new", "connections.recordnews"),
            ("Providers at rest", "pause_circle", "connections.providerpause"),
            ("Items to remove", "link_off", "connections.retiredplaiditem"),
            ("Token rotations", "autorenew", "connections.plaidtokenrotation"),
        ),
    ),
    (
        "Sync",
        (
            ("Flows", "conversion_path", "sync.flow"),
            ("Mappings", "alt_route", "sync.mapping"),
            ("Mapping versions", "history", "sync.mappingversion"),
            ("Runs", "sync", "sync.syncrun"),
            ("Failed records", "report", "sync.syncfailure"),
            ("Transactions", "receipt_long", "sync.transaction"),
            ("Subscriptions", "event_repeat", "sync.subscription"),
            ("Subscription reads", "manage_search", "sync.subscriptionfeed"),
            ("Record links", "link", "sync.recordlink"),
            ("Writes", "upload", "sync.writeintent"),
            ("Watermarks", "water", "sync.watermark"),
        ),
    ),
    (
        "Inbox",
        (
            ("Webhooks", "inbox", "webhooks.webhookevent"),
            ("Refused webhooks", "block", "webhooks.webhookrefusal"),
            ("Alerts", "notifications", "diagnostics.alert"),
            ("Errors", "bug_report", "diagnostics.errorevent"),
        ),
    ),
    (
        "People",
        (
            ("Workspaces", "domain", "connections.workspace"),
            ("Members", "badge", "connections.membership"),
            ("Users", "person", "connections.user"),
            ("Groups", "group", "auth.group"),
            ("Access tokens", "vpn_key", "connections.accesstoken"),
        ),
    ),
    (
        "System",
        (
            ("Events", "campaign", "connections.domainevent"),
            ("Event deliveries", "outgoing_mail", "connections.eventdelivery"),
            ("Alert messages", "forward_to_inbox", "diagnostics.alertdelivery"),
            ("Periodic tasks", "schedule", "django_celery_beat.periodictask"),
            ("Intervals", "timer", "django_celery_beat.intervalschedule"),
            ("Crontabs", "calendar_month", "django_celery_beat.crontabschedule"),
            ("Security events", "shield_person", "connections.securityevent"),
            ("Audit seals", "link", "connections.auditseal"),
            ("Console log", "history", "admin.logentry"),
        ),
    ),
)


def navigation(request: HttpRequest) -> list[dict[str, Any]]:
    """The sidebar: what this person may look at."""
    groups: list[dict[str, Any]] = [{"items": [{"title": "Home", "icon": "home", "link": reverse("admin:index")}]}]
    for title, entries in NAVIGATION:
        items = [
            {"title": text, "icon": icon, "link": to_list(model)}
            for text, icon, model in entries
            if may_view(request, model)
        ]
        if items:
            groups.append({"title": title, "separator": True, "items": items})
    return groups


def may_view(request: HttpRequest, model: str) -> bool:
    """Whether the list of this model exists and is for this person."""
    from django.contrib.admin import site
    from django.contrib.admin.exceptions import NotRegistered

    try:
        registered = site.get_model_admin(apps.get_model(model))
    except (LookupError, NotRegistered):
        return False
    return registered.has_view_permission(request)


def environment(request: HttpRequest) -> list[str] | None:
    """The label beside the title, so that nobody takes the demo for the real thing."""
    return ["Demo", "warning"] if settings.DEMO else None


def stylesheet(request: HttpRequest) -> str:
    return static("console/console.css")


def script(request: HttpRequest) -> str:
    return static("console/console.js")


def favicon(request: HttpRequest) -> str:
    return static("console/favicon.svg")
