"""Connections and their credentials."""

from typing import Any, cast
from uuid import UUID

from django.conf import settings
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db.models import Case, IntegerField, QuerySet, Value, When
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import path, reverse

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
from config.states import CONNECTION, ENVIRONMENT, VERIFICATION, state
from connections.admin import access
from connections.admin.settings import ChangeForm, DraftForm
from connections.admin.verification import shown_checks
from connections.errors import Misconfigured
from connections.models import Connection, Credential, Membership, User, Verification
from connections.models.connection import Environment, Errand, Provider, Status
from connections.providers import PROVIDERS, provider
from connections.providers.supabase.ddl import contract_of
from connections.selectors import oauth_of
from connections.services.access import access_of, callback_url
from connections.services.activating import connection_activate
from connections.services.configuring import connection_change
from connections.services.disconnecting import by_person, connection_disconnect
from connections.services.errands import disconnect_settle
from connections.services.lifecycle import TRANSITIONS, Event
from connections.services.pausing import connection_pause, connection_resume
from connections.services.token_rotation import access_token_rotate
from connections.services.verifying import verification_request
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


def _verify(connection: Connection, actor: User, answer: str) -> str:
    verification_request(connection_id=connection.pk, actor=actor)
    return f"{connection.get_provider_display()} is being asked whether the settings of {connection} work."


def _activate(connection: Connection, actor: User, answer: str) -> str:
    connection_activate(connection_id=connection.pk, actor=actor)
    return f"{connection} is active."


def _settle(connection: Connection, actor: User, answer: str) -> str:
    disconnect_settle(connection_id=connection.pk, reason=answer, actor=actor)
    return f"{connection} is disconnected, as you say."


def _is_configurable(connection: Connection) -> bool:
    return connection.provider != Provider.PLAID and not connection.is_closed


def settings_page(connection: Connection) -> str:
    return reverse("admin:connections_connection_settings", args=[connection.pk])


def _has_contract(connection: Connection) -> bool:
    return connection.provider == Provider.SUPABASE and not connection.is_closed


def contract_page(connection: Connection) -> str:
    return reverse("admin:connections_connection_contract", args=[connection.pk])


def _disconnect(connection: Connection, actor: User, answer: str) -> str:
    connection_disconnect(connection_id=connection.pk, reason=by_person("Disconnected", actor), actor=actor)
    return f"{connection} is being disconnected. Its history stays."


def _disconnect_confirmed(connection: Connection) -> Confirmation:
    accounts = connection.accounts.filter(status="active").count()
    noun = "account" if accounts == 1 else "accounts"
    if connection.provider != Provider.PLAID:
        return Confirmation(
            question=f"Disconnect {connection.name}?",
            goes=(
                f"The access of {connection.owner} at {connection.get_provider_display()}, and the secrets that are kept here.",
                "What was set up at the provider for it, such as webhooks.",
            ),
            stays=("Everything that was read of it and written to it.",),
            type_this=connection.name,
        )
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


def _latest_checks(connection: Connection) -> dict[str, Any]:
    """What the latest verification says, for the page."""
    latest = Verification.objects.filter(connection=connection).order_by("-pk").first()
    if latest is None:
        return {}
    is_old = latest.config_version != connection.config_version
    said = f"{state(VERIFICATION, latest.status).word}, asked {console.ago(latest.created_at)}"
    caption = f"Test of the settings: {said}{', about older settings' if is_old else ''}."
    is_running = latest.status == Verification.Status.RUNNING
    return {"checks": shown_checks(latest), "caption": caption, "is_running": is_running}


def _refusal(key: str) -> str:
    """Why it cannot be added here; "" where it can."""
    return "Its owner links a bank, at the bank itself." if key == Provider.PLAID else provider(key).unavailable()


def _choice_page() -> dict[str, Any]:
    choices = []
    for key in PROVIDERS:
        asks = ", ".join(field.label for field in provider(key).fields) or "Its company is chosen at the provider."
        choice = {"label": provider(key).label, "refusal": _refusal(key), "url": f"?provider={key}", "asks": asks}
        choices.append(choice)
    return {"heading": "Add a connection", "sentence": "To what?", "choices": choices}


def _usual(request: HttpRequest) -> dict[str, Any]:
    """Whose connection it usually is: one of the person who adds it."""
    found = Membership.objects.filter(user=cast(User, request.user)).first()
    kind = Environment.SANDBOX if settings.DEMO else Environment.PRODUCTION
    return {"owner": request.user.get_username(), "environment": kind, "workspace": found and found.workspace_id}


def _end_of_access(connection: Connection) -> str:
    return "Consent ends" if connection.provider == Provider.PLAID else "Access ends"


def _way_in(connection: Connection) -> str:
    """What a draft without access needs, if this is one."""
    if not access.lacks_access(connection):
        return ""
    label = connection.get_provider_display()
    by_hand = ", or enter its keys under Change settings" if access.has_fields(connection) else ""
    return f"A draft without access. Sign in at {label}{by_hand}."


ACCESS = "Access by signing in at the provider"


