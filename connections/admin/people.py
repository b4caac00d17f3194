"""Workspaces, people, their roles and their tokens."""

from typing import Any

from django.contrib import admin
from django.contrib.auth.admin import GroupAdmin as DjangoGroupAdmin
from django.contrib.auth.admin import UserAdmin as DjangoUserAdmin
from django.contrib.auth.models import Group
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils import timezone
from unfold.forms import AdminPasswordChangeForm, UserChangeForm, UserCreationForm

from config import console
from config.admin import (
    AutocompleteSelectFilter,
    ChoicesDropdownFilter,
    ConsoleAdmin,
    Header,
    ReadOnlyAdmin,
    SuperuserAdmin,
    Verb,
    YesNoFilter,
)
from config.states import TOKEN
from connections.models import AccessToken, Membership, User, Workspace
from connections.services.tokens import token_revoke

admin.site.unregister(Group)


@admin.register(Workspace)
class WorkspaceAdmin(ConsoleAdmin):
    """A tenant. Its settings follow the permission to change workspaces; it is made on the command line and never deleted."""

    editable = ("name", "timezone", "sandbox_mode", "webhooks_enabled", "limits")
    list_display = ("slug", "name_name", "timezone", "sandbox_mode", "webhooks_enabled", "created_at_ago")
    list_filter = (("sandbox_mode", YesNoFilter), ("webhooks_enabled", YesNoFilter))
    search_fields = ("slug", "name")
    fieldsets = (
        (None, {"fields": ("slug", "name", "timezone", "id_whole", "created_at_exact")}),
        ("Safety", {"fields": ("sandbox_mode", "webhooks_enabled", "limits")}),
    )


@admin.register(Membership)
class MembershipAdmin(SuperuserAdmin):
    """Roles open other people's data, so superusers alone give and take them here."""

    editable = ("role",)
    list_display = ("user_name", "role", "workspace_name", "created_at_ago")
    list_select_related = ("user", "workspace")
    list_filter = (("role", ChoicesDropdownFilter), ("workspace", AutocompleteSelectFilter))
    search_fields = ("user__username", "user__email", "workspace__slug", "workspace__name")
    autocomplete_fields = ("user", "workspace")
    id_lookups = ("pk", "user_id", "workspace_id")
    fieldsets = ((None, {"fields": ("user", "workspace", "role", "created_at_exact")}),)
    add_fieldsets = ((None, {"fields": ("user", "workspace", "role")}),)

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> tuple[str, ...]:
        return super().get_readonly_fields(request, obj) if obj else ()

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return bool(request.user.is_superuser)


@admin.register(User)
class UserAdmin(SuperuserAdmin, DjangoUserAdmin):
    """People. Superusers alone edit them: whoever edits users could make themselves one. They are switched off, not deleted."""

    form, add_form, change_password_form = UserChangeForm, UserCreationForm, AdminPasswordChangeForm
    add_fieldsets = DjangoUserAdmin.add_fieldsets  # unfold's empty one would come first
    list_display = (
        "username",
        "email",
        "first_name",
        "last_name",
        "is_active",
        "is_staff",
        "is_superuser",
        "last_login_ago",
    )
    list_filter = (
        ("is_active", YesNoFilter),
        ("is_staff", YesNoFilter),
        ("is_superuser", YesNoFilter),
    )
    search_fields = ("username", "email", "first_name", "last_name")
    ordering = ("username",)
    fieldsets = (
        (None, {"fields": ("username", "password")}),
        ("Person", {"fields": ("first_name", "last_name", "email", "id_whole")}),
        ("May", {"fields": ("is_active", "is_staff", "is_superuser", "groups", "user_permissions")}),
        ("Times", {"fields": ("last_login_exact", "date_joined_exact")}),
    )
    editable = (
        "username",
        "password",
        "first_name",
        "last_name",
        "email",
        "is_active",
        "is_staff",
        "is_superuser",
        "groups",
        "user_permissions",
    )

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> tuple[str, ...]:
        return super().get_readonly_fields(request, obj) if obj else ()

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> Any:
        """The digest of a password, and how it was made, are no news for those who cannot set one."""
        fieldsets = super().get_fieldsets(request, obj)
        if obj is None or request.user.is_superuser:
            return fieldsets
        return ((None, {"fields": ("username",)}), *fieldsets[1:])

    def lookup_allowed(self, lookup: str, value: Any, request: HttpRequest | None = None) -> bool:
        return not lookup.startswith("password") and super().lookup_allowed(lookup, value, request)  # type: ignore[arg-type]


@admin.register(Group)
class GroupAdmin(SuperuserAdmin, DjangoGroupAdmin):
    """Bundles of permissions; for superusers to edit, as they decide what everybody else may do."""

    editable = ("name", "permissions")
    search_fields = ("name",)
    ordering = ("name",)
    fieldsets = ((None, {"fields": ("name", "permissions")}),)


def _revoke(token: AccessToken, actor: User, answer: str) -> str:
    token_revoke(token=token, actor=actor)
    return f"The token {token} of {token.user} is revoked; requests with it are refused from now on."


@admin.register(AccessToken)
class AccessTokenAdmin(ReadOnlyAdmin):
    """Tokens by their prefix. They are made through the API, shown once there, and can be revoked here."""

    id_lookups = ("pk", "user_id")
    verbs = {"revoke": Verb("Revoke", "block", _revoke, lambda token: token.is_valid)}
    list_display = (
        "prefix_code",
        "shown_state",
        "user_name",
        "name",
        "scope",
        "last_used_at_ago",
        "expires_at_ago",
        "created_at_ago",
    )
    list_select_related = ("user",)
    list_filter = (("user", AutocompleteSelectFilter), ("scope", ChoicesDropdownFilter))
    search_fields = ("prefix__exact", "name", "user__username")
    fieldsets = (
        (
            None,
            {
                "fields": (
                    "prefix_whole",
                    "name",
                    "user",
                    "scope",
                    "created_at_exact",
                    "last_used_at_exact",
                    "expires_at_exact",
                    "revoked_at_exact",
                )
            },
        ),
    )

    def get_queryset(self, request: HttpRequest) -> QuerySet:
        return super().get_queryset(request).defer("digest")

    def header(self, token: AccessToken) -> Header:
        return Header(console.code(token), _token_state(token), f"{token.get_scope_display()} access for {token.user}.")

    @admin.display(description="State")
    def shown_state(self, token: AccessToken) -> Any:
        return console.badge(_token_state(token))


def _token_state(token: AccessToken) -> Any:
    if token.revoked_at:
        return TOKEN["revoked"]
    return TOKEN["valid"] if token.expires_at > timezone.now() else TOKEN["expired"]
