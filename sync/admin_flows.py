"""Flows in the console: what they move, how far they have come, what is linked, and what is on its way."""

from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest

from config import console
from config.admin import (
    AutocompleteSelectFilter,
    Card,
    ChoicesDropdownFilter,
    Header,
    ReadOnlyAdmin,
    SinceFilter,
    Verb,
)
from config.states import FLOW, INTENT, RECORD_LINK, state
from connections.models import User
from sync.flows.gaps import gaps_of
from sync.models import Flow, FlowStatus, RecordLink, Watermark, WriteIntent
from sync.services.flows import flow_activate, flow_pause


def _activate(flow: Flow, actor: User, answer: str) -> str:
    flow_activate(flow_id=flow.pk, actor=actor)
    return f"{flow} is active."


def _pause(flow: Flow, actor: User, answer: str) -> str:
    flow_pause(flow_id=flow.pk, actor=actor)
    return f"{flow} is paused: its runs wait where they are."


@admin.register(Flow)
class FlowAdmin(ReadOnlyAdmin):
    """What is kept up where. It is made and changed over the API; here it is let run and stopped."""

    id_lookups = ("pk", "source_id", "target_id")
    chip_field, chip_words = "status", FLOW
    verbs = {
        "activate": Verb(
            "Activate",
            "play_arrow",
            _activate,
            lambda flow: flow.status in (FlowStatus.DRAFT, FlowStatus.PAUSED),
            is_primary=True,
        ),
        "pause": Verb("Pause", "pause", _pause, lambda flow: flow.status == FlowStatus.ACTIVE),
    }
    list_display = ("shown_name", "shown_state", "source_name", "target_name", "shown_entities", "updated_at_ago")
    list_display_links = ("shown_name",)
    list_select_related = ("source", "target")
    list_filter = (("status", ChoicesDropdownFilter), SinceFilter)
    search_fields = ("name", "source__name", "target__name")
    fieldsets = (
        (None, {"fields": ("name", "source", "target", "workspace", "status_reason", "created_by", "id_whole")}),
        ("What it takes", {"fields": ("shown_entities", "shown_statuses", "start_date_day")}),
        ("What becomes of it", {"fields": ("conflict_policy", "options_json", "version")}),
        ("Times", {"fields": ("created_at_exact", "updated_at_exact")}),
    )

    def get_queryset(self, request: HttpRequest) -> QuerySet:
        return super().get_queryset(request).select_related("source", "target", "workspace", "created_by")

    def header(self, flow: Flow) -> Header:
        gaps = gaps_of(flow) if flow.status != FlowStatus.REMOVED else []
        sentence = " ".join(f"{gap.detail} {gap.remediation}" for gap in gaps)
        links = [
            console.link(console.to_list(model, flow__id__exact=flow.pk), text)
            for model, text in (
                ("sync.syncrun", "Runs"),
                ("sync.syncfailure", "Failed records"),
                ("sync.watermark", "Watermarks"),
                ("sync.writeintent", "Writes"),
            )
        ]
        cards = (
            Card("From", console.name(flow.source)),
            Card("To", console.name(flow.target)),
            Card("Records", self.shown_entities(flow)),
            Card("See its", console.joined(links)),
        )
        return Header(console.name(flow), state(FLOW, flow.status), sentence or flow.status_reason, cards)

    @admin.display(description="Name")
    def shown_name(self, flow: Flow) -> Any:
        return console.name(flow)

    @admin.display(description="State")
    def shown_state(self, flow: Flow) -> Any:
        return console.badge(state(FLOW, flow.status), title=flow.status_reason)

    @admin.display(description="Entities")
    def shown_entities(self, flow: Flow) -> str:
        return ", ".join(flow.entities) or console.DASH

    @admin.display(description="Statuses of orders")
    def shown_statuses(self, flow: Flow) -> str:
        return ", ".join(flow.statuses) or "all"


