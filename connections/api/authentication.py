"""Who is asking: `Authorization: Bearer <token>`."""

from datetime import timedelta

from django.utils import timezone
from rest_framework.authentication import BaseAuthentication, get_authorization_header

from connections.errors import CausewayError
from connections.models import AccessToken, User
from connections.services.tokens import digest

_TOUCH_EVERY = timedelta(minutes=5)


class BearerAuthentication(BaseAuthentication):
    """One query. Expired, revoked and unknown tokens, and those of inactive people, are refused alike."""

    def authenticate(self, request) -> tuple[User, AccessToken] | None:
        parts = get_authorization_header(request).split()
        if not parts or parts[0].lower() != b"bearer":
            return None
        if len(parts) != 2 or len(parts[1]) > 200 or not parts[1].isascii():
            raise CausewayError("The Authorization header is not: Bearer and one token.", code="not_authenticated")
        token = AccessToken.objects.select_related("user").filter(digest=digest(parts[1].decode())).first()
        if token is None:
            raise CausewayError(code="not_authenticated")
        if not token.is_valid or not token.user.is_active:
            raise CausewayError(code="token_expired")
        now = timezone.now()
        if token.last_used_at is None or token.last_used_at < now - _TOUCH_EVERY:
            AccessToken.objects.filter(pk=token.pk).update(last_used_at=now)
        return token.user, token

    def authenticate_header(self, request) -> str:
        return 'Bearer realm="causeway"'
