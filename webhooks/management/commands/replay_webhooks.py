"""`manage.py replay_webhooks`: have the webhooks of a span of time processed again."""

from argparse import ArgumentTypeError
from datetime import UTC, datetime
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils import timezone

from connections.audit import Action, Audited
from webhooks.services.replays import Preview, replay_all, replay_preview


def instant(given: str) -> datetime:
    """2026-05-12, or 2026-05-12T14:00:00+02:00; UTC where it names no zone."""
    try:
        found = datetime.fromisoformat(given)
    except ValueError:
        raise ArgumentTypeError(f"{given} is no date or time such as 2026-05-12T14:00:00Z") from None
    return found if found.tzinfo else found.replace(tzinfo=UTC)


class Command(BaseCommand):
    """Says first what would change. Safe at any time and as often as wanted: what happened since still counts."""

    audit = Audited(Action.WEBHOOKS_REPLAYED)
    help = "Process the webhooks that came in from --since on and before --until once more."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--since", type=instant, required=True, help="from then on, UTC unless it names a zone")
        parser.add_argument("--until", type=instant, help="before then; now, unless given")
        parser.add_argument("--workspace", default="", help="the slug of one workspace; all, unless given")
        parser.add_argument("--dry-run", action="store_true", help="only say what would change")

    def handle(self, *_args: Any, since: datetime, until: datetime | None, **options: Any) -> None:
        span = {"since": since, "until": until or timezone.now(), "workspace": options["workspace"]}
        if span["since"] >= span["until"]:
            raise CommandError("--since has to lie before --until.")
        preview = replay_preview(**span)
        self._tell(preview)
        if options["dry_run"] or not preview.total:
            self.stdout.write("Nothing was changed.")
            return
        self.stdout.write(f"{replay_all(**span)} webhooks wait to be processed again; the workers do it.")

    def _tell(self, preview: Preview) -> None:
        self.stdout.write(f"{preview.total} webhooks about {preview.connections} connections would be processed again:")
        for forecast, count in preview.events.most_common():
            note = f" ({forecast.note})" if forecast.note else ""
            self.stdout.write(f"{count:>8}  {forecast.kind}: {forecast.status}{note}")
