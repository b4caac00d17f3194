"""What the API says about people, connections and accounts, and what it lets in. Shapes: docs/reference/api.md."""

from typing import Any
from urllib.parse import urlsplit

from drf_spectacular.helpers import lazy_serializer
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from config.logs import scrub
from connections import selectors
from connections.audit import Action
from connections.errors import CATALOGUE
from connections.models import Account, Connection, Role, SecurityEvent, Verification
from connections.models.connection import Environment, Provider, Status
from connections.providers import PROVIDERS, provider
from connections.providers.base import CHECK_STATUSES, Field

IDEMPOTENCY_FIELD = "idempotency_key"
_TOKEN_LIMIT = 500
_URL_LIMIT = 2048


# --- what callers send: a value of another type is a mistake of theirs, not something to make sense of ---
class StrictCharField(serializers.CharField):
    def to_internal_value(self, data: Any) -> str:
        if not isinstance(data, str):
            self.fail("invalid")
        return super().to_internal_value(data)


class StrictChoiceField(serializers.ChoiceField):
    """Its refusal names the choices and not what was sent: that may be a secret in the wrong field."""

    def __init__(self, choices: Any, **kwargs: Any) -> None:
        super().__init__(choices, **kwargs)
        self.error_messages["invalid_choice"] = f"Not one of: {', '.join(map(str, self.choices))}."

    def to_internal_value(self, data: Any) -> Any:
        if not isinstance(data, str):
            self.fail("invalid_choice", input=data)
        return super().to_internal_value(data)


class StrictUUIDField(serializers.UUIDField):
    def to_internal_value(self, data: Any) -> Any:
        if not isinstance(data, str):
            self.fail("invalid", value=data)
        return super().to_internal_value(data)


class StrictBooleanField(serializers.BooleanField):
    def to_internal_value(self, data: Any) -> bool:
        if not isinstance(data, bool):
            self.fail("invalid", input=data)
        return data


class StrictSerializer(serializers.Serializer):
    """Refuses fields that it does not know: a mistyped one would silently change nothing."""

    def to_internal_value(self, data: Any) -> Any:
        known = {*self.fields, IDEMPOTENCY_FIELD}
        if isinstance(data, dict) and (unknown := [name for name in data if name not in known]):
            raise serializers.ValidationError({name: ["There is no such field."] for name in unknown})
        return super().to_internal_value(data)


class ConfirmationSerializer(serializers.Serializer):
    """For what cannot be undone: without it nothing is done (400 `confirmation_required`)."""

    confirmed = StrictBooleanField(help_text="true")


# --- session ---
class SignInSerializer(serializers.Serializer):
    username = StrictCharField(max_length=150, trim_whitespace=False)
    password = StrictCharField(max_length=1024, trim_whitespace=False)


class TokenSerializer(serializers.Serializer):
    token = serializers.CharField(help_text="Shown once: it cannot be read again.")
    expires_at = serializers.DateTimeField()


class WorkspaceSerializer(serializers.Serializer):
    id = serializers.UUIDField()
    slug = serializers.CharField()
    name = serializers.CharField()
    sandbox_mode = serializers.BooleanField(help_text="No write leaves for a production connection.")


class MembershipSerializer(serializers.Serializer):
    workspace = WorkspaceSerializer()
    role = serializers.ChoiceField(choices=Role.choices)


class UserSerializer(serializers.Serializer):
    id = serializers.UUIDField()
    username = serializers.CharField()
    email = serializers.CharField(allow_blank=True)
    is_staff = serializers.BooleanField(help_text="May use the operations console.")


class CurrentTokenSerializer(serializers.Serializer):
    name = serializers.CharField()
    scope = serializers.ChoiceField(choices=["full", "read"])
    expires_at = serializers.DateTimeField()


class MeSerializer(serializers.Serializer):
    user = UserSerializer()
    memberships = MembershipSerializer(many=True)
    token = CurrentTokenSerializer()


