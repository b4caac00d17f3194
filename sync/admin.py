"""Runs, failed records, transactions and subscriptions; and the verb to refresh a connection."""

from typing import Any

from django.contrib import admin
from django.db.models import Exists, OuterRef, QuerySet
from django.http import HttpRequest

from config import console
from config.admin import (
    AutocompleteSelectFilter,
    Card,
    ChoicesDropdownFilter,
    DropdownFilter,
    Header,
    ReadOnlyAdmin,
    SinceFilter,
    Verb,
    YesNoFilter,
)
from config.states import FAILED_RECORD, RUN, SUBSCRIPTION, SUBSCRIPTION_FEED, TRANSACTION, State, state
from connections.admin.connection import ConnectionAdmin as BaseConnectionAdmin
from connections.models import Connection, User
from connections.models.connection import CLOSED, Provider
from connections.states import connection_state, next_step
from sync.admin_flows import FlowAdmin, RecordLinkAdmin, WatermarkAdmin, WriteIntentAdmin
from sync.admin_mappings import MappingAdmin, MappingVersionAdmin
from sync.models import RunStatus, Subscription, SubscriptionFeed, SyncFailure, SyncRun, Transaction, Trigger
from sync.services.failures import failure_resolve
from sync.services.runs import run_request

__all__ = [
    "FlowAdmin",
    "MappingAdmin",
    "MappingVersionAdmin",
    "RecordLinkAdmin",
    "WatermarkAdmin",
    "WriteIntentAdmin",
]  # registered there


_OF_A_BANK = (
    ("sync.syncrun", "Runs"),
    ("sync.transaction", "Transactions"),
    ("sync.subscription", "Subscriptions"),
    ("sync.syncfailure", "Failed records"),
)
_OF_ANOTHER = (
    ("sync.syncrun", "Runs"),
    ("webhooks.webhookevent", "Webhooks"),
    ("connections.recordnews", "News"),
    ("sync.syncfailure", "Failed records"),
)


def _refresh(connection: Connection, actor: User, answer: str) -> str:
    run_request(connection_id=connection.pk, trigger=Trigger.USER, requested_by=actor)
    return f"A sync of {connection} has been asked for; its run appears below Runs."


@admin.register(Connection)
class ConnectionAdmin(BaseConnectionAdmin):
    """Connections with what syncs add: whether one is under way, the way to the runs, and "Refresh now"."""

    verbs = {
        "refresh": Verb(
            "Refresh now",
            "refresh",
            _refresh,
            lambda connection: connection.provider == Provider.PLAID and connection.is_syncable,
            is_primary=True,
        ),
        **BaseConnectionAdmin.verbs,
    }

    def get_queryset(self, request: HttpRequest) -> QuerySet:
        running = SyncRun.objects.filter(connection=OuterRef("pk"), status=RunStatus.RUNNING)
        return super().get_queryset(request).annotate(is_syncing=Exists(running))

    def header(self, connection: Connection) -> Header:
        """Three facts of its own, and the way to what was synced."""
        base = super().header(connection)
        shown = _OF_A_BANK if connection.provider == Provider.PLAID else _OF_ANOTHER
        links = [
            console.link(console.to_list(model, connection__id__exact=connection.pk), text) for model, text in shown
        ]
        see = console.joined(links)
        syncing = getattr(connection, "is_syncing", False)
        return Header(
            base.title,
            connection_state(connection, is_syncing=syncing),
            base.sentence,
            (*base.cards[:3], Card("See its", see)),
            base.template,
            base.extra,
        )

    @admin.display(description="State", ordering="status")
    def shown_state(self, connection: Connection) -> Any:
        syncing = getattr(connection, "is_syncing", False)
        return console.badge(connection_state(connection, is_syncing=syncing), title=next_step(connection))


_OUTCOMES = ("created", "updated", "unchanged", "removed", "skipped", "parked", "failed")


