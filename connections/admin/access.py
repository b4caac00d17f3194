"""Which way into a provider is offered on a connection's page: one at a time, the one that is useful now."""

from connections import configuration
from connections.models import Connection, Credential, User
from connections.models.connection import Status
from connections.providers import provider
from connections.services.oauth import authorization_begin, may_authorize
from connections.services.token_refresh import LOST_CODES


def lacks_access(connection: Connection) -> bool:
    """Whether a draft has nothing to let it in yet, which somebody at the provider would give it. At most one query."""
    if connection.status != Status.DRAFT or not has_sign_in(connection):
        return False
    declared = provider(connection.provider)
    if declared.account_fact:
        return not connection.facts.get(declared.account_fact)
    secrets = Credential.objects.filter(connection=connection, is_superseded=False).values_list("name", flat=True)
    return bool(configuration.missing(declared, config=connection.config, secrets=set(secrets)))


def is_let_in_no_more(connection: Connection) -> bool:
    """Whether signing in again is what it takes."""
    is_lost = connection.status in (Status.NEEDS_REAUTH, Status.FAILED) or connection.error_code in LOST_CODES
    return has_sign_in(connection) and is_lost and not connection.is_closed


def needs_new_secrets(connection: Connection) -> bool:
    """Whether typing in new secrets is what it takes: nobody can sign in anywhere to give them."""
    is_lost = connection.status in (Status.NEEDS_REAUTH, Status.FAILED)
    return has_fields(connection) and is_lost and not has_sign_in(connection)


def may_sign_in_anew(connection: Connection) -> bool:
    """Whether it is let in, and could be given another access."""
    is_needed = lacks_access(connection) or is_let_in_no_more(connection)
    return has_sign_in(connection) and not connection.is_closed and not is_needed


def has_fields(connection: Connection) -> bool:
    return bool(provider(connection.provider).fields)


def has_sign_in(connection: Connection) -> bool:
    """Whether somebody can give the access at the provider. Where it is the only way, it is offered in any case: what
    stands against it is said then."""
    if provider(connection.provider).authorizes is None:
        return False
    return may_authorize(connection) or not has_fields(connection)


def sign_in(connection: Connection, actor: User) -> str:
    """Where to send the person."""
    return authorization_begin(connection_id=connection.pk, actor=actor).authorize_url
