"""The record of who did what, and its seals. Nobody changes either, here or anywhere."""

from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest

from config import console
from config.admin import AutocompleteSelectFilter, Card, DropdownFilter, Header, ReadOnlyAdmin, SinceFilter
from connections.audit import Action
from connections.models import AuditSeal, SecurityEvent


class ActionFilter(DropdownFilter):
    title = "action"
    parameter_name = "did"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(action, action) for action in Action]

    def queryset(self, request: HttpRequest, queryset: QuerySet) -> QuerySet:
        return queryset.filter(action=self.value()) if self.value() else queryset


@admin.register(SecurityEvent)
class SecurityEventAdmin(ReadOnlyAdmin):
    """Sign-ins, and whatever people and commands changed."""

    id_lookups = ("pk", "actor_id", "workspace_id")
    list_display = ("at_ago", "action", "who", "what", "workspace_name", "ip", "correlation_id_code")
    list_display_links = ("at_ago",)
    list_select_related = ("workspace",)
    list_filter = (
        ActionFilter,
        SinceFilter,
        ("actor", AutocompleteSelectFilter),
        ("workspace", AutocompleteSelectFilter),
    )
    search_fields = ("correlation_id__exact", "object_id__exact", "actor_name__exact", "ip__exact")
    fieldsets = (
        (None, {"fields": ("action", "who", "what", "object_id_whole", "workspace", "at_exact", "id_whole")}),
        ("From where", {"fields": ("ip", "user_agent_name", "correlation_id_whole")}),
        ("Details", {"fields": ("details_json",)}),
    )

    def get_queryset(self, request: HttpRequest) -> QuerySet:
        return super().get_queryset(request).select_related("workspace")

    def header(self, event: SecurityEvent) -> Header:
        cards = (
            Card("When", console.moment(event.at)),
            Card("Who", self.who(event)),
            Card("From", event.ip or console.DASH),
            Card("To", self.what(event)),
        )
        return Header(event.action, None, "", cards)

    @admin.display(description="Who")
    def who(self, event: SecurityEvent) -> Any:
        return console.name(event.actor_name) if event.actor_name else console.DASH

    @admin.display(description="To what")
    def what(self, event: SecurityEvent) -> str:
        return event.object_type or console.DASH


@admin.register(AuditSeal)
class AuditSealAdmin(ReadOnlyAdmin):
    """The chain over the security events; `manage.py verify_audit` goes through it."""

    id_lookups = ("pk", "event_id", "chain")
    list_display = ("sealed_at_ago", "sequence", "workspace_name", "event_id_code", "hash_code")
    list_display_links = ("sealed_at_ago",)
    list_select_related = ("workspace",)
    list_filter = (("workspace", AutocompleteSelectFilter),)
    search_fields = ("hash__exact",)
    fieldsets = (
        (
            None,
            {
                "fields": (
                    "workspace",
                    "sequence",
                    "event_id_whole",
                    "previous_hash_whole",
                    "hash_whole",
                    "sealed_at_exact",
                    "id_whole",
                )
            },
        ),
    )
