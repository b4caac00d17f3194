"""Sign-ins at providers, and what became of them."""

from typing import Any

from django.contrib import admin
from django.http import HttpRequest

from config import console
from config.admin import ChoicesDropdownFilter, Header, ReadOnlyAdmin, SinceFilter
from config.states import SIGN_IN, state
from connections.models import OAuthState


@admin.register(OAuthState)
class OAuthStateAdmin(ReadOnlyAdmin):
    """One of unknown outcome: the provider may have given an access that never came here. Signing in again is safe."""

    id_lookups = ("pk", "connection_id", "user_id")
    chip_field, chip_words = "status", SIGN_IN
    list_display = ("created_at_ago", "shown_state", "connection_name", "user_name", "provider", "error_code")
    list_select_related = ("user", "connection")
    list_filter = (("status", ChoicesDropdownFilter), ("provider", ChoicesDropdownFilter), SinceFilter)
    search_fields = ("user__username", "connection__name", "correlation_id__exact")
    fieldsets = (
        (None, {"fields": ("connection", "user", "workspace", "provider", "environment", "redirect_uri_whole")}),
        (
            "Outcome",
            {
                "fields": (
                    "error_code_whole",
                    "correlation_id_whole",
                    "created_at_exact",
                    "expires_at_exact",
                    "used_at_exact",
                    "ended_at_exact",
                )
            },
        ),
    )

    def get_queryset(self, request: HttpRequest) -> Any:
        return super().get_queryset(request).select_related("user", "connection", "workspace")

    def header(self, sign_in: OAuthState) -> Header:
        is_unknown = sign_in.status == OAuthState.Status.UNKNOWN
        sentence = (
            "The provider's answer was lost: the person has to sign in again, which is safe." if is_unknown else ""
        )
        return Header(console.name(sign_in.connection.name), state(SIGN_IN, sign_in.status), sentence)

    @admin.display(description="State")
    def shown_state(self, sign_in: OAuthState) -> Any:
        return console.badge(state(SIGN_IN, sign_in.status))
