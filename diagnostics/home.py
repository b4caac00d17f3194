"""The console's home: is it all right, and what needs a person? Every number leads to the list it counts."""

from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from django.db.models import Count, QuerySet
from django.http import HttpRequest
from django.utils import timezone

from config import console
from config.states import ALERT, CONNECTION, ERROR, EVENT, EXCHANGE, FAILED_RECORD, OVERALL, RUN, WEBHOOK, State, state
from connections.ids import oldest_id
from connections.models import Connection, DomainEvent, PlaidExchange
from connections.models.connection import Status
from connections.states import connection_state, late, next_step
from diagnostics.models import Alert, ErrorEvent
from sync.models import SyncRun
from sync.selectors import failures_open
from webhooks.models import WebhookEvent

COUNTED_TO = 1000
DAY = timedelta(hours=24)


@dataclass(frozen=True)
class Tile:
    """A number, what it counts, and the way there."""

    count: str
    state: State
    url: str
    text: str = ""
    remedy: str = ""


@dataclass(frozen=True)
class Group:
    title: str
    tiles: list[Tile]
    empty: str


@dataclass
class Home:
    verdict: State = OVERALL["well"]
    sentence: str = ""
    attention: list[Tile] = field(default_factory=list)
    groups: list[Group] = field(default_factory=list)
    troubled: list[dict[str, Any]] = field(default_factory=list)
    is_empty: bool = False


def context(request: HttpRequest, context: dict[str, Any]) -> dict[str, Any]:
    """unfold's callback: the template's context, with `home`. At most nine queries, whatever the tables hold."""
    return context | {"home": _home(request), "title": "Home"}


def _home(request: HttpRequest) -> Home:
    home = Home()
    since = oldest_id(timezone.now() - DAY)
    has_connections = True
    if console.may_view(request, "connections.connection"):
        counts = _connection_counts()
        has_connections = bool(counts)
        home.groups.append(
            Group(
                "Connections",
                _connection_tiles(counts),
                "None yet. People connect their banks in the portal or through the API.",
            )
        )
        home.attention += _connection_needs(counts)
        home.troubled = _troubled()
    if console.may_view(request, "connections.plaidexchange"):
        count = _capped(PlaidExchange.objects.filter(status=PlaidExchange.Status.UNKNOWN))
        url = console.to_list("connections.plaidexchange", status__exact="unknown")
        _need(
            home, count, EXCHANGE["unknown"], url, "Exchanges of unknown outcome", "Look them up on Plaid's dashboard."
        )
    if console.may_view(request, "sync.syncfailure"):
        count = _capped(failures_open())
        _need(
            home,
            count,
            FAILED_RECORD["open"],
            console.to_list("sync.syncfailure", state="open"),
            "Failed records",
            "See why, and resolve them.",
        )
    if console.may_view(request, "sync.syncrun"):
        home.groups.append(_daily("Runs of the last 24 hours", SyncRun, since, RUN, "No run in the last 24 hours."))
    if console.may_view(request, "webhooks.webhookevent"):
        home.groups.append(
            _daily("Webhooks of the last 24 hours", WebhookEvent, since, WEBHOOK, "No webhook in the last 24 hours.")
        )
    if console.may_view(request, "diagnostics.errorevent"):
        count = _capped(ErrorEvent.objects.filter(pk__gte=since, status__gte=500))
        url = console.to_list("diagnostics.errorevent", kind="ours", since="24h")
        _need(home, count, ERROR["ours"], url, "Errors of ours in 24 hours", "Open one and read its stack.")
    if console.may_view(request, "diagnostics.alert"):
        count = _capped(Alert.objects.filter(recovered_at=None, connection=None))
        url = console.to_list("diagnostics.alert", state="open")
        _need(home, count, ALERT["open"], url, "Open alerts about the installation", "Each says what to do.")
    if console.may_view(request, "connections.domainevent"):
        count = _capped(DomainEvent.objects.filter(parked_at__isnull=False))
        url = console.to_list("connections.domainevent", state="parked")
        _need(home, count, EVENT["parked"], url, "Parked events", "See which handler failed, and retry them.")
    home.is_empty = not (home.groups or home.attention)
    if home.attention:
        home.verdict, home.sentence = (
            OVERALL["attention"],
            "Start with the first one; the rest of the page is how things stand.",
        )
    elif not has_connections:
        home.verdict, home.sentence = (
            OVERALL["empty"],
            "People connect their banks in the portal or through the API; they appear here at once.",
        )
    else:
        home.sentence = "Nothing waits for a person. Syncs repair what they can by themselves."
    return home


def _connection_counts() -> dict[str, int]:
    """By the state shown: active ones are healthy or late. One query."""
    rows = Connection.objects.order_by().values("status").annotate(count=Count("pk"), late=Count("pk", filter=late()))
    counts = {row["status"]: row["count"] for row in rows}
    if is_late := sum(row["late"] for row in rows):
        counts[Status.ACTIVE] -= is_late
        counts["late"] = is_late
    return {key: counts[key] for key in CONNECTION if counts.get(key)}


def _connection_url(key: str) -> str:
    freshness = {"active": "fresh", "late": "late"}.get(key)
    return console.to_list(
        "connections.connection", **({"freshness": freshness} if freshness else {"status__exact": key})
    )


def _connection_tiles(counts: dict[str, int]) -> list[Tile]:
    return [Tile(f"{count:,}", CONNECTION[key], _connection_url(key)) for key, count in counts.items()]


def _connection_needs(counts: dict[str, int]) -> list[Tile]:
    needs = {
        "failed": ("Failing connections", "See the cause; some need an operator."),
        "needs_reauth": ("Owners who have to sign in", "They have been asked; remind them if it lasts."),
        "pending_cleanup": ("Connections about to leave", "Removed soon unless somebody uses them."),
    }
    return [
        Tile(f"{counts[key]:,}", CONNECTION[key], _connection_url(key), text, remedy)
        for key, (text, remedy) in needs.items()
        if counts.get(key)
    ]


def _troubled() -> list[dict[str, Any]]:
    """The five that went wrong most recently."""
    rows = Connection.objects.filter(status__in=(Status.FAILED, Status.NEEDS_REAUTH)).order_by("-error_at", "-pk")[:5]
    return [
        {"connection": row, "state": connection_state(row), "sentence": next_step(row), "url": console.to_page(row)}
        for row in rows
    ]


def _capped(rows: QuerySet) -> str:
    """How many, counted no further than is useful; "" for none."""
    count = rows.order_by()[: COUNTED_TO + 1].count()
    return f"{COUNTED_TO:,}+" if count > COUNTED_TO else f"{count:,}" if count else ""


def _need(home: Home, count: str, shown: State, url: str, text: str, remedy: str) -> None:
    if count:
        home.attention.append(Tile(count, shown, url, text, remedy))


def _daily(title: str, model: Any, since: Any, words: dict[str, State], empty: str) -> Group:
    """Rows made since, by status: their ids sort by time, so this reads one day of the primary key."""
    counts = dict(model.objects.filter(pk__gte=since).order_by().values_list("status").annotate(Count("pk")))
    label = f"{model._meta.app_label}.{model._meta.model_name}"
    keys = [key for key in words if counts.get(key)]
    return Group(
        title,
        [
            Tile(f"{counts[key]:,}", state(words, key), console.to_list(label, status__exact=key, since="24h"))
            for key in keys
        ],
        empty,
    )