# --- connections ---
class InstitutionSerializer(serializers.Serializer):
    """A bank as Plaid describes it."""

    id = serializers.CharField(source="institution_id")
    name = serializers.CharField(source="institution_name")
    color = serializers.CharField(source="institution_color", help_text='Such as "#004966", or "".')


class InstitutionDetailSerializer(InstitutionSerializer):
    logo = serializers.CharField(source="institution_logo", help_text='PNG in base64, or "". Not in lists.')


class ConnectionErrorSerializer(serializers.Serializer):
    """What is wrong with a connection, in the user's words."""

    code = serializers.CharField()
    detail = serializers.CharField()
    remediation = serializers.CharField()
    correlation_id = serializers.CharField(help_text="An operator finds the rest under this id.")


class ConnectionSerializer(serializers.Serializer):
    """A link to a bank, a shop, books or a data store, and where it stands."""

    id = serializers.UUIDField()
    provider = serializers.ChoiceField(choices=Provider.choices)
    name = serializers.CharField()
    institution = serializers.SerializerMethodField()
    environment = serializers.ChoiceField(choices=Environment.choices)
    status = serializers.ChoiceField(choices=Status.choices)
    status_reason = serializers.CharField()
    sync_needed = serializers.SerializerMethodField()
    last_sync_at = serializers.DateTimeField(allow_null=True)
    last_verified_at = serializers.DateTimeField(allow_null=True)
    next_attempt_at = serializers.DateTimeField(allow_null=True)
    reauth_due_at = serializers.DateTimeField(allow_null=True)
    account_selection_available = serializers.SerializerMethodField(
        help_text="The bank has other accounts to choose from: a repair through Link shows them."
    )
    error = serializers.SerializerMethodField()
    config = serializers.SerializerMethodField()
    config_version = serializers.IntegerField(help_text="Counts the changes of settings and secrets.")
    owner = serializers.UUIDField(source="owner_id")
    created_at = serializers.DateTimeField()

    @extend_schema_field(InstitutionSerializer(allow_null=True))
    def get_institution(self, connection: Connection) -> dict[str, Any] | None:
        return _institution(connection, InstitutionSerializer)

    def get_sync_needed(self, connection: Connection) -> bool:
        item = getattr(connection, "plaid_item", None)
        return bool(item and item.is_dirty and not connection.is_closed)

    def get_account_selection_available(self, connection: Connection) -> bool:
        item = getattr(connection, "plaid_item", None)
        return bool(item and item.account_selection_at)

    @extend_schema_field(ConnectionErrorSerializer(allow_null=True))
    def get_error(self, connection: Connection) -> dict[str, str] | None:
        """The catalogue's words for the stored code; what is stored beside it is for operators."""
        if not connection.error_code:
            return None
        entry = CATALOGUE.get(connection.error_code, CATALOGUE["provider_error"])
        words = {"code": connection.error_code, "detail": entry.detail, "remediation": entry.remediation}
        return words | {"correlation_id": connection.error_correlation_id}

    def get_config(self, connection: Connection) -> dict[str, Any]:
        return scrub(connection.config)


class CredentialShownSerializer(serializers.Serializer):
    """That a secret is there. It cannot be read again."""

    fingerprint = serializers.CharField(help_text="Equal for equal secrets, and gives none away.")
    last_four = serializers.CharField(allow_blank=True, help_text='"" for short ones.')
    updated_at = serializers.DateTimeField()


class CheckSerializer(serializers.Serializer):
    name = serializers.CharField()
    status = serializers.ChoiceField(choices=CHECK_STATUSES)
    duration_ms = serializers.IntegerField()
    cause = serializers.CharField(allow_blank=True)
    remediation = serializers.CharField(allow_blank=True)


class VerificationSerializer(serializers.Serializer):
    """What the provider was asked about one version of a connection's settings, check by check."""

    id = serializers.UUIDField()
    status = serializers.ChoiceField(choices=Verification.Status.choices)
    config_version = serializers.IntegerField()
    checks = CheckSerializer(many=True, help_text="Those that are answered so far.")
    created_at = serializers.DateTimeField()
    finished_at = serializers.DateTimeField(allow_null=True)


