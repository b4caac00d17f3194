"""Connections and their credentials."""

from typing import Any

from django.contrib import admin
from django.db.models import Case, IntegerField, QuerySet, Value, When
from django.http import HttpRequest

from config import console
from config.admin import (
    AutocompleteSelectFilter,
    Card,
    ChoicesDropdownFilter,
    Confirmation,
    ConsoleAdmin,
    DropdownFilter,
    Header,
    ReadOnlyAdmin,
    Verb,
)
from config.states import CONNECTION, ENVIRONMENT, state
from connections.models import Connection, Credential, User
from connections.models.connection import Environment, Provider, Status
from connections.services.disconnecting import by_person, connection_disconnect
from connections.services.lifecycle import TRANSITIONS, Event
from connections.services.pausing import connection_pause, connection_resume
from connections.services.token_rotation import access_token_rotate
from connections.states import connection_state, late, next_step

_URGENCY = (Status.FAILED, Status.NEEDS_REAUTH, Status.PENDING_CLEANUP, Status.ACTIVE, Status.PAUSED)


class FreshnessFilter(DropdownFilter):
    """Active banks that were read in time, and those that were not."""

    title = "freshness"
    parameter_name = "freshness"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("fresh", "Healthy"), ("late", "Late")]

    def queryset(self, request: HttpRequest, queryset: QuerySet) -> QuerySet:
        if self.value() == "late":
            return queryset.filter(late())
        return queryset.filter(~late(), status=Status.ACTIVE) if self.value() == "fresh" else queryset


def _pause(connection: Connection, actor: User, answer: str) -> str:
    connection_pause(connection_id=connection.pk, actor=actor)
    return f"{connection} is paused. Nothing is synced until it is resumed."


def _resume(connection: Connection, actor: User, answer: str) -> str:
    connection_resume(connection_id=connection.pk, actor=actor)
    return f"{connection} is active again; what came in meanwhile is synced now."


def _disconnect(connection: Connection, actor: User, answer: str) -> str:
    connection_disconnect(connection_id=connection.pk, reason=by_person("Disconnected", actor), actor=actor)
    return f"{connection} is being disconnected. Its history stays."


def _disconnect_confirmed(connection: Connection) -> Confirmation:
    accounts = connection.accounts.filter(status="active").count()
    noun = "account" if accounts == 1 else "accounts"
    return Confirmation(
        question=f"Disconnect {connection.name}?",
        goes=(
            f"The access of {connection.owner} at the provider, to {accounts:,} {noun}. It cannot be taken back: to go on, they have to connect anew.",
            "The credential that is kept here, once the provider has withdrawn the access.",
            "What the provider bills for it, from then on.",
        ),
        stays=("Everything that was read of it: accounts, transactions, runs.",),
        type_this=connection.name,
    )


def _rotate(connection: Connection, actor: User, answer: str) -> str:
    access_token_rotate(connection_id=connection.pk, actor=actor)
    return f"The access token of {connection} is replaced; the old one works no more."


def _rotate_confirmed(connection: Connection) -> Confirmation:
    return Confirmation(
        question=f"Replace the access token of {connection.name}?",
        goes=(
            "The token that is kept here: it works no more, wherever else it may be.",
            "If Plaid's answer is lost on the way, possibly the bank's connection: its owner would have to link it again.",
        ),
        stays=("The bank's connection, its accounts and its history.",),
        type_this=connection.name,
    )