@admin.register(SyncRun)
class SyncRunAdmin(ReadOnlyAdmin):
    """A run report is evidence, so nothing is edited here."""

    id_lookups = ("pk", "connection_id", "flow_id", "parent_id")
    chip_field, chip_words = "status", RUN
    list_display = (
        "created_at_ago",
        "shown_of",
        "entity",
        "shown_state",
        "trigger",
        "fetched",
        "changes",
        "failed",
        "duration",
    )
    list_select_related = ("connection", "flow", "requested_by")
    list_filter = (
        ("status", ChoicesDropdownFilter),
        ("trigger", ChoicesDropdownFilter),
        SinceFilter,
        ("connection", AutocompleteSelectFilter),
        ("flow", AutocompleteSelectFilter),
    )
    search_fields = ("correlation_id__exact", "connection__name", "connection__plaid_item__item_id__exact")
    fieldsets = (
        (
            None,
            {
                "fields": (
                    "connection",
                    "flow",
                    "workspace",
                    "entity",
                    "mode",
                    "trigger",
                    "requested_by",
                    "parent",
                    "correlation_id_whole",
                    "id_whole",
                )
            },
        ),
        ("Times", {"fields": ("created_at_exact", "started_at_exact", "finished_at_exact", "duration")}),
        ("Waiting", {"fields": ("next_attempt_at_exact", "waiting_code", "attempts", "cancel_requested_at_exact")}),
        ("Asked for", {"fields": ("parameters_json",)}),
        ("Position", {"fields": ("page_count", "restarts", "dirty_seq", "first_cursor_whole", "next_cursor_whole")}),
        ("Evidence", {"fields": ("errors_json",)}),
    )

    def get_queryset(self, request: HttpRequest) -> QuerySet:
        related = ("connection", "flow", "requested_by", "workspace", "parent")
        return super().get_queryset(request).select_related(*related)

    @admin.display(description="Of")
    def shown_of(self, run: SyncRun) -> Any:
        return console.name(run.flow or run.connection or "Several flows")

    def header(self, run: SyncRun) -> Header:
        errors = run.errors if isinstance(run.errors, list) else []
        first = next((error.get("detail", "") for error in errors if isinstance(error, dict)), "")
        cards = (
            Card("Started", console.moment(run.started_at)),
            Card("Took", self.duration(run)),
            Card("Pages", console.number(run.page_count)),
            Card("Started by", f"{run.get_trigger_display()}{f' ({run.requested_by})' if run.requested_by else ''}"),
        )
        return Header(
            console.name(f"{run.flow or run.connection or 'Several flows'} · {run.entity}"),
            state(RUN, run.status),
            first,
            cards,
            "admin/ledger.html",
            ledger_of(run) | {"errors": errors},
        )

    @admin.display(description="State")
    def shown_state(self, run: SyncRun) -> Any:
        return console.badge(state(RUN, run.status))

    @admin.display(description="Fetched")
    def fetched(self, run: SyncRun) -> Any:
        return console.number(run.records_fetched)

    @admin.display(description="Failed")
    def failed(self, run: SyncRun) -> Any:
        return console.number(run.records_failed)

    @admin.display(description="Changes")
    def changes(self, run: SyncRun) -> Any:
        return console.number(run.records_created + run.records_updated + run.records_removed)

    @admin.display(description="Took")
    def duration(self, run: SyncRun) -> str:
        if not (run.started_at and run.finished_at):
            return console.DASH
        seconds = (run.finished_at - run.started_at).total_seconds()
        return f"{seconds:.1f} s" if seconds < 60 else f"{seconds // 60:.0f} min {seconds % 60:.0f} s"


def ledger_of(run: SyncRun) -> dict[str, Any]:
    """The ledger as an equation: fetched = created + updated + … A term that has a list of its own links to it."""
    counts = {outcome: getattr(run, f"records_{outcome}") for outcome in _OUTCOMES}
    failures = console.to_list("sync.syncfailure", run__id__exact=run.pk)
    terms = [{"word": "fetched", "count": f"{run.records_fetched:,}", "url": "", "is_zero": not run.records_fetched}]
    for outcome, count in counts.items():
        url = failures if outcome == "failed" and count else ""
        terms.append({"word": outcome, "count": f"{count:,}", "url": url, "is_zero": not count})
    difference = run.records_fetched - sum(counts.values())
    is_open = run.status in (RunStatus.QUEUED, RunStatus.RUNNING)
    return {
        "terms": terms,
        "is_balanced": difference == 0,
        "difference": f"{difference:,}",
        "remark": "The run is not finished." if is_open else "Such a run counts as failed.",
    }


def _resolve(failure: SyncFailure, actor: User, answer: str) -> str:
    resolved = failure_resolve(failure_id=failure.pk, reason=answer, actor=actor)
    return f"Resolved: {resolved.resolution}"


class OpenFilter(DropdownFilter):
    """Open failures, those that are resolved, or those that a disconnected bank left: nothing can be done about them."""

    title = "state"
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(key, shown.word) for key, shown in FAILED_RECORD.items()]

    def queryset(self, request: HttpRequest, queryset: QuerySet) -> QuerySet:
        if self.value() not in FAILED_RECORD:
            return queryset
        if self.value() == "resolved":
            return queryset.filter(resolved_at__isnull=False)
        unresolved = queryset.filter(resolved_at=None)
        of_gone = {"connection__status__in": CLOSED}
        return unresolved.filter(**of_gone) if self.value() == "gone" else unresolved.exclude(**of_gone)


