"""Mail to the owner of a connection, about what only its owner can mend. The message is a delivery of the alert's.

Its words are in templates/mail, one file a kind; they are filled in when it is sent, with how things are then. Whether
somebody has an address is asked then too. Nothing secret is in it, and no balance.
"""

import smtplib
from datetime import timedelta
from email.utils import parseaddr
from typing import Any
from zoneinfo import ZoneInfo

from django.conf import settings
from django.core.mail import EmailMessage
from django.template.loader import render_to_string
from django.utils import timezone

from connections.errors import CATALOGUE
from connections.models import Connection, Membership, User
from connections.models.connection import Provider
from diagnostics.models import Alert, AlertDelivery
from diagnostics.services.channels import ChannelRefused, NobodyToTell

CHANNEL = "owner"


class MailServerAway(ChannelRefused):
    """Nobody's mail is taken there now."""


def announce(alert: Alert) -> None:
    """A mail to come, where mail is set up and the owner has an address."""
    if alert.connection and (owner := _recipient(alert.connection)):
        AlertDelivery.objects.get_or_create(
            alert=alert,
            kind=AlertDelivery.Kind.OPENED,
            channel=CHANNEL,
            defaults={"channel_name": f"mail to {owner.username}"[:200]},
        )


def send(delivery: AlertDelivery) -> None:
    """Hand it to the mail server. Raises ChannelRefused, or NobodyToTell where there is nothing to send any more."""
    alert = delivery.alert
    if alert.recovered_at or alert.connection is None:
        raise NobodyToTell("It was over before it was told.")
    if (owner := _recipient(alert.connection)) is None:
        raise NobodyToTell("EMAIL_URL is not set, or its owner has no address or works there no more.")
    subject, _, text = render_to_string(_template(alert), _facts(alert, owner)).strip().partition("\n")
    _, own = parseaddr(settings.DEFAULT_FROM_EMAIL)
    headers = {  # a message that comes twice is known by its id
        "Message-ID": f"<{delivery.pk}@{own.rpartition('@')[2] or 'causeway'}>",
        "Auto-Submitted": "auto-generated",
    }
    message = EmailMessage(" ".join(subject.split()), text.strip() + "\n", to=[owner.email], headers=headers)
    try:
        message.send()
    except smtplib.SMTPRecipientsRefused as refused:
        codes = [code for code, _said in refused.recipients.values()]
        if all(code >= 500 for code in codes):
            raise NobodyToTell(f"The mail server takes no mail for the owner's address ({codes[0]}).") from refused
        raise ChannelRefused(f"the mail server does not take it now ({codes[0]})") from refused
    except smtplib.SMTPResponseException as refused:  # what it says may quote an address or a login
        raise MailServerAway(f"the mail server answered {refused.smtp_code} ({type(refused).__name__})") from refused
    except OSError as lost:
        raise MailServerAway(f"the mail server could not be reached ({type(lost).__name__})") from lost
    except ValueError as malformed:
        raise NobodyToTell(f"The message cannot be written ({type(malformed).__name__}).") from malformed


def _recipient(connection: Connection) -> User | None:
    """The owner, while there is an address and a place in the workspace."""
    if not settings.EMAIL_IS_SET:
        return None
    members = Membership.objects.filter(workspace_id=connection.workspace_id, user_id=connection.owner_id)
    member = members.filter(user__is_active=True).exclude(user__email="").select_related("user").first()
    return member.user if member else None


def _template(alert: Alert) -> str:
    if alert.cause.startswith("consent_ends_"):
        return "mail/reauth_due.txt"
    return "mail/cleanup_due.txt" if alert.cause == "cleanup_due" else "mail/reauth_required.txt"


def _facts(alert: Alert, owner: User) -> dict[str, Any]:
    """What the templates name. Days are those of the workspace's zone."""
    connection: Any = alert.connection
    zone = ZoneInfo(connection.workspace.timezone)
    noticed_at = getattr(getattr(connection, "plaid_item", None), "cleanup_notified_at", None)
    instants = {
        "due_on": connection.reauth_due_at,
        "removed_on": noticed_at and noticed_at + timedelta(seconds=settings.CLEANUP_GRACE_S),
        "synced_on": connection.last_sync_at,
    }
    # Without their zone: a template would move them into the installation's.
    days = {name: timezone.make_naive(instant, zone) if instant else None for name, instant in instants.items()}
    return {
        "is_bank": connection.provider == Provider.PLAID,
        "bank": " ".join(connection.name.split()),  # the first line is the subject
        "person": owner.get_short_name() or owner.username,
        "workspace": " ".join(connection.workspace.name.split()),
        "trouble": CATALOGUE.get(alert.cause),
        "link": settings.PUBLIC_URL,
        "correlation_id": alert.correlation_id,
        "happened_at": alert.opened_at,
        **days,
    }