class ConnectionAdmin(ConsoleAdmin):
    """Where each connection stands. Its name can be edited; its status moves only by verbs.

    Registered by `sync.admin`, which adds the verb to refresh: this app knows nothing of syncs.
    """

    editable = ("name",)
    id_lookups = ("pk", "workspace_id", "owner_id")
    chip_field, chip_words, chip_counts = "status", CONNECTION, True
    verbs = {
        "activate": Verb(
            "Activate", "bolt", _activate, lambda connection: connection.status == Status.VERIFIED, is_primary=True
        ),
        "verify": Verb("Test connection", "network_check", _verify, lambda connection: not connection.is_closed),
        "connect": Verb(
            "Sign in at the provider", "login", _verify, access.lacks_access, is_primary=True, sends_to=access.sign_in
        ),
        "reconnect": Verb(
            "Reconnect", "key", _verify, access.needs_new_secrets, is_primary=True, leads_to=settings_page
        ),
        "reauthorize": Verb(
            "Reconnect", "key", _verify, access.is_let_in_no_more, is_primary=True, sends_to=access.sign_in
        ),
        "authorize": Verb(
            "Sign in at the provider", "login", _verify, access.may_sign_in_anew, sends_to=access.sign_in
        ),
        "settings": Verb("Change settings", "tune", _verify, _is_configurable, leads_to=settings_page),
        "contract": Verb("Download its SQL", "download", _verify, _has_contract, leads_to=contract_page),
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
        "settle": Verb(
            "End it without the provider",
            "task_alt",
            _settle,
            lambda connection: connection.errand == Errand.DISCONNECTING and connection.errand_attempts > 0,
            asks="How do you know that nothing is left there?",
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
                    "failing_since_exact",
                    "wait_reason",
                    "next_attempt_at_exact",
                )
            },
        ),
        (
            ACCESS,
            {"fields": ("shown_redirect_uri", "shown_account", "shown_authorized", "shown_ends", "shown_renewals")},
        ),
        (
            "Last error",
            {"fields": ("error_code_whole", "error_detail", "error_correlation_id_whole", "error_at_exact")},
        ),
        (
            "Configuration",
            {
                "fields": (
                    "config_version",
                    "config_json",
                    "shown_good",
                    "shown_facts",
                    "shown_errand",
                    "created_at_exact",
                    "updated_at_exact",
                )
            },
        ),
    )

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        """All that is edited here is the name: as the API changes it."""
        if form.changed_data:
            connection_change(connection_id=obj.pk, actor=cast(User, request.user), name=obj.name)

    def get_queryset(self, request: HttpRequest) -> QuerySet:
        return super().get_queryset(request).defer("plaid_item__institution_logo")

    def get_ordering(self, request: HttpRequest) -> tuple[Any, ...]:
        """What needs a person first."""
        ranks = [When(status=status, then=Value(rank)) for rank, status in enumerate(_URGENCY)]
        return (Case(*ranks, default=Value(len(ranks)), output_field=IntegerField()).asc(), "-pk")

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> Any:
        """Without the access where it is not an account's at the provider, and without the bank of what is none."""
        found = super().get_fieldsets(request, obj)
        if obj is None or obj.provider == Provider.PLAID:
            return found if obj is None else [part for part in found if part[0] != ACCESS]
        shown = [part for part in found if part[0] != ACCESS or provider(obj.provider).account_fact]
        return [
            (title, {**part, "fields": tuple(f for f in part["fields"] if f != "bank_login")}) for title, part in shown
        ]

    def header(self, connection: Connection) -> Header:
        cards = (
            Card("Last sync", console.moment(connection.last_sync_at)),
            Card("Next try", console.moment(connection.next_attempt_at)),
            Card(_end_of_access(connection), console.moment(connection.reauth_due_at)),
            Card("Failures in a row", console.number(connection.failure_count)),
        )
        shown = connection_state(connection)
        found = _latest_checks(connection)
        sentence = _way_in(connection) or next_step(connection)
        return Header(console.name(connection.name), shown, sentence, cards, "admin/checks.html", found)

    # --- settings: forms made of what the provider declares ---
    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return self.may_act(request)

    def get_urls(self) -> list:
        view = self.admin_site.admin_view(self.settings_view)
        return [
            path("<uuid:connection_id>/settings/", view, name="connections_connection_settings"),
            path(
                "<uuid:connection_id>/contract.sql",
                self.admin_site.admin_view(self.contract_view),
                name="connections_connection_contract",
            ),
            *super().get_urls(),
        ]

    def add_view(self, request: HttpRequest, form_url: str = "", extra_context: Any = None) -> HttpResponse:
        """First the provider, then its fields."""
        if not self.has_add_permission(request):
            raise PermissionDenied
        key = request.GET.get("provider", "")
        if key not in PROVIDERS or _refusal(key):
            return self._settings_page(request, _choice_page())
        declared = provider(key)
        form = DraftForm(declared, request.POST or None, initial=_usual(request))
        if request.method == "POST" and form.is_valid() and (made := form.save()):
            self.log_addition(request, made, "Added.")
            then = "Give it access" if access.lacks_access(made) else "Test it"
            self.message_user(request, f"{made} is a draft. {then}, then activate it.", messages.SUCCESS)
            return HttpResponseRedirect(console.to_page(made))
        words = {
            "heading": f"Add {declared.label}",
            "sentence": "It is a draft until it has been tested and activated.",
            "button": "Add as a draft",
            "back": console.to_list("connections.connection"),
            "leave": "Add nothing",
        }
        return self._settings_page(request, words | {"form": form})

    def settings_view(self, request: HttpRequest, connection_id: UUID) -> HttpResponse:
        """The provider's fields as they are filled in; secrets can be replaced, never read."""
        connection = self.get_object(request, str(connection_id))
        if not self.may_act(request):
            raise PermissionDenied
        if connection is None or not _is_configurable(connection):
            raise Http404
        form = ChangeForm(provider(connection.provider), connection, request.POST or None)
        if request.method == "POST" and form.is_valid() and form.save(cast(User, request.user)):
            self.log_change(request, connection, "Changed settings.")
            self.message_user(request, f"The settings of {form.cleaned_data['name']} are changed.", messages.SUCCESS)
            return HttpResponseRedirect(console.to_page(connection))
        words = {
            "heading": f"Settings of {connection.name}",
            "sentence": "Changed settings, secrets or environment make it a draft: nothing is synced until it is tested and activated again.",
            "button": "Change settings",
            "back": console.to_page(connection),
        }
        return self._settings_page(request, words | {"form": form})

    def contract_view(self, request: HttpRequest, connection_id: UUID) -> HttpResponse:
        """The file that a store's owner runs: its tables, keys, grants. No secret is in it."""
        connection = self.get_object(request, str(connection_id))
        if not self.may_act(request):
            raise PermissionDenied
        if connection is None or not _has_contract(connection):
            raise Http404
        try:
            sql = contract_of(access_of(connection))
        except (Misconfigured, ValueError) as error:
            self.message_user(request, str(getattr(error, "detail", error)), messages.ERROR)
            return HttpResponseRedirect(console.to_page(connection))
        named = {"Content-Disposition": f'attachment; filename="causeway-{connection.pk}.sql"'}
        return HttpResponse(sql, content_type="application/sql; charset=utf-8", headers=named)

    def _settings_page(self, request: HttpRequest, words: dict[str, Any]) -> HttpResponse:
        shared = {**self.admin_site.each_context(request), "opts": self.opts, "title": words["heading"]}
        status = 400 if "form" in words and words["form"].errors else 200
        return TemplateResponse(request, "admin/settings.html", shared | words, status=status)

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

    @admin.display(description="Last activated")
    def shown_good(self, connection: Connection) -> Any:
        return console.pretty_json(connection.good)

    @admin.display(description="To do at the provider")
    def shown_errand(self, connection: Connection) -> Any:
        if not connection.errand:
            return console.DASH
        parts = [connection.get_errand_display(), console.moment(connection.errand_at)]
        return console.joined([*parts, connection.errand_error] if connection.errand_error else parts)

    @admin.display(description="Remembered by the provider's code")
    def shown_facts(self, connection: Connection) -> Any:
        return console.pretty_json(connection.facts)

    @admin.display(description="Redirect URI, to be registered there")
    def shown_redirect_uri(self, connection: Connection) -> Any:
        return console.code(callback_url(connection, "oauth"), is_whole=True)

    @admin.display(description="Account there")
    def shown_account(self, connection: Connection) -> Any:
        return console.code(connection.facts.get(provider(connection.provider).account_fact), is_whole=True)

    @admin.display(description="Given")
    def shown_authorized(self, connection: Connection) -> Any:
        grant = getattr(connection, "oauth_grant", None)
        if grant is None:
            return console.DASH
        by = f"by {grant.authorized_by}" if grant.authorized_by else ""
        return console.joined([console.moment(grant.authorized_at, is_exact=True), by], between=" ")

    @admin.display(description="Ends")
    def shown_ends(self, connection: Connection) -> Any:
        """Three ends: of the token that is used, of the one that renews it, and of all of it."""
        if (found := oauth_of(connection)) is None or found.authorized_at is None:
            return console.DASH
        ends = (
            ("access token", found.access_expires_at),
            ("unless renewed", found.refresh_expires_at),
            ("for good", found.hard_expires_at),
        )
        return console.joined([console.joined([f"{name}:", console.moment(at)], between=" ") for name, at in ends])

    @admin.display(description="Renewals")
    def shown_renewals(self, connection: Connection) -> Any:
        grant = getattr(connection, "oauth_grant", None)
        if grant is None:
            return console.DASH
        parts = [f"{grant.refreshes:,}, the last", console.moment(grant.refreshed_at)]
        if grant.lost_answers:
            parts += [f"; {grant.lost_answers:,} answers lost, the last", console.moment(grant.lost_at)]
        return console.joined([*parts, grant.error_detail], between=" ")

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
