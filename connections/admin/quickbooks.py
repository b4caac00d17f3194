"""What QuickBooks' reads have used of their allowance, and news of records that wait to be pulled."""

from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest

from config import console
from config.admin import AutocompleteSelectFilter, ChoicesDropdownFilter, ReadOnlyAdmin
from connections.models import MeteredCalls, RecordNews


@admin.register(MeteredCalls)
class MeteredCallsAdmin(ReadOnlyAdmin):
    """By company and month. Reads of production companies count against the allowance of the installation's keys."""

    list_display = ("month", "account", "connection", "provider", "environment", "reads", "writes", "last_at_ago")
    list_select_related = ("connection",)
    list_filter = (
        ("environment", ChoicesDropdownFilter),
        ("provider", ChoicesDropdownFilter),
        ("connection", AutocompleteSelectFilter),
    )
    search_fields = ("account__exact", "connection__name")
    date_hierarchy = "month"
    fieldsets = (
        (
            None,
            {
                "fields": (
                    "connection",
                    "workspace",
                    "provider",
                    "environment",
                    "account",
                    "month",
                    "reads",
                    "writes",
                    "last_at_exact",
                )
            },
        ),
    )

    def get_queryset(self, request: HttpRequest) -> QuerySet:
        return super().get_queryset(request).select_related("connection", "workspace")

    @admin.display(description="Metered reads", ordering="metered")
    def reads(self, calls: MeteredCalls) -> Any:
        return console.number(calls.metered)

    @admin.display(description="Writes, free", ordering="free")
    def writes(self, calls: MeteredCalls) -> Any:
        return console.number(calls.free)


@admin.register(RecordNews)
class RecordNewsAdmin(ReadOnlyAdmin):
    """What changed at a source, counted as it was told, and how far it was pulled."""

    list_display = ("connection", "entity", "waiting", "dirty_seq", "pulled_seq", "first_at_ago", "last_at_ago")
    list_select_related = ("connection",)
    list_filter = (("connection", AutocompleteSelectFilter),)
    search_fields = ("connection__name", "entity__exact")
    fieldsets = (
        (
            None,
            {
                "fields": (
                    "connection",
                    "workspace",
                    "entity",
                    "dirty_seq",
                    "pulled_seq",
                    "first_at_exact",
                    "last_at_exact",
                )
            },
        ),
    )

    def get_queryset(self, request: HttpRequest) -> QuerySet:
        return super().get_queryset(request).select_related("connection", "workspace")

    @admin.display(description="Waits", boolean=True)
    def waiting(self, news: RecordNews) -> bool:
        return news.dirty_seq > news.pulled_seq
