"""Bank logins, and the way to them: link sessions and exchanges."""

from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest

from config import console
from config.admin import Card, ChoicesDropdownFilter, Header, ReadOnlyAdmin, SinceFilter, Verb, YesNoFilter
from config.states import EXCHANGE, LINK, ROTATION, State, Tone, state
from connections.models import PlaidExchange, PlaidItem, PlaidLink, PlaidTokenRotation, RetiredPlaidItem, User
from connections.services.plaid_removal import retired_item_settle
from connections.states import connection_state, next_step

RETIRED = {
    "pending": State("To be removed", Tone.AMBER, "hourglass_empty"),
    "removed": State("Removed", Tone.GREY, "link_off"),
}


@admin.register(PlaidItem)
class PlaidItemAdmin(ReadOnlyAdmin):
    """How far each bank login has been read. Its connection carries the status and the verbs."""

    id_lookups = ("pk", "connection_id")
    list_display = (
        "shown_name",
        "shown_state",
        "last_synced_at_ago",
        "last_webhook_at_ago",
        "waits",
        "item_id_code",
        "connection_name",
    )
    list_select_related = ("connection",)
    list_filter = (
        SinceFilter,
        ("connection__status", ChoicesDropdownFilter),
        ("is_large", YesNoFilter),
        ("history_complete", YesNoFilter),
    )
    search_fields = ("item_id__exact", "institution_name", "institution_id__exact", "connection__name")
    fieldsets = (
        (
            None,
            {"fields": ("connection", "workspace", "institution_name", "institution_id", "item_id_whole", "id_whole")},
        ),
        (
            "Position",
            {
                "fields": (
                    "dirty_seq",
                    "synced_seq",
                    "cursor_whole",
                    "history_complete",
                    "is_history_partial",
                    "is_large",
                    "offered_until_exact",
                    "lease_expires_at_exact",
                )
            },
        ),
        (
            "Times",
            {
                "fields": (
                    "last_synced_at_exact",
                    "auto_sync_at_exact",
                    "last_webhook_at_exact",
                    "webhook_url_whole",
                    "webhook_asked_at_exact",
                    "webhook_confirmed_at_exact",
                    "details_at_exact",
                    "account_selection_at_exact",
                    "recurring_changed_at_exact",
                    "reauth_needed_at_exact",
                    "probed_at_exact",
                    "repaired_at_exact",
                    "consent_expires_at_exact",
                    "cleanup_notified_at_exact",
                    "removed_at_exact",
                    "created_at_exact",
                )
            },
        ),
        ("Last error", {"fields": ("last_sync_error_raw",)}),
    )

    def get_queryset(self, request: HttpRequest) -> QuerySet:
        return super().get_queryset(request).select_related("connection", "workspace").defer("institution_logo")

    def header(self, item: PlaidItem) -> Header:
        cards = (
            Card("Last sync", console.moment(item.last_synced_at)),
            Card("Last webhook", console.moment(item.last_webhook_at)),
            Card("News waiting", "Yes" if item.is_dirty else "No"),
            Card("Consent ends", console.moment(item.consent_expires_at)),
        )
        return Header(console.name(item), connection_state(item.connection), next_step(item.connection), cards)

    @admin.display(description="Bank", ordering="institution_name")
    def shown_name(self, item: PlaidItem) -> Any:
        return console.name(item)

    @admin.display(description="State")
    def shown_state(self, item: PlaidItem) -> Any:
        return console.badge(connection_state(item.connection), title=next_step(item.connection))

    @admin.display(description="News waiting", boolean=True)
    def waits(self, item: PlaidItem) -> bool:
        return item.is_dirty


@admin.register(PlaidLink)
class PlaidLinkAdmin(ReadOnlyAdmin):
    """Link sessions: who started one and how it ended. Their tokens are shown to nobody."""

    id_lookups = ("pk", "connection_id", "user_id")
    chip_field, chip_words = "status", LINK
    list_display = (
        "created_at_ago",
        "shown_state",
        "user_name",
        "connection_name",
        "environment",
        "is_hosted",
        "expires_at_ago",
    )
    list_select_related = ("user", "connection")
    list_filter = (("status", ChoicesDropdownFilter), SinceFilter, ("is_hosted", YesNoFilter))
    search_fields = ("user__username", "connection__name", "correlation_id__exact")
    fieldsets = (
        (
            None,
            {
                "fields": (
                    "user",
                    "connection",
                    "workspace",
                    "environment",
                    "is_hosted",
                    "status_reason",
                    "correlation_id_whole",
                )
            },
        ),
        ("Times", {"fields": ("created_at_exact", "expires_at_exact", "next_poll_at_exact")}),
    )

    def get_queryset(self, request: HttpRequest) -> QuerySet:
        return super().get_queryset(request).select_related("user", "connection", "workspace").defer("ciphertext")

    def header(self, link: PlaidLink) -> Header:
        return Header(f"Link session of {link.user}", state(LINK, link.status), link.status_reason)

    @admin.display(description="State")
    def shown_state(self, link: PlaidLink) -> Any:
        return console.badge(state(LINK, link.status), title=link.status_reason)


