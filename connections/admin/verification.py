"""Verifications: what a provider was asked about a connection's settings, and what it answered."""

from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest

from config import console
from config.admin import AutocompleteSelectFilter, Card, ChoicesDropdownFilter, Header, ReadOnlyAdmin, SinceFilter
from config.states import CHECK, VERIFICATION, state
from connections.models import Verification


def shown_checks(verification: Verification) -> list[dict[str, Any]]:
    """The checks, each with its state in words."""
    return [{**check, "state": state(CHECK, check["status"])} for check in verification.checks]


@admin.register(Verification)
class VerificationAdmin(ReadOnlyAdmin):
    """Evidence of what worked when. The way to a new one is on the connection's page."""

    id_lookups = ("pk", "connection_id")
    chip_field, chip_words = "status", VERIFICATION
    list_display = (
        "created_at_ago",
        "connection_name",
        "shown_state",
        "config_version",
        "failing",
        "requested_by_name",
    )
    list_display_links = ("created_at_ago",)
    list_select_related = ("connection", "requested_by")
    list_filter = (("status", ChoicesDropdownFilter), SinceFilter, ("connection", AutocompleteSelectFilter))
    search_fields = ("connection__name", "correlation_id__exact")
    fieldsets = (
        (
            None,
            {
                "fields": (
                    "connection",
                    "workspace",
                    "config_version",
                    "requested_by",
                    "correlation_id_whole",
                    "id_whole",
                )
            },
        ),
        ("When", {"fields": ("created_at_exact", "finished_at_exact", "attempts")}),
    )

    def get_queryset(self, request: HttpRequest) -> QuerySet:
        return super().get_queryset(request).select_related("connection", "requested_by", "workspace")

    def header(self, verification: Verification) -> Header:
        failing = len(verification.failing)
        sentence = f"{failing} of {len(verification.checks)} checks failed." if failing else ""
        cards = (
            Card("Asked", console.moment(verification.created_at)),
            Card("Checks", console.number(len(verification.checks))),
        )
        extra = {"checks": shown_checks(verification)}
        shown = state(VERIFICATION, verification.status)
        return Header(console.name(verification.connection.name), shown, sentence, cards, "admin/checks.html", extra)

    @admin.display(description="State")
    def shown_state(self, verification: Verification) -> Any:
        return console.badge(state(VERIFICATION, verification.status))

    @admin.display(description="Failing checks")
    def failing(self, verification: Verification) -> str:
        return ", ".join(check["name"] for check in verification.failing) or console.DASH
