"""What the audit hears of by signal: sign-ins, wherever they happen, and whatever the console does."""

from typing import Any

from django.contrib.admin.models import LogEntry
from django.contrib.auth.signals import user_logged_in, user_logged_out, user_login_failed
from django.core.exceptions import ObjectDoesNotExist
from django.db.models import Model
from django.db.models.signals import post_save
from django.dispatch import receiver

from connections.audit import Action
from connections.models import User, Workspace
from connections.services.audit import security_event_record, security_event_record_of_person


@receiver(user_login_failed)
def _sign_in_failed(credentials: dict[str, Any], **_kwargs: Any) -> None:
    """Names that nobody has are not kept: people type their password into the wrong field."""
    person = User.objects.filter(username=credentials.get("username") or "").first()
    if person:
        security_event_record_of_person(Action.SIGN_IN_FAILED, person=person, actor=None)
    else:
        security_event_record(Action.SIGN_IN_FAILED, actor=None)


@receiver(user_logged_in)
def _signed_in(user: User, **_kwargs: Any) -> None:
    security_event_record_of_person(Action.SIGNED_IN, person=user, actor=user, to="console")


@receiver(user_logged_out)
def _signed_out(user: User | None, **_kwargs: Any) -> None:
    if user:
        security_event_record_of_person(Action.SIGNED_OUT, person=user, actor=user, of="console")


@receiver(post_save, sender=LogEntry)
def _console_changed(instance: LogEntry, created: bool, **_kwargs: Any) -> None:
    """The console's own log, on the record that nobody can edit; what a service did has its own entry beside it."""
    if not created:
        return
    subject, kind = _edited(instance), instance.get_action_flag_display().lower()
    workspace_id = subject.pk if isinstance(subject, Workspace) else getattr(subject, "workspace_id", None)
    security_event_record(
        Action.CONSOLE_CHANGED,
        actor=instance.user,
        workspace_id=workspace_id,
        subject=subject,
        kind=str(kind),
        change=str(instance.get_change_message()),
    )


def _edited(entry: LogEntry) -> Model | None:
    try:
        return entry.get_edited_object() if entry.content_type else None
    except (ObjectDoesNotExist, AttributeError, ValueError):
        return None