@admin.register(PlaidExchange)
class PlaidExchangeAdmin(ReadOnlyAdmin):
    """Attempts to turn a public token into an Item. One of unknown outcome is for a person to look up at Plaid."""

    id_lookups = ("pk", "connection_id", "user_id")
    chip_field, chip_words = "status", EXCHANGE
    list_display = (
        "started_at_ago",
        "shown_state",
        "institution_name_name",
        "user_name",
        "connection_name",
        "environment",
        "error_code",
    )
    list_select_related = ("user", "connection")
    list_filter = (("status", ChoicesDropdownFilter), SinceFilter)
    search_fields = (
        "institution_name",
        "request_id__exact",
        "user__username",
        "connection__name",
        "correlation_id__exact",
    )
    fieldsets = (
        (None, {"fields": ("institution_name", "user", "connection", "workspace", "environment", "link")}),
        (
            "Outcome",
            {
                "fields": (
                    "error_code_whole",
                    "item_id_whole",
                    "request_id_whole",
                    "correlation_id_whole",
                    "started_at_exact",
                    "ended_at_exact",
                    "attempts",
                    "next_attempt_at_exact",
                )
            },
        ),
    )

    def get_queryset(self, request: HttpRequest) -> QuerySet:
        return (
            super()
            .get_queryset(request)
            .select_related("user", "connection", "workspace", "link")
            .defer("ciphertext", "link__ciphertext")
        )

    def header(self, exchange: PlaidExchange) -> Header:
        sentence = ""
        if exchange.key_id:  # its access token is kept until the connection has it
            sentence = "Plaid made the Item and its access token is kept: the connection is made by itself."
        elif exchange.status == PlaidExchange.Status.UNKNOWN:
            sentence = "Plaid may hold an Item that we do not: look for this request id on Plaid's dashboard and remove the Item there."
        return Header(console.name(exchange.institution_name or "Exchange"), state(EXCHANGE, exchange.status), sentence)

    @admin.display(description="State")
    def shown_state(self, exchange: PlaidExchange) -> Any:
        return console.badge(state(EXCHANGE, exchange.status))


def _settle(retired: RetiredPlaidItem, actor: User, answer: str) -> str:
    retired_item_settle(retired_id=retired.pk, reason=answer, actor=actor)
    return f"{retired} counts as removed, since you say so."


@admin.register(RetiredPlaidItem)
class RetiredPlaidItemAdmin(ReadOnlyAdmin):
    """Items of connections that end, or that a re-link left behind. Plaid bills each until it is removed there."""

    verbs = {
        "settle": Verb(
            "Removed by hand",
            "done",
            _settle,
            lambda retired: retired.status == RetiredPlaidItem.Status.PENDING,
            asks="How do you know that it is removed at Plaid?",
        )
    }

    id_lookups = ("pk", "connection_id")
    chip_field, chip_words = "status", RETIRED
    list_display = (
        "created_at_ago",
        "shown_state",
        "item_id_code",
        "connection_name",
        "environment",
        "attempts",
        "next_attempt_at_ago",
        "removed_at_ago",
    )
    list_select_related = ("connection",)
    list_filter = (("status", ChoicesDropdownFilter), SinceFilter)
    search_fields = ("item_id__exact", "connection__name", "correlation_id__exact")
    fieldsets = (
        (None, {"fields": ("connection", "workspace", "environment", "item_id_whole", "correlation_id_whole")}),
        ("Removal", {"fields": ("attempts", "next_attempt_at_exact", "created_at_exact", "removed_at_exact")}),
        ("Last error", {"fields": ("last_error_raw",)}),
    )

    def get_queryset(self, request: HttpRequest) -> QuerySet:
        return super().get_queryset(request).select_related("connection", "workspace").defer("ciphertext")

    def header(self, retired: RetiredPlaidItem) -> Header:
        sentence = ""
        if retired.status == RetiredPlaidItem.Status.PENDING and retired.attempts:
            sentence = "It could not be removed yet and may still be billed; it is tried again."
        if (
            retired.status == RetiredPlaidItem.Status.PENDING
            and not retired.key_id
            and not retired.connection.is_closed
        ):
            sentence = "Its access token cannot be read: remove the Item on Plaid's dashboard."
        return Header(console.code(retired), state(RETIRED, retired.status), sentence)

    @admin.display(description="State")
    def shown_state(self, retired: RetiredPlaidItem) -> Any:
        return console.badge(state(RETIRED, retired.status))


@admin.register(PlaidTokenRotation)
class PlaidTokenRotationAdmin(ReadOnlyAdmin):
    """Access tokens that were replaced, and those of which nobody knows. No token is shown to anybody."""

    id_lookups = ("pk", "connection_id")
    chip_field, chip_words = "status", ROTATION
    list_display = ("started_at_ago", "shown_state", "connection_name", "actor_name", "item_id_code", "error_code")
    list_select_related = ("connection", "actor")
    list_filter = (("status", ChoicesDropdownFilter), SinceFilter)
    search_fields = ("item_id__exact", "connection__name", "request_id__exact", "correlation_id__exact")
    fieldsets = (
        (None, {"fields": ("connection", "workspace", "actor", "item_id_whole")}),
        (
            "Outcome",
            {
                "fields": (
                    "error_code_whole",
                    "request_id_whole",
                    "correlation_id_whole",
                    "started_at_exact",
                    "ended_at_exact",
                )
            },
        ),
    )

    def get_queryset(self, request: HttpRequest) -> QuerySet:
        rows = super().get_queryset(request).select_related("connection", "actor", "workspace")
        return rows.defer("ciphertext")

    def header(self, rotation: PlaidTokenRotation) -> Header:
        sentence = ""
        if rotation.status == PlaidTokenRotation.Status.UNKNOWN:
            sentence = "Plaid's answer was lost. A sync that goes through proves that the old token works; else the bank has to be linked again."
        return Header(console.code(rotation.item_id), state(ROTATION, rotation.status), sentence)

    @admin.display(description="State")
    def shown_state(self, rotation: PlaidTokenRotation) -> Any:
        return console.badge(state(ROTATION, rotation.status))