@admin.register(SyncFailure)
class SyncFailureAdmin(ReadOnlyAdmin):
    """Records that were set aside. Each ends by arriving whole, or by a person who says why it may stay out."""

    id_lookups = ("pk", "connection_id", "run_id")
    verbs = {
        "resolve": Verb(
            "Mark resolved",
            "check",
            _resolve,
            lambda failure: failure.resolved_at is None,
            asks="Why does this record need nothing more?",
        )
    }
    list_display = (
        "external_id_code",
        "shown_state",
        "reason_name",
        "code",
        "connection_name",
        "attempts",
        "created_at_ago",
    )
    list_select_related = ("connection",)
    list_filter = (
        OpenFilter,
        SinceFilter,
        ("connection", AutocompleteSelectFilter),
        ("flow", AutocompleteSelectFilter),
    )
    search_fields = ("external_id__exact", "code__exact", "reason", "connection__name", "run__correlation_id__exact")
    fieldsets = (
        (
            None,
            {
                "fields": (
                    "external_id_whole",
                    "entity",
                    "code_whole",
                    "reason",
                    "connection",
                    "flow",
                    "run",
                    "waits_for_entity",
                    "waits_for_id_code",
                    "workspace",
                    "id_whole",
                )
            },
        ),
        (
            "Times",
            {
                "fields": (
                    "attempts",
                    "next_attempt_at_exact",
                    "created_at_exact",
                    "updated_at_exact",
                    "resolved_at_exact",
                    "resolution",
                )
            },
        ),
        ("The record as received", {"fields": ("payload_raw",)}),
    )

    def get_queryset(self, request: HttpRequest) -> QuerySet:
        return super().get_queryset(request).select_related("connection", "flow", "run", "workspace")

    def header(self, failure: SyncFailure) -> Header:
        sentence = failure.resolution or failure.reason
        return Header(f"Failed record of {failure.connection}", _failure_state(failure), sentence)

    @admin.display(description="State")
    def shown_state(self, failure: SyncFailure) -> Any:
        return console.badge(_failure_state(failure), title=failure.resolution)


def _failure_state(failure: SyncFailure) -> Any:
    if failure.resolved_at:
        return FAILED_RECORD["resolved"]
    return FAILED_RECORD["gone" if failure.connection.is_closed else "open"]


@admin.register(Transaction)
class TransactionAdmin(ReadOnlyAdmin):
    """What moved on the accounts. Millions of rows: newest arrivals first, or by date within one connection or account."""

    id_lookups = ("pk", "connection_id", "account_id")
    list_display = (
        "date_day",
        "shown_name",
        "amount_shown",
        "shown_state",
        "account_name",
        "connection_name",
    )
    list_display_links = ("shown_name",)
    list_select_related = ("account", "connection")
    list_filter = (
        ("connection", AutocompleteSelectFilter),
        ("account", AutocompleteSelectFilter),
        ("pending", YesNoFilter),
        ("archived", YesNoFilter),
        SinceFilter,
    )
    search_fields = ("external_id__exact", "name", "merchant_name")
    fieldsets = (
        (
            None,
            {
                "fields": (
                    "name",
                    "merchant_name",
                    "amount_shown",
                    "date_day",
                    "authorized_date_day",
                    "category",
                    "account",
                    "connection",
                    "workspace",
                )
            },
        ),
        ("State", {"fields": ("pending", "archived", "archived_at_exact", "created_at_exact", "updated_at_exact")}),
        ("Ids", {"fields": ("external_id_whole", "pending_external_id_whole", "id_whole")}),
        ("Its owner's own", {"fields": ("note", "user_category")}),
        ("As the bank sent it", {"fields": ("raw_json_json",)}),
    )

    def get_queryset(self, request: HttpRequest) -> QuerySet:
        return super().get_queryset(request).select_related("account", "connection", "workspace").defer("raw_json")

    def get_ordering(self, request: HttpRequest) -> tuple[str, ...]:
        """By date only where an index has that order: across all connections it would sort the whole table."""
        is_narrow = {"connection__id__exact", "account__id__exact"} & request.GET.keys()
        return ("-date", "-pk") if is_narrow else ("-pk",)

    def header(self, transaction: Transaction) -> Header:
        cards = (
            Card("Amount", console.money(transaction.amount, transaction.currency)),
            Card("Date", console.day(transaction.date)),
            Card("Account", console.name(transaction.account)),
            Card("Category", console.name(transaction.category)),
        )
        sign = "Money out." if transaction.amount > 0 else "Money in." if transaction.amount < 0 else ""
        return Header(
            console.name(transaction.merchant_name or transaction.name), _transaction_state(transaction), sign, cards
        )

    @admin.display(description="Name")
    def shown_name(self, transaction: Transaction) -> Any:
        return console.name(transaction.merchant_name or transaction.name)

    @admin.display(description="Amount")
    def amount_shown(self, transaction: Transaction) -> Any:
        return console.money(transaction.amount, transaction.currency)

    @admin.display(description="State")
    def shown_state(self, transaction: Transaction) -> Any:
        return console.badge(_transaction_state(transaction))


