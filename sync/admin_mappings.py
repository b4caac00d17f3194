"""Mappings in the console: which rules count, what they were before, and who changed them when."""

from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest

from config import console
from config.admin import AutocompleteSelectFilter, Card, ChoicesDropdownFilter, Header, ReadOnlyAdmin, SinceFilter
from sync.models import Mapping, MappingVersion


@admin.register(Mapping)
class MappingAdmin(ReadOnlyAdmin):
    """What becomes of which records. Rules are made, tried and changed over the API; here they are read."""

    id_lookups = ("pk", "flow_id")
    list_display = ("shown_name", "entity", "target", "flow_name", "version", "updated_at_ago")
    list_display_links = ("shown_name",)
    list_select_related = ("flow",)
    list_filter = (("target", ChoicesDropdownFilter), ("flow", AutocompleteSelectFilter), SinceFilter)
    search_fields = ("name", "entity__exact", "flow__name")
    fieldsets = (
        (None, {"fields": ("name", "entity", "target", "flow", "workspace", "version", "created_by", "id_whole")}),
        ("Rules", {"fields": ("shown_rules",)}),
        ("Times", {"fields": ("created_at_exact", "updated_at_exact", "removed_at_exact")}),
    )

    def get_queryset(self, request: HttpRequest) -> QuerySet:
        return super().get_queryset(request).select_related("flow", "workspace", "created_by")

    def header(self, mapping: Mapping) -> Header:
        cards = (
            Card("Records", mapping.entity),
            Card("To", mapping.get_target_display()),
            Card("Version", str(mapping.version)),
            Card(
                "See its",
                console.link(console.to_list("sync.mappingversion", mapping__id__exact=mapping.pk), "Versions"),
            ),
        )
        gone = "It was removed: nothing follows it any more." if mapping.removed_at else ""
        return Header(console.name(mapping), None, gone, cards)

    @admin.display(description="Name")
    def shown_name(self, mapping: Mapping) -> Any:
        return console.name(mapping)

    @admin.display(description="The version that counts")
    def shown_rules(self, mapping: Mapping) -> Any:
        version = mapping.versions.filter(number=mapping.version).first()
        return console.pretty_json(version.rules) if version else console.DASH


@admin.register(MappingVersion)
class MappingVersionAdmin(ReadOnlyAdmin):
    """What the rules were, version by version. Nothing of it is ever changed."""

    id_lookups = ("pk", "mapping_id")
    list_display = ("mapping_name", "number", "restored_from", "created_by_name", "created_at_ago")
    list_select_related = ("mapping", "created_by")
    list_filter = (("mapping", AutocompleteSelectFilter), SinceFilter)
    search_fields = ("mapping__name",)
    fieldsets = (
        (None, {"fields": ("mapping", "number", "restored_from", "workspace", "created_by", "id_whole")}),
        ("Rules", {"fields": ("rules_json",)}),
        ("Times", {"fields": ("created_at_exact",)}),
    )

    def get_queryset(self, request: HttpRequest) -> QuerySet:
        return super().get_queryset(request).select_related("mapping", "workspace", "created_by")

    def header(self, version: MappingVersion) -> Header:
        return Header(f"Version {version.number} of {version.mapping}")
