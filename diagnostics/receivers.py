"""What diagnostics hears of: errors answered by the API, and tasks that failed."""

from celery.signals import task_failure
from django.dispatch import receiver

from config.problems import error_reported
from diagnostics.services import errors


@receiver(error_reported)
def _error_reported(*, request, error, problem, **_kwargs) -> None:
    errors.answer_record(request=request, error=error, problem=problem)


@task_failure.connect
def _task_failed(sender=None, exception=None, **_kwargs) -> None:
    errors.task_record(task=getattr(sender, "name", "") or "unknown", error=exception)
