"""Setting people up: who they are, where they work and what they may do there."""

from dataclasses import dataclass

from django.contrib.auth.models import Group, Permission
from django.core.exceptions import ValidationError
from django.db import transaction
from django.db.models import Q
from django.utils.text import slugify

from connections.audit import Action
from connections.errors import RequestError
from connections.models import Membership, Role, User, Workspace
from connections.services.audit import security_event_record
from connections.services.tokens import token_issue

OPERATIONS = "Operations"
# What console staff act on, besides looking: connections (refresh, pause, resume, rename, disconnect), Items to
# remove (settle), failed records (resolve), parked events (retry), webhooks (replay) and access tokens (revoke). People,
# roles and schedules stay with superusers.
OPERATED = (
    "change_connection",
    "change_retiredplaiditem",
    "change_syncfailure",
    "change_domainevent",
    "change_webhookevent",
    "change_accesstoken",
)


@dataclass(frozen=True, slots=True)
class Bootstrapped:
    """A person who can start to work. token: shown once."""

    user: User
    membership: Membership
    token: str


@transaction.atomic
def person_bootstrap(
    *, username: str, password: str, workspace: str, role: Role, is_staff: bool = False
) -> Bootstrapped:
    """The person, with this password, has this role in the workspace, and a fresh token. Safe to repeat and to race.

    workspace: a slug, or a name from which one is made. is_staff: also gives the console; False leaves a flag that is
    there alone. The account is active afterwards, even where it was not. Raises RequestError.
    """
    place = _workspace(workspace)
    user = _user(username, password)
    if is_staff:
        user.is_staff = True
    user.is_active = True
    user.save()
    if is_staff:
        user.groups.add(operations_group())
    membership, _ = Membership.objects.update_or_create(workspace=place, user=user, defaults={"role": role})
    token, _ = token_issue(user=user, name="bootstrap")
    given = {"role": str(role), "is_staff": user.is_staff}
    security_event_record(
        Action.PERSON_BOOTSTRAPPED, actor=None, workspace_id=place.pk, subject=user, username=username, **given
    )
    return Bootstrapped(user, membership, token)


def operations_group() -> Group:
    """The group of console staff: it may look at everything, and act on what operators act on."""
    group, _ = Group.objects.get_or_create(name=OPERATIONS)
    wanted = Q(codename__startswith="view_") | Q(codename__in=OPERATED)
    missing = Permission.objects.filter(wanted).exclude(group=group)
    group.permissions.add(*missing)
    return group


def _workspace(name: str) -> Workspace:
    slug = slugify(name)[:63].strip("-_")
    found = Workspace(slug=slug, name=name.strip())
    _check(found, "workspace", fields=("slug", "name"))
    return Workspace.objects.get_or_create(slug=slug, defaults={"name": found.name})[0]


def _user(username: str, password: str) -> User:
    _check(User(username=username), "username", fields=("username",))
    if not password:
        raise RequestError("The password is empty.", fields={"password": ["The password is empty."]})
    user, _ = User.objects.get_or_create(username=username)
    user.set_password(password)
    return user


def _check(row: User | Workspace, name: str, *, fields: tuple[str, ...]) -> None:
    others = [field.name for field in row._meta.fields if field.name not in fields]
    try:
        row.clean_fields(exclude=others)
    except ValidationError as error:
        raise RequestError(
            f"The {name} is not valid: {' '.join(error.messages)}", fields={name: error.messages}
        ) from None
