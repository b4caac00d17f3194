"""Providers that let nothing of ours through."""

from typing import Any

from django.contrib import admin

from config import console
from config.admin import Card, Header, ReadOnlyAdmin, Verb
from config.states import State, Tone
from connections.errors import CATALOGUE
from connections.models import ProviderPause, User
from connections.services.provider_pauses import provider_probe_now

AT_REST = State("At rest", Tone.RED, "pause_circle", needs_person=True)


def _probe(pause: ProviderPause, actor: User, answer: str) -> str:
    provider_probe_now(pause_id=pause.pk)
    return f"{pause} is asked with the next tick of the clock."


@admin.register(ProviderPause)
class ProviderPauseAdmin(ReadOnlyAdmin):
    """Its work rests until a probe gets through. The one verb is to ask now, after something was mended."""

    list_display = ("since_ago", "provider", "environment", "shown_state", "code", "probes", "next_probe_at_ago")
    list_display_links = ("since_ago",)
    search_fields = ("provider__exact", "correlation_id__exact")
    verbs = {"probe": Verb("Ask now", "network_check", _probe, lambda pause: True, is_primary=True)}
    fieldsets = (
        (None, {"fields": ("provider", "environment", "shown_state", "code", "operator_detail")}),
        ("When", {"fields": ("since_exact", "probes", "next_probe_at_exact", "correlation_id_whole")}),
    )

    def header(self, pause: ProviderPause) -> Header:
        known = CATALOGUE.get(pause.code, CATALOGUE["internal_error"])
        cards = (Card("Since", console.moment(pause.since)), Card("Asked again", console.moment(pause.next_probe_at)))
        return Header(f"{pause.provider.capitalize()}, {pause.environment}", AT_REST, known.remediation, cards)

    @admin.display(description="State")
    def shown_state(self, pause: ProviderPause) -> Any:
        return console.badge(AT_REST)
