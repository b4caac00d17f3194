"""The outbox: what happened, and who has heard of it."""

from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest

from config import console
from config.admin import AutocompleteSelectFilter, Card, DropdownFilter, Header, ReadOnlyAdmin, SinceFilter, Verb
from config.states import EVENT
from connections.events import EventType
from connections.models import DomainEvent, EventDelivery, User
from connections.services.event_dispatch import event_retry


class EventStateFilter(DropdownFilter):
    """Waiting, parked or told; the first two are read from indexes of their own."""

    title = "state"
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(key, shown.word) for key, shown in EVENT.items()]

    def queryset(self, request: HttpRequest, queryset: QuerySet) -> QuerySet:
        chosen: dict[str, dict[str, Any]] = {
            "waiting": {"dispatched_at": None},
            "parked": {"parked_at__isnull": False},
            "told": {"dispatched_at__isnull": False, "parked_at": None},
        }
        return queryset.filter(**chosen.get(self.value() or "", {}))


class TypeFilter(DropdownFilter):
    title = "type"
    parameter_name = "type"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(type_, type_) for type_ in EventType]

    def queryset(self, request: HttpRequest, queryset: QuerySet) -> QuerySet:
        return queryset.filter(type=self.value()) if self.value() else queryset


def _retry(event: DomainEvent, actor: User, answer: str) -> str:
    event_retry(event_id=event.pk, actor=actor)
    return f"{event} is offered once more to those that did not take it."


@admin.register(DomainEvent)
class DomainEventAdmin(ReadOnlyAdmin):
    """What was written with the change it tells of. The one verb is to offer again what was parked."""

    id_lookups = ("pk", "line", "workspace_id")
    list_display = ("occurred_at_ago", "type", "shown_state", "connection_name", "sequence", "attempts")
    list_display_links = ("occurred_at_ago",)
    list_select_related = ("connection",)
    list_filter = (EventStateFilter, TypeFilter, SinceFilter, ("connection", AutocompleteSelectFilter))
    search_fields = ("correlation_id__exact",)
    verbs = {
        "retry": Verb(
            "Retry", "replay", _retry, lambda event: bool(event.parked_at and event.dispatched_at), is_primary=True
        )
    }
    fieldsets = (
        (None, {"fields": ("type", "version", "connection", "workspace", "sequence", "shown_state", "id_whole")}),
        ("Telling it", {"fields": ("handlers", "attempts", "next_attempt_at_exact", "dispatched_at_exact")}),
        ("What happened", {"fields": ("payload_json", "occurred_at_exact", "correlation_id_whole")}),
    )

    def get_queryset(self, request: HttpRequest) -> QuerySet:
        return super().get_queryset(request).select_related("connection", "workspace")

    def header(self, event: DomainEvent) -> Header:
        cards = (
            Card("Happened", console.moment(event.occurred_at)),
            Card("Told", console.moment(event.dispatched_at)),
            Card("Attempts", console.number(event.attempts)),
        )
        return Header(event.type, EVENT[_state(event)], "", cards)

    @admin.display(description="State")
    def shown_state(self, event: DomainEvent) -> Any:
        return console.badge(EVENT[_state(event)])

    @admin.display(description="Handlers")
    def handlers(self, event: DomainEvent) -> Any:
        """One line each, with what it said when it failed."""
        lines = [f"{share.handler}: {_share(share)}" for share in event.deliveries.order_by("handler")]
        return console.pretty("\n".join(lines))


@admin.register(EventDelivery)
class EventDeliveryAdmin(ReadOnlyAdmin):
    """One handler's share of one event."""

    id_lookups = ("pk", "event_id")
    list_display = ("handler", "event_type", "delivered_at_ago", "parked_at_ago", "attempts")
    list_select_related = ("event",)
    search_fields = ("handler__exact",)
    fieldsets = (
        (
            None,
            {
                "fields": (
                    "handler",
                    "event",
                    "workspace",
                    "attempts",
                    "last_error",
                    "delivered_at_exact",
                    "parked_at_exact",
                    "id_whole",
                )
            },
        ),
    )

    def get_queryset(self, request: HttpRequest) -> QuerySet:
        return super().get_queryset(request).select_related("event", "workspace")

    @admin.display(description="Event")
    def event_type(self, share: EventDelivery) -> str:
        return share.event.type


def _state(event: DomainEvent) -> str:
    if event.dispatched_at is None:
        return "waiting"
    return "parked" if event.parked_at else "told"


def _share(share: EventDelivery) -> str:
    if share.delivered_at:
        return "has it"
    state = "parked" if share.parked_at else "waits"
    return f"{state} after {share.attempts} failed: {share.last_error}" if share.last_error else state