class ConnectionDetailSerializer(ConnectionSerializer):
    """The same with the institution's logo, the secrets that there are, and the latest verification."""

    credentials = serializers.SerializerMethodField(help_text="By name, of those that people give.")
    verification = serializers.SerializerMethodField()
    oauth = serializers.SerializerMethodField(help_text="Where the access is given by signing in at the provider.")

    @extend_schema_field(lazy_serializer("connections.api.serializers.OAuthSerializer")(allow_null=True))
    def get_oauth(self, connection: Connection) -> dict[str, Any] | None:
        found = selectors.oauth_of(connection)
        return dict(OAuthSerializer(found).data) if found else None

    @extend_schema_field({"type": "object", "additionalProperties": {"$ref": "#/components/schemas/CredentialShown"}})
    def get_credentials(self, connection: Connection) -> dict[str, Any]:
        own = [found.name for found in provider(connection.provider).fields if found.is_secret]
        rows = connection.credentials.filter(name__in=own, is_superseded=False).order_by("name") if own else []
        return {row.name: CredentialShownSerializer(row).data for row in rows}

    @extend_schema_field(VerificationSerializer(allow_null=True))
    def get_verification(self, connection: Connection) -> dict[str, Any] | None:
        latest = connection.verifications.order_by("-pk").first()
        return VerificationSerializer(latest).data if latest else None

    @extend_schema_field(InstitutionDetailSerializer(allow_null=True))
    def get_institution(self, connection: Connection) -> dict[str, Any] | None:
        return _institution(connection, InstitutionDetailSerializer)


def _institution(connection: Connection, serializer: type[InstitutionSerializer]) -> dict[str, Any] | None:
    item = getattr(connection, "plaid_item", None)
    return dict(serializer(item).data) if item and (item.institution_id or item.institution_name) else None


class AccountSerializer(serializers.Serializer):
    """A bank account. Balances are exact decimal text in `currency`; null is what the bank does not tell."""

    id = serializers.UUIDField()
    external_id = serializers.SerializerMethodField(
        help_text="The bank's id for it now; null where it has none any more."
    )
    name = serializers.CharField()
    official_name = serializers.CharField()
    mask = serializers.CharField()
    type = serializers.CharField()
    subtype = serializers.CharField()
    currency = serializers.CharField(allow_null=True)
    balance_current = serializers.DecimalField(max_digits=None, decimal_places=None, allow_null=True)
    balance_available = serializers.DecimalField(max_digits=None, decimal_places=None, allow_null=True)
    balance_limit = serializers.DecimalField(max_digits=None, decimal_places=None, allow_null=True)
    balances_at = serializers.DateTimeField(allow_null=True)
    status = serializers.ChoiceField(choices=Account.Status.choices)

    def get_external_id(self, account: Account) -> str | None:
        current = (mapping for mapping in account.item_accounts.all() if mapping.replaced_at is None)
        return next((mapping.plaid_account_id for mapping in current), None)


# --- signing in at a provider ---
class AuthorizationSerializer(serializers.Serializer):
    authorize_url = serializers.CharField(help_text="For the person's browser. It opens something: do not keep it.")
    expires_at = serializers.DateTimeField()
    redirect_uri = serializers.CharField(help_text="Has to be registered at the provider, exactly so.")


class AuthorizedSerializer(serializers.Serializer):
    """What the access was kept for. The rest is told to people who are signed in."""

    connection_id = serializers.UUIDField(source="id")
    provider = serializers.ChoiceField(choices=Provider.choices)
    status = serializers.ChoiceField(choices=Status.choices)


class KeysSerializer(serializers.Serializer):
    """As WooCommerce sends it."""

    key_id = serializers.IntegerField(required=False)
    user_id = serializers.CharField(help_text="The state that was given along.")
    consumer_key = serializers.CharField()
    consumer_secret = serializers.CharField(write_only=True)
    key_permissions = serializers.CharField(required=False)


