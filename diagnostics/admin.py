"""Errors, found by the id that a user reads out."""

from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest

from config import console
from config.admin import AutocompleteSelectFilter, Card, DropdownFilter, Header, ReadOnlyAdmin, SinceFilter
from config.states import ERROR
from connections.errors import CATALOGUE
from diagnostics.models import ErrorEvent


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
