"""Bearer tokens: made once, shown once, kept as a digest."""

import hashlib
import secrets
from datetime import timedelta

from django.conf import settings
from django.db import transaction
from django.utils import timezone

from connections.audit import Action
from connections.models import AccessToken, User
from connections.services.audit import security_event_record_of_person

_PREFIX = "cwt_"


def digest(token: str) -> str:
    """SHA-256: the token is 256 random bits, so a slow hash would add nothing."""
    return hashlib.sha256(token.encode()).hexdigest()


def token_issue(
    *, user: User, name: str = "api", scope: str = "full", lifetime: timedelta | None = None
) -> tuple[str, AccessToken]:
    """(the token, its row). The token cannot be read again later."""
    token = _PREFIX + secrets.token_urlsafe(32)
    expires_at = timezone.now() + (lifetime or timedelta(days=settings.TOKEN_DAYS))
    row = AccessToken.objects.create(
        user=user, name=name, scope=scope, prefix=token[:10], digest=digest(token), expires_at=expires_at
    )
    return token, row


@transaction.atomic
def person_sign_in(*, user: User) -> tuple[str, AccessToken]:
    """(the token, its row) for somebody whose password was right."""
    token, row = token_issue(user=user)
    security_event_record_of_person(Action.SIGNED_IN, person=user, actor=user, to="api", bearer_id=str(row.pk))
    return token, row


@transaction.atomic
def token_revoke(*, token: AccessToken, actor: User, action: Action = Action.TOKEN_REVOKED) -> None:
    """Idempotent."""
    if AccessToken.objects.filter(pk=token.pk, revoked_at=None).update(revoked_at=timezone.now()):
        security_event_record_of_person(action, person=token.user, actor=actor, of="api", bearer_id=str(token.pk))