class OAuthSerializer(serializers.Serializer):
    """The access that somebody gave at the provider, and when it ends. Tokens are never shown."""

    redirect_uri = serializers.CharField(help_text="Has to be registered at the provider, exactly so.")
    account = serializers.CharField(help_text='Which account there, such as QuickBooks\' realm; "" before.')
    authorized_at = serializers.DateTimeField(allow_null=True)
    access_expires_at = serializers.DateTimeField(allow_null=True, help_text="Renewed by itself before then.")
    refresh_expires_at = serializers.DateTimeField(
        allow_null=True, help_text="The access ends then unless it is renewed before: every renewal moves it."
    )
    hard_expires_at = serializers.DateTimeField(
        allow_null=True, help_text="The access ends then for good, unless a person signs in again."
    )


# --- what is configured: whatever the providers declare ---
def _settings_schema(part: str) -> dict[str, Any]:
    """JSON schema of `config` or `credentials`, one alternative a provider that has any."""
    choices = []
    for declared in map(provider, PROVIDERS):
        fields = [found for found in declared.fields if found.is_secret == (part == "credentials")]
        if fields:
            properties = {found.name: _field_schema(found) for found in fields}
            choices.append({"title": declared.label, "type": "object", "properties": properties})
    return {"anyOf": choices, "nullable": True}


def _field_schema(found: Field) -> dict[str, Any]:
    described = f"{found.label}. {found.help}" if found.help else f"{found.label}."
    if found.only_if:
        described += f" Where {found.only_if[0]} is {' or '.join(found.only_if[1])}."
    schema: dict[str, Any] = {"type": "string", "nullable": True, "maxLength": found.max_length}
    schema["description"] = described
    if found.choices:
        schema["enum"] = [choice for choice, _label in found.choices]
    if found.default:
        schema["default"] = found.default
    return schema | ({"writeOnly": True} if found.is_secret else {})


class SettingsField(serializers.DictField):
    """An object; what may be in it is the provider's to say, by its declared fields."""

    def to_internal_value(self, data: Any) -> Any:
        if not isinstance(data, dict):
            self.fail("not_a_dict", input_type=type(data).__name__)
        return data


@extend_schema_field(_settings_schema("config"))
class ConfigField(SettingsField):
    pass


@extend_schema_field(_settings_schema("credentials"))
class CredentialsField(SettingsField):
    pass


class DraftSerializer(StrictSerializer):
    """Banks are not made this way but by POST plaid/link-token."""

    provider = StrictChoiceField(choices=Provider.choices)
    name = StrictCharField(required=False, max_length=200, help_text="Default: the provider's.")
    environment = StrictChoiceField(
        choices=Environment.choices,
        required=False,
        help_text="Default: sandbox in the demo and in sandbox mode, else production.",
    )
    config = ConfigField(required=False, allow_null=True, help_text="Settings that are not secret.")
    credentials = CredentialsField(required=False, allow_null=True, help_text="Secrets. None is ever shown again.")


class ChangeSerializer(StrictSerializer):
    """What is left out stays; null or "" takes a setting or a secret away."""

    name = StrictCharField(required=False, max_length=200)
    environment = StrictChoiceField(choices=Environment.choices, required=False)
    config = ConfigField(required=False)
    credentials = CredentialsField(required=False)


class WaitFilter(serializers.Serializer):
    wait = serializers.ChoiceField(
        choices=["0", "1"], default="0", help_text="1: answer once it has finished, or after 30 seconds."
    )


# --- Plaid ---
def validate_web_address(value: str) -> None:
    """http or https, a host, no login in it, nothing that is not printable."""
    try:
        parts = urlsplit(value)
        is_good = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.username is None
        _ = parts.port
    except ValueError:
        is_good = False
    if not is_good or not value.isprintable() or " " in value:
        raise serializers.ValidationError("Not an http or https address.")


