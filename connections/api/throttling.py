"""How often one person, or one address that signs in, may ask."""

import ipaddress
from abc import ABC, abstractmethod

from django.conf import settings
from rest_framework.throttling import BaseThrottle

from connections import budgets


class _Throttle(ABC, BaseThrottle):
    """Never fails because Redis does: see `connections.budgets`."""

    _wait: float | None = None

    @abstractmethod
    def per_minute(self) -> int:
        """0: not limited."""

    @abstractmethod
    def key(self, request) -> tuple[str, str] | None:
        """Whose budget; None: nobody's."""

    def allow_request(self, request, view) -> bool:
        key = self.key(request)
        if not self.per_minute() or key is None:
            return True
        self._wait = budgets.take(*key, per_minute=self.per_minute())
        return not self._wait

    def wait(self) -> float | None:
        return self._wait


class UserThrottle(_Throttle):
    def per_minute(self) -> int:
        return settings.THROTTLE_USER

    def key(self, request) -> tuple[str, str] | None:
        return ("api-user", str(request.user.pk)) if request.user and request.user.pk else None


class LoginThrottle(_Throttle):
    """By address, before any password is hashed."""

    def per_minute(self) -> int:
        return settings.THROTTLE_LOGIN

    def key(self, request) -> tuple[str, str]:
        return "login", client_address(request)


def client_address(request) -> str:
    """The caller's address; X-Forwarded-For counts only as far as trusted proxies wrote it."""
    address = request.META.get("REMOTE_ADDR") or "unknown"
    forwarded = [part.strip() for part in request.META.get("HTTP_X_FORWARDED_FOR", "").split(",") if part.strip()]
    while forwarded:
        try:
            current = ipaddress.ip_address(address)
        except ValueError:
            break
        if not any(current in network for network in settings.TRUSTED_PROXIES):
            break
        address = forwarded.pop()
    return address
