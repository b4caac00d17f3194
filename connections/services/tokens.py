"""Bearer tokens: made once, shown once, kept as a digest."""

import hashlib
import secrets
from datetime import timedelta

from django.conf import settings
from django.utils import timezone

from connections.models import AccessToken, User

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


def token_revoke(*, token: AccessToken) -> None:
    """Idempotent."""
    AccessToken.objects.filter(pk=token.pk, revoked_at=None).update(revoked_at=timezone.now())
