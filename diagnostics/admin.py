"""Errors, found by the id that a user reads out; alerts, and who was told of them."""

from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
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
)
from config.states import ALERT, ALERT_DELIVERY, ERROR
from connections.errors import CATALOGUE
from diagnostics.models import Alert, AlertDelivery, ErrorEvent


class KindFilter(DropdownFilter):
    """Ours (5xx), or the caller's (4xx)."""

    title = "kind"
    parameter_name = "kind"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(kind, shown.word) for kind, shown in ERROR.items()]

    def queryset(self, request: HttpRequest, queryset: QuerySet) -> QuerySet:
        if self.value() == "ours":
            return queryset.filter(status__gte=500)
        return queryset.filter(status__lt=500) if self.value() == "theirs" else queryset


@admin.register(ErrorEvent)
class ErrorEventAdmin(ReadOnlyAdmin):
    """Every error that somebody met, as an operator needs it."""

    id_lookups = ("pk", "connection_id", "user_id", "workspace_id")
    list_display = (
        "created_at_ago",
        "shown_code",
        "shown_kind",
        "status",
        "method",
        "path_name",
        "user_name",
        "connection_name",
        "correlation_id_code",
    )
    list_select_related = ("user", "connection")
    list_filter = (KindFilter, SinceFilter, ("workspace", AutocompleteSelectFilter))
    search_fields = ("correlation_id__exact", "code__exact", "provider_request_id__exact", "path")
    fieldsets = (
        (
            None,
            {
                "fields": (
                    "shown_code",
                    "status",
                    "method",
                    "path_name",
                    "user",
                    "workspace",
                    "connection",
                    "correlation_id_whole",
                    "created_at_exact",
                    "id_whole",
                )
            },
        ),
        ("What happened", {"fields": ("operator_detail", "unrecorded_before", "stack_raw")}),
        ("At the provider", {"fields": ("provider", "provider_code_whole", "provider_request_id_whole")}),
    )

    def get_queryset(self, request: HttpRequest) -> QuerySet:
        queryset = super().get_queryset(request).select_related("user", "connection", "workspace")
        is_list = getattr(request.resolver_match, "url_name", "").endswith("_changelist")
        return queryset.defer("stack", "operator_detail") if is_list else queryset

    def header(self, error: ErrorEvent) -> Header:
        entry = CATALOGUE.get(error.code)
        cards = (
            Card("Met", console.moment(error.created_at)),
            Card("By", console.name(error.user)),
            Card("Answer", f"{error.status} {error.method}"),
            Card(
                "Who can mend it",
                {"us": "Us", "user": "The user", "operator": "An operator", "provider": "The provider"}[entry.fixed_by]
                if entry
                else console.DASH,
            ),
        )
        sentence = f"They were told: “{entry.detail} {entry.remediation}”" if entry else error.operator_detail
        return Header(entry.title if entry else error.code, ERROR[_kind(error)], sentence, cards)

    @admin.display(description="Code")
    def shown_code(self, error: ErrorEvent) -> Any:
        return console.code(error.code)

    @admin.display(description="Kind")
    def shown_kind(self, error: ErrorEvent) -> Any:
        return console.badge(ERROR[_kind(error)])


def _kind(error: ErrorEvent) -> str:
    return "ours" if error.status >= 500 else "theirs"


class OpenFilter(DropdownFilter):
    title = "state"
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(key, shown.word) for key, shown in ALERT.items()]

    def queryset(self, request: HttpRequest, queryset: QuerySet) -> QuerySet:
        is_open = {"open": True, "recovered": False}.get(self.value() or "")
        return queryset if is_open is None else queryset.filter(recovered_at__isnull=is_open)


@admin.register(Alert)
class AlertAdmin(ReadOnlyAdmin):
    """What somebody has to look at. It closes by itself when what it is about recovers."""

    id_lookups = ("pk", "connection_id", "workspace_id")
    list_display = ("opened_at_ago", "title", "shown_state", "cause", "occurrences", "last_seen_at_ago")
    list_display_links = ("opened_at_ago",)
    list_filter = (OpenFilter, SinceFilter, ("connection", AutocompleteSelectFilter))
    search_fields = ("cause__exact", "correlation_id__exact")
    fieldsets = (
        (None, {"fields": ("shown_state", "text", "cause", "connection", "workspace", "id_whole")}),
        ("When", {"fields": ("opened_at_exact", "last_seen_at_exact", "recovered_at_exact", "correlation_id_whole")}),
        ("Who was told", {"fields": ("messages",)}),
    )

    def get_queryset(self, request: HttpRequest) -> QuerySet:
        return super().get_queryset(request).select_related("connection", "workspace")

    def header(self, alert: Alert) -> Header:
        cards = (
            Card("Opened", console.moment(alert.opened_at)),
            Card("Told again", console.number(alert.occurrences - 1)),
            Card("Recovered", console.moment(alert.recovered_at)),
        )
        return Header(alert.title, ALERT[_alert_state(alert)], "", cards)

    @admin.display(description="State")
    def shown_state(self, alert: Alert) -> Any:
        return console.badge(ALERT[_alert_state(alert)])

    @admin.display(description="Messages")
    def messages(self, alert: Alert) -> Any:
        """One line each, with what the channel said when it did not take it."""
        lines = [f"{sent}: {_delivery(sent)}" for sent in alert.deliveries.order_by("pk")]
        return console.pretty("\n".join(lines) or "Nobody: ALERT_URLS names no channel.")


@admin.register(AlertDelivery)
class AlertDeliveryAdmin(ReadOnlyAdmin):
    """One message to one channel."""

    id_lookups = ("pk", "alert_id")
    list_display = ("next_attempt_at_ago", "alert", "kind", "channel_name", "shown_state", "attempts")
    list_display_links = ("next_attempt_at_ago",)
    list_select_related = ("alert",)
    list_filter = (("kind", ChoicesDropdownFilter),)
    search_fields = ("channel_name__icontains",)
    fieldsets = (
        (None, {"fields": ("alert", "kind", "channel_name", "shown_state", "attempts", "last_error", "id_whole")}),
        ("When", {"fields": ("next_attempt_at_exact", "sent_at_exact", "given_up_at_exact")}),
    )

    @admin.display(description="State")
    def shown_state(self, delivery: AlertDelivery) -> Any:
        return console.badge(ALERT_DELIVERY[_delivery_state(delivery)])


def _alert_state(alert: Alert) -> str:
    return "recovered" if alert.recovered_at else "open"


def _delivery_state(delivery: AlertDelivery) -> str:
    if delivery.sent_at:
        return "sent"
    return "given_up" if delivery.given_up_at else "waiting"


def _delivery(delivery: AlertDelivery) -> str:
    word = ALERT_DELIVERY[_delivery_state(delivery)].word.lower()
    return f"{word} after {delivery.attempts} failed: {delivery.last_error}" if delivery.last_error else word
