"""Forms made of what a provider declares: to add a connection, and to change one. They decide nothing: the services do."""

from typing import Any

from django import forms
from django.utils.html import format_html

from config import console
from connections.errors import RequestError
from connections.models import Connection, Membership, Role, User, Workspace
from connections.models.connection import Environment
from connections.providers.base import Field, Provider
from connections.services.configuring import connection_change, connection_draft

LATER = "Leave it empty to be given it by signing in at the provider afterwards."


class _SecretText(forms.Textarea):
    """What was typed is not sent back, not even with an error beside it."""

    def format_value(self, value: Any) -> str:
        return ""


def _widget(field: Field) -> forms.Widget:
    attrs: dict[str, Any] = {"autocomplete": "new-password" if field.is_secret else "off", "spellcheck": "false"}
    if field.only_if:
        attrs |= {"data-only-if": field.only_if[0], "data-only-values": " ".join(field.only_if[1])}
    if field.kind == "choice":
        return forms.Select(attrs=attrs, choices=field.choices)
    if field.kind == "multiline":
        return (_SecretText if field.is_secret else forms.Textarea)(attrs=attrs | {"rows": 6})
    if field.is_secret:
        return forms.PasswordInput(attrs=attrs)
    return forms.TextInput(attrs=attrs | ({"inputmode": "url"} if field.kind == "url" else {}))


def path_of(field: Field) -> str:
    """As the API names it, so that a refusal finds its place: config.store_url."""
    return f"{'credentials' if field.is_secret else 'config'}.{field.name}"


class SettingsForm(forms.Form):
    """Name, environment, and the provider's fields. What is required and what is valid is the services' to say."""

    name = forms.CharField(max_length=200, required=False, help_text="What people call it. Empty: the provider's name.")
    environment = forms.ChoiceField(choices=Environment.choices, help_text="Sandbox for the provider's test accounts.")

    def __init__(self, provider: Provider, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.provider = provider
        for field in provider.fields:
            self.fields[path_of(field)] = forms.CharField(
                label=field.label,
                required=False,
                strip=True,
                initial=field.default,
                help_text=field.help,
                widget=_widget(field),
            )

    def given(self) -> dict[str, Any]:
        """What was filled in, for the services: fields that do not apply are left out, empty secrets are not touched."""
        values = {field.name: self.cleaned_data[path_of(field)] for field in self.provider.fields}
        applying = self.provider.fields_for(values)
        config = {field.name: values[field.name] for field in applying if not field.is_secret}
        secrets = {field.name: values[field.name] for field in applying if field.is_secret and values[field.name]}
        return {"environment": self.cleaned_data["environment"], "config": config, "credentials": secrets}

    def refuse(self, refusal: RequestError) -> None:
        """Say it beside the fields that it is about."""
        for path, sentences in (refusal.fields or {"": [refusal.detail]}).items():
            for sentence in sentences:
                self.add_error(path if path in self.fields else None, sentence)


class DraftForm(SettingsForm):
    """A new connection, with whose it is."""

    workspace = forms.ModelChoiceField(Workspace.objects.order_by("slug"), empty_label=None)
    owner = forms.CharField(max_length=150, help_text="The username of a member of that workspace.")
    field_order = ("workspace", "owner", "name", "environment")

    def __init__(self, provider: Provider, *args: Any, **kwargs: Any) -> None:
        super().__init__(provider, *args, **kwargs)
        for field in provider.fields:
            if field.may_come_later:
                self.fields[path_of(field)].help_text += f" {LATER}"

    def clean(self) -> dict[str, Any]:
        given = super().clean() or {}
        workspace, name = given.get("workspace"), given.get("owner")
        found = Membership.objects.filter(workspace=workspace, user__username=name).select_related("user").first()
        if workspace and name and not (found and Role(found.role).covers(Role.MEMBER)):
            self.add_error("owner", f"Nobody of that name may own connections in {workspace}.")
        given["person"] = found.user if found else None
        return given

    def save(self) -> Connection | None:
        """The draft; None where something was refused, which is said beside its field."""
        try:
            return connection_draft(
                user=self.cleaned_data["person"],
                workspace_id=self.cleaned_data["workspace"].pk,
                provider_key=self.provider.key,
                name=self.cleaned_data["name"].strip(),
                **self.given(),
            )
        except RequestError as refusal:
            self.refuse(refusal)
            return None


class ChangeForm(SettingsForm):
    """The settings as they are; of the secrets only that they are there, to be replaced."""

    def __init__(self, provider: Provider, connection: Connection, *args: Any, **kwargs: Any) -> None:
        super().__init__(provider, *args, **kwargs)
        self.connection = connection
        self.fields["name"].initial, self.fields["name"].required = connection.name, True
        self.fields["name"].help_text = "What people call it. Alone it changes nothing else."
        self.fields["environment"].initial = connection.environment
        kept = {row.name: row for row in connection.credentials.filter(is_superseded=False)}
        for field in provider.fields:
            shown = self.fields[path_of(field)]
            if not field.is_secret:
                shown.initial = connection.config.get(field.name) or field.default
            elif row := kept.get(field.name):
                shown.help_text = format_html(
                    "Kept: {} {}, since {}. Leave it empty to keep it, fill it in to replace it.",
                    console.code(f"…{row.last_four}") if row.last_four else "",
                    console.code(row.fingerprint),
                    console.moment(row.updated_at),
                )
                if not field.is_required:
                    self.fields[f"remove.{field.name}"] = forms.BooleanField(
                        label=f"Take away: {field.label}", required=False
                    )

    def given(self) -> dict[str, Any]:
        given = super().given()
        for field in self.provider.fields:
            if self.cleaned_data.get(f"remove.{field.name}"):
                given["credentials"][field.name] = None
        return given

    def save(self, actor: User) -> bool:
        """Whether it is changed; what is refused is said beside its field."""
        given = self.given() if self.provider.fields else {"environment": self.cleaned_data["environment"]}
        try:
            connection_change(
                connection_id=self.connection.pk, actor=actor, name=self.cleaned_data["name"].strip(), **given
            )
        except RequestError as refusal:
            self.refuse(refusal)
            return False
        return True
