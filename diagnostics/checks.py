"""System checks of diagnostics."""

from typing import Any

from django.conf import settings
from django.core.checks import Error, Tags, register

from diagnostics.services.channels import unusable


@register(Tags.security)
def alert_channels_are_usable(app_configs: Any, **_kwargs: Any) -> list[Error]:
    """A channel that cannot work is told at the start, not when the first alert is lost."""
    hint = "See docs/how-to/get-alerted.md."
    return [
        Error(sentence, hint=hint, id=f"causeway.A{number:03}")
        for number, sentence in enumerate(unusable(settings.ALERT_URLS), 1)
    ]