def _transaction_state(transaction: Transaction) -> Any:
    if transaction.archived:
        return TRANSACTION["removed"]
    return TRANSACTION["pending" if transaction.pending else "posted"]


@admin.register(Subscription)
class SubscriptionAdmin(ReadOnlyAdmin):
    """What comes and goes regularly on the accounts, as the banks told it last."""

    id_lookups = ("pk", "connection_id", "account_id")
    chip_field, chip_words = "status", SUBSCRIPTION
    list_display = (
        "shown_name",
        "shown_state",
        "last_amount_shown",
        "frequency",
        "direction",
        "predicted_next_date_day",
        "account_name",
        "connection_name",
    )
    list_select_related = ("account", "connection")
    list_filter = (
        ("status", ChoicesDropdownFilter),
        ("direction", ChoicesDropdownFilter),
        ("connection", AutocompleteSelectFilter),
        ("account", AutocompleteSelectFilter),
        SinceFilter,
    )
    search_fields = ("external_id__exact", "description", "merchant_name")
    fieldsets = (
        (
            None,
            {
                "fields": (
                    "description",
                    "merchant_name",
                    "direction",
                    "category",
                    "frequency",
                    "average_amount_shown",
                    "last_amount_shown",
                    "account",
                    "connection",
                    "workspace",
                )
            },
        ),
        ("Days", {"fields": ("first_date_day", "last_date_day", "predicted_next_date_day")}),
        (
            "State",
            {"fields": ("source_status", "is_active", "cancelled_at_exact", "created_at_exact", "updated_at_exact")},
        ),
        ("Ids", {"fields": ("external_id_whole", "source_id_whole", "id_whole")}),
        ("As the bank sent it", {"fields": ("raw_json_json",)}),
    )

    def get_queryset(self, request: HttpRequest) -> QuerySet:
        return super().get_queryset(request).select_related("account", "connection", "workspace").defer("raw_json")

    def header(self, subscription: Subscription) -> Header:
        cards = (
            Card("Last amount", self.last_amount_shown(subscription)),
            Card("Comes", subscription.frequency.replace("_", " ").lower()),
            Card("Next", console.day(subscription.predicted_next_date)),
            Card("Account", console.name(subscription.account)),
        )
        sentence = f"{subscription.get_direction_display()}."
        return Header(console.name(subscription), state(SUBSCRIPTION, subscription.status), sentence, cards)

    @admin.display(description="Name")
    def shown_name(self, subscription: Subscription) -> Any:
        return console.name(subscription)

    @admin.display(description="State")
    def shown_state(self, subscription: Subscription) -> Any:
        return console.badge(state(SUBSCRIPTION, subscription.status))

    @admin.display(description="Last amount")
    def last_amount_shown(self, subscription: Subscription) -> Any:
        return console.money(subscription.last_amount, subscription.currency)

    @admin.display(description="Average amount")
    def average_amount_shown(self, subscription: Subscription) -> Any:
        return console.money(subscription.average_amount, subscription.currency)


@admin.register(SubscriptionFeed)
class SubscriptionFeedAdmin(ReadOnlyAdmin):
    """When each bank's subscriptions were read, when they are next, and what stood in the way."""

    id_lookups = ("pk", "item_id", "item__connection_id")
    list_display = ("item_name", "shown_state", "read_at_ago", "due_at_ago", "failure_count", "unavailable_code")
    list_select_related = ("item",)
    list_filter = (SinceFilter,)
    search_fields = ("item__item_id__exact", "item__institution_name", "unavailable_code__exact")
    fieldsets = (
        (None, {"fields": ("item", "workspace", "unavailable_code", "failure_count", "id_whole")}),
        (
            "Times",
            {
                "fields": (
                    "read_at_exact",
                    "due_at_exact",
                    "not_before_exact",
                    "lease_expires_at_exact",
                    "created_at_exact",
                )
            },
        ),
        ("Last error", {"fields": ("last_error_raw",)}),
    )

    def get_queryset(self, request: HttpRequest) -> QuerySet:
        return super().get_queryset(request).select_related("item", "workspace").defer("item__institution_logo")

    def header(self, feed: SubscriptionFeed) -> Header:
        return Header(console.name(feed), _feed_state(feed), feed.unavailable_code)

    @admin.display(description="State")
    def shown_state(self, feed: SubscriptionFeed) -> Any:
        return console.badge(_feed_state(feed), title=feed.unavailable_code)


def _feed_state(feed: SubscriptionFeed) -> State:
    if feed.due_at is None:
        return SUBSCRIPTION_FEED["ended"]
    if feed.unavailable_code:
        return SUBSCRIPTION_FEED["unavailable"]
    return SUBSCRIPTION_FEED["late" if feed.failure_count else "read" if feed.read_at else "waiting"]