class ConnectionAdmin(ConsoleAdmin):
    """Where each connection stands. Its name can be edited; its status moves only by verbs.

    Registered by `sync.admin`, which adds the verb to refresh: this app knows nothing of syncs.
    """

    editable = ("name",)
    id_lookups = ("pk", "workspace_id", "owner_id")
    chip_field, chip_words, chip_counts = "status", CONNECTION, True
    verbs = {
        "pause": Verb("Pause", "pause", _pause, lambda connection: connection.status in TRANSITIONS[Event.PAUSED][0]),
        "resume": Verb(
            "Resume", "play_arrow", _resume, lambda connection: connection.status == Status.PAUSED, is_primary=True
        ),
        "rotate": Verb(
            "Replace access token",
            "autorenew",
            _rotate,
            lambda connection: connection.provider == Provider.PLAID and not connection.is_closed,
            confirms=_rotate_confirmed,
        ),
        "disconnect": Verb(
            "Disconnect",
            "link_off",
            _disconnect,
            lambda connection: not connection.is_closed,
            confirms=_disconnect_confirmed,
        ),
    }

    list_display = (
        "name_name",
        "shown_state",
        "last_sync_at_ago",
        "next_attempt_at_ago",
        "shown_provider",
        "owner_name",
    )
    list_select_related = ("owner", "workspace", "plaid_item")
    list_filter = (
        ("status", ChoicesDropdownFilter),
        FreshnessFilter,
        ("provider", ChoicesDropdownFilter),
        ("environment", ChoicesDropdownFilter),
        ("workspace", AutocompleteSelectFilter),
    )
    search_fields = (
        "name",
        "plaid_item__item_id__exact",
        "plaid_item__institution_name",
        "owner__username",
        "error_correlation_id__exact",
    )
    fieldsets = (
        (None, {"fields": ("name", "provider", "shown_environment", "workspace", "owner", "bank_login", "id_whole")}),
        (
            "State",
            {
                "fields": (
                    "shown_state",
                    "status_reason",
                    "last_sync_at_exact",
                    "last_verified_at_exact",
                    "last_used_at_exact",
                    "reauth_due_at_exact",
                    "failure_count",
                    "wait_reason",
                    "next_attempt_at_exact",
                )
            },
        ),
        (
            "Last error",
            {"fields": ("error_code_whole", "error_detail", "error_correlation_id_whole", "error_at_exact")},
        ),
        ("Configuration", {"fields": ("config_version", "config_json", "created_at_exact", "updated_at_exact")}),
    )

    def get_queryset(self, request: HttpRequest) -> QuerySet:
        return super().get_queryset(request).defer("plaid_item__institution_logo")

    def get_ordering(self, request: HttpRequest) -> tuple[Any, ...]:
        """What needs a person first."""
        ranks = [When(status=status, then=Value(rank)) for rank, status in enumerate(_URGENCY)]
        return (Case(*ranks, default=Value(len(ranks)), output_field=IntegerField()).asc(), "-pk")

    def header(self, connection: Connection) -> Header:
        cards = (
            Card("Last sync", console.moment(connection.last_sync_at)),
            Card("Next try", console.moment(connection.next_attempt_at)),
            Card("Consent ends", console.moment(connection.reauth_due_at)),
            Card("Failures in a row", console.number(connection.failure_count)),
        )
        return Header(console.name(connection.name), connection_state(connection), next_step(connection), cards)

    @admin.display(description="State", ordering="status")
    def shown_state(self, connection: Connection) -> Any:
        return console.badge(connection_state(connection), title=next_step(connection))

    @admin.display(description="Provider", ordering="provider")
    def shown_provider(self, connection: Connection) -> Any:
        """With its environment where that is not the usual one."""
        provider = connection.get_provider_display()
        if connection.environment == Environment.PRODUCTION:
            return provider
        return console.joined([provider, console.badge(state(ENVIRONMENT, connection.environment))], between=" ")

    @admin.display(description="Environment", ordering="environment")
    def shown_environment(self, connection: Connection) -> Any:
        return console.badge(state(ENVIRONMENT, connection.environment))

    @admin.display(description="Bank login")
    def bank_login(self, connection: Connection) -> Any:
        item = getattr(connection, "plaid_item", None) if connection.provider == Provider.PLAID else None
        return console.link(console.to_page(item), item) if item else console.DASH


@admin.register(Credential)
class CredentialAdmin(ReadOnlyAdmin):
    """That a secret is stored, since when and under which key. Never the secret, encrypted or not."""

    id_lookups = ("pk", "connection_id")
    list_display = (
        "name",
        "connection_name",
        "fingerprint_code",
        "shown_last_four",
        "key_id",
        "expires_at_ago",
        "updated_at_ago",
    )
    list_select_related = ("connection",)
    list_filter = (("connection", AutocompleteSelectFilter),)
    search_fields = ("name", "fingerprint__exact", "key_id__exact", "connection__name")
    fieldsets = (
        (
            None,
            {
                "fields": (
                    "name",
                    "connection",
                    "workspace",
                    "fingerprint_whole",
                    "shown_last_four",
                    "key_id",
                    "expires_at_exact",
                    "created_at_exact",
                    "updated_at_exact",
                )
            },
        ),
    )

    def get_queryset(self, request: HttpRequest) -> QuerySet:
        return super().get_queryset(request).select_related("connection", "workspace").defer("ciphertext")

    @admin.display(description="Ends in")
    def shown_last_four(self, credential: Credential) -> Any:
        return console.code(f"…{credential.last_four}") if credential.last_four else console.DASH