@admin.register(Watermark)
class WatermarkAdmin(ReadOnlyAdmin):
    """How far each flow has read."""

    id_lookups = ("pk", "flow_id")
    list_display = ("entity", "flow_name", "synced_at_ago", "next_sync_at_ago", "next_reconcile_at_ago", "news_seq")
    list_select_related = ("flow",)
    list_filter = (("flow", AutocompleteSelectFilter),)
    search_fields = ("flow__name", "entity__exact")
    fieldsets = (
        (None, {"fields": ("flow", "entity", "workspace", "news_seq", "id_whole")}),
        ("Position", {"fields": ("position_json",)}),
        ("Times", {"fields": ("synced_at_exact", "next_sync_at_exact", "next_reconcile_at_exact")}),
    )

    def get_queryset(self, request: HttpRequest) -> QuerySet:
        return super().get_queryset(request).select_related("flow", "workspace")

    def header(self, watermark: Watermark) -> Header:
        return Header(f"{watermark.entity} of {watermark.flow}")


@admin.register(RecordLink)
class RecordLinkAdmin(ReadOnlyAdmin):
    """Which record of a source is which of a target. Millions of rows: newest first, or by an id."""

    id_lookups = ("pk", "source_id", "target_id")
    chip_field, chip_words = "state", RECORD_LINK
    list_display = (
        "external_id_code",
        "entity",
        "shown_state",
        "target_external_id_code",
        "source_name",
        "target_name",
    )
    list_select_related = ("source", "target")
    list_filter = (
        ("state", ChoicesDropdownFilter),
        ("source", AutocompleteSelectFilter),
        ("target", AutocompleteSelectFilter),
        SinceFilter,
    )
    search_fields = ("external_id__exact", "target_external_id__exact")
    fieldsets = (
        (None, {"fields": ("entity", "external_id_whole", "source", "workspace", "id_whole")}),
        ("At the target", {"fields": ("target", "target_external_id_whole", "target_version_whole")}),
        (
            "What was written last",
            {"fields": ("content_hash_whole", "source_modified_at_exact", "created_at_exact", "updated_at_exact")},
        ),
    )

    def get_queryset(self, request: HttpRequest) -> QuerySet:
        return super().get_queryset(request).select_related("source", "target", "workspace")

    def header(self, link: RecordLink) -> Header:
        return Header(console.name(link), state(RECORD_LINK, link.state))

    @admin.display(description="State")
    def shown_state(self, link: RecordLink) -> Any:
        return console.badge(state(RECORD_LINK, link.state))


@admin.register(WriteIntent)
class WriteIntentAdmin(ReadOnlyAdmin):
    """What was to be written together, under which key, and whether it is known what became of it."""

    id_lookups = ("pk", "run_id", "flow_id")
    list_display = ("created_at_ago", "flow_name", "entity", "member_count", "shown_state", "attempts", "sent_at_ago")
    list_select_related = ("flow",)
    list_filter = (("flow", AutocompleteSelectFilter), SinceFilter)
    search_fields = ("idempotency_key__exact", "body_hash__exact")
    fieldsets = (
        (None, {"fields": ("flow", "run", "entity", "number", "member_count", "workspace", "id_whole")}),
        ("Sending", {"fields": ("idempotency_key_whole", "body_hash_whole", "attempts")}),
        ("Times", {"fields": ("created_at_exact", "sent_at_exact", "confirmed_at_exact")}),
    )

    def get_queryset(self, request: HttpRequest) -> QuerySet:
        return super().get_queryset(request).select_related("flow", "run", "workspace").defer("members")

    def header(self, intent: WriteIntent) -> Header:
        return Header(console.name(intent), state(INTENT, _intent_state(intent)))

    @admin.display(description="State")
    def shown_state(self, intent: WriteIntent) -> Any:
        return console.badge(state(INTENT, _intent_state(intent)))


def _intent_state(intent: WriteIntent) -> str:
    if intent.confirmed_at:
        return "confirmed"
    return "sent" if intent.sent_at else "waiting"
