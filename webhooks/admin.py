"""The inbox: what providers told us, and what became of it."""

from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest

from config import console
from config.admin import AutocompleteSelectFilter, Card, ChoicesDropdownFilter, Header, ReadOnlyAdmin, SinceFilter, Verb
from config.states import WEBHOOK, state
from connections.models import User
from webhooks.models import WebhookEvent, WebhookRefusal
from webhooks.services.replays import event_replay


def _replay(event: WebhookEvent, actor: User, answer: str) -> str:
    event_replay(event_id=event.pk, actor=actor)
    return f"{event} waits to be processed again."


@admin.register(WebhookEvent)
class WebhookEventAdmin(ReadOnlyAdmin):
    """Messages as they were understood. Their raw bytes may hold tokens, so nobody is shown them."""

    id_lookups = ("pk", "connection_id")
    chip_field, chip_words = "status", WEBHOOK
    verbs = {
        "replay": Verb("Replay", "replay", _replay, lambda event: event.status != WebhookEvent.Status.RECEIVED),
    }
    list_display = (
        "received_at_ago",
        "what",
        "shown_state",
        "connection_name",
        "deliveries",
        "attempts",
        "item_id_code",
        "provider",
    )
    list_select_related = ("connection",)
    list_filter = (
        ("status", ChoicesDropdownFilter),
        ("provider", ChoicesDropdownFilter),
        SinceFilter,
        ("connection", AutocompleteSelectFilter),
    )
    search_fields = ("item_id__exact", "correlation_id__exact", "code__exact", "event_type__exact")
    fieldsets = (
        (
            None,
            {
                "fields": (
                    "provider",
                    "environment",
                    "event_type",
                    "code",
                    "connection",
                    "workspace",
                    "item_id_whole",
                    "correlation_id_whole",
                    "id_whole",
                )
            },
        ),
        (
            "Handling",
            {
                "fields": (
                    "note",
                    "deliveries",
                    "is_marked",
                    "attempts",
                    "replays",
                    "received_at_exact",
                    "last_received_at_exact",
                    "processed_at_exact",
                    "next_attempt_at_exact",
                )
            },
        ),
        ("The message", {"fields": ("payload_json", "headers_json")}),
    )

    def get_queryset(self, request: HttpRequest) -> QuerySet:
        return (
            super().get_queryset(request).select_related("connection", "workspace").defer("body", "payload", "headers")
        )

    def header(self, event: WebhookEvent) -> Header:
        cards = (
            Card("Received", console.moment(event.received_at)),
            Card("Processed", console.moment(event.processed_at)),
            Card("Deliveries", console.number(event.deliveries)),
            Card("Attempts", console.number(event.attempts)),
        )
        return Header(console.name(_what(event)), state(WEBHOOK, event.status), event.note, cards)

    @admin.display(description="Message")
    def what(self, event: WebhookEvent) -> Any:
        return console.name(_what(event))

    @admin.display(description="State")
    def shown_state(self, event: WebhookEvent) -> Any:
        return console.badge(state(WEBHOOK, event.status), title=event.note)


@admin.register(WebhookRefusal)
class WebhookRefusalAdmin(ReadOnlyAdmin):
    """How many webhooks were refused, by hour. Nothing else of them is kept; each check that failed is below Errors."""

    list_display = ("hour_exact", "provider", "count", "last_reason", "last_at_ago")
    list_filter = (("provider", ChoicesDropdownFilter), SinceFilter)
    fieldsets = ((None, {"fields": ("provider", "hour_exact", "count", "last_reason", "last_at_exact")}),)

    def get_search_results(self, request: HttpRequest, queryset: QuerySet, search_term: str) -> tuple[QuerySet, bool]:
        return queryset, False


def _what(event: WebhookEvent) -> str:
    return " ".join(part for part in (event.event_type, event.code) if part) or event.get_provider_display()