class LinkTokenRequestSerializer(serializers.Serializer):
    connection_id = StrictUUIDField(required=False, allow_null=True, help_text="Repair this connection (update mode).")
    hosted_link = StrictBooleanField(default=False, help_text="Also make a page at Plaid where the person does it all.")
    redirect_uri = StrictCharField(
        required=False,
        allow_blank=True,
        max_length=_URL_LIMIT,
        validators=[validate_web_address],
        help_text="Where the bank sends the person back to.",
    )
    environment = StrictChoiceField(
        choices=Environment.choices,
        required=False,
        help_text="Default: sandbox in the demo and in sandbox mode, else production.",
    )


class LinkTokenSerializer(serializers.Serializer):
    link_token = serializers.CharField()
    expiration = serializers.DateTimeField()
    link_id = serializers.UUIDField()
    hosted_link_url = serializers.CharField(required=False, help_text="Only where it was asked for.")

    def to_representation(self, instance: Any) -> dict[str, Any]:
        return {name: value for name, value in super().to_representation(instance).items() if value is not None}


class InstitutionMetadataSerializer(serializers.Serializer):
    institution_id = StrictCharField(required=False, allow_null=True, allow_blank=True, max_length=64)
    name = StrictCharField(required=False, allow_null=True, allow_blank=True, max_length=200)


class AccountMetadataSerializer(serializers.Serializer):
    name = StrictCharField(required=False, allow_null=True, allow_blank=True, max_length=300)
    mask = StrictCharField(required=False, allow_null=True, allow_blank=True, max_length=16)


class LinkMetadataSerializer(serializers.Serializer):
    """What Link's onSuccess gives beside the public token; other fields of it are ignored."""

    institution = InstitutionMetadataSerializer(required=False, allow_null=True)
    accounts = AccountMetadataSerializer(many=True, required=False, allow_null=True, max_length=500)  # type: ignore[call-arg]


class ExchangeSerializer(serializers.Serializer):
    public_token = StrictCharField(max_length=_TOKEN_LIMIT)
    metadata = LinkMetadataSerializer(required=False, allow_null=True)
    environment = StrictChoiceField(
        choices=Environment.choices,
        required=False,
        help_text="Default: the one the token names, else as for link tokens.",
    )
    connection_id = StrictUUIDField(required=False, allow_null=True, help_text="Re-link this connection in place.")
    allow_duplicate = StrictBooleanField(default=False)


# --- audit ---
class ActorSerializer(serializers.Serializer):
    id = serializers.UUIDField(source="actor_id")
    username = serializers.CharField(source="actor_name", help_text="As it was then.")


class SecurityEventSerializer(serializers.Serializer):
    """Somebody did something that somebody else may ask about."""

    id = serializers.UUIDField()
    action = serializers.ChoiceField(choices=[(action.value, action.value) for action in Action])
    actor = serializers.SerializerMethodField(help_text="Null: the system, or a sign-in that failed.")
    object_type = serializers.CharField(allow_blank=True)
    object_id = serializers.CharField(allow_blank=True)
    ip = serializers.IPAddressField(allow_null=True)
    user_agent = serializers.CharField(allow_blank=True)
    correlation_id = serializers.CharField(allow_blank=True)
    details = serializers.DictField()
    at = serializers.DateTimeField()

    @extend_schema_field(ActorSerializer(allow_null=True))
    def get_actor(self, event: SecurityEvent) -> dict[str, Any] | None:
        return ActorSerializer(event).data if event.actor_id else None


class SecurityEventFilters(serializers.Serializer):
    action = serializers.ChoiceField(choices=[(action.value, action.value) for action in Action], required=False)
    actor = serializers.CharField(required=False, max_length=150, help_text="A username or a user's id.")
    to = serializers.DateTimeField(required=False, help_text="Before this moment.")

    def get_fields(self) -> dict[str, serializers.Field]:
        """`from` is no name that Python lets a class have."""
        since = serializers.DateTimeField(required=False, source="since", help_text="At this moment or later.")
        return super().get_fields() | {"from": since}
