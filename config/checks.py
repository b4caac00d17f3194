"""System checks over the environment: everything that is missing or malformed, at once and in sentences."""

import sys
from typing import Any

from django.conf import settings
from django.core.checks import Error, Tags, register

CANNOT_START = 3  # the exit code after which gunicorn gives up; after others it starts its workers again for ever


@register(Tags.security)
def environment_is_complete(app_configs: Any, **_kwargs: Any) -> list[Error]:
    """One error a problem; `manage.py check` prints them all."""
    hint = "See .env.example and docs/reference/settings.md."
    return [
        Error(problem, hint=hint, id=f"causeway.E{number:03}")
        for number, problem in enumerate(settings.CONFIGURATION_PROBLEMS, 1)
    ]


def refuse_bad_configuration() -> None:
    """End a server process with the same sentences that `manage.py check` prints, instead of a traceback later."""
    if problems := settings.CONFIGURATION_PROBLEMS:
        print(
            "Causeway cannot start:", *(f"  - {problem}" for problem in problems), sep="\n", file=sys.stderr, flush=True
        )
        sys.exit(CANNOT_START)
