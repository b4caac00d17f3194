"""`manage.py import_plaid`: take over the Items that another system linked."""

import stat
import sys
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import Error as DatabaseError

from config import correlation
from config.logs import scrub
from connections.audit import Action, Audited
from connections.models.connection import Environment
from connections.providers.plaid.exports import exported_items
from connections.services.plaid_import import WENT_WRONG, ImportStopped, Options, Outcome, plaid_import
from connections.services.plaid_import_report import ImportReport

WORDS = {
    "created": ("created", "would be created"),
    "unchanged": ("is here already, unchanged", "is here already, unchanged"),
    "token_updated": ("has its new token", "would get the new token"),
    "replayed": ("is read again from its start", "would be read again from its start"),
    "refused": ("refused", "would be refused"),
    "failed": ("failed", "could not be checked"),
}


class Command(BaseCommand):
    """Idempotent: rows that are here already stay as they are, so a killed import is run again. Prints no token."""

    audit = Audited(Action.CONNECTION_IMPORTED)
    help = "Import Plaid Items with their access tokens from another system. Run it with --dry-run first."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--file", type=Path, required=True, help="CSV with a header, or a JSON list of objects")
        parser.add_argument("--format", choices=["csv", "json"], help="what the file's name does not say")
        parser.add_argument("--workspace", default="", help="slug, for rows that name none")
        parser.add_argument("--owner", default="", help="username, for rows that name none")
        parser.add_argument("--environment", default="", choices=Environment.values, help="refuse tokens of the other")
        parser.add_argument("--dry-run", action="store_true", help="ask Plaid, judge every row, and change nothing")
        parser.add_argument("--offline", action="store_true", help="with --dry-run: do not ask Plaid")
        parser.add_argument("--replay", action="store_true", help="read whole histories, whatever cursors are given")
        parser.add_argument("--update-tokens", action="store_true", help="replace the token of Items that are here")
        parser.add_argument(
            "--allow-duplicates", action="store_true", help="also logins whose accounts are here under another Item"
        )
        parser.add_argument("--report", type=Path, help="write every row's outcome there, as JSON")

    def handle(self, *_args: Any, file: Path, dry_run: bool, offline: bool, **options: Any) -> None:
        if offline and not dry_run:
            raise CommandError("--offline goes with --dry-run only: nothing is imported that Plaid has not confirmed.")
        if options["report"] and options["report"].resolve() == file.resolve():
            raise CommandError("The report would take the place of the export: name another file.")
        chosen = Options(
            is_dry_run=dry_run,
            is_offline=offline,
            is_replay=options["replay"],
            updates_tokens=options["update_tokens"],
            allows_duplicates=options["allow_duplicates"],
        )
        defaults = {name: options[name] for name in ("workspace", "owner", "environment")}
        self._warn_of_readers(file)
        try:
            with correlation.bound(None):
                report = self._import(file, self._form(file, options["format"]), defaults, chosen, options["report"])
        except OSError as error:
            raise CommandError(f"{error.filename}: {error.strerror}") from None
        except DatabaseError as error:
            raise CommandError(f"The database refused: {scrub(str(error))} Run the import again.") from None
        self._sum_up(report, chosen)
        if report.wrong_count or report.stopped:
            sys.exit(1)

    def _form(self, file: Path, given: str | None) -> str:
        form = given or file.suffix.removeprefix(".").lower()
        if form not in ("csv", "json"):
            raise CommandError("The file's name ends in neither .csv nor .json: say --format.")
        return form

    def _warn_of_readers(self, file: Path) -> None:
        if file.exists() and file.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO):
            self.stderr.write(f"Warning: others than its owner may open {file}, which holds access tokens: chmod 600.")

    def _import(
        self, file: Path, form: str, defaults: dict[str, str], chosen: Options, report_path: Path | None
    ) -> ImportReport:
        opened = file.open(encoding="utf-8-sig", errors="surrogateescape", newline="")
        with opened as stream, ImportReport(options=chosen, path=report_path) as report:
            try:
                for outcome in plaid_import(exported_items(stream, form=form, defaults=defaults), options=chosen):
                    report.add(outcome)
                    self.stdout.write(self._line(outcome, chosen))
            except ImportStopped as stopped:
                report.stopped = f"line {stopped.line}: {scrub(str(stopped))}"
        return report

    def _line(self, outcome: Outcome, chosen: Options) -> str:
        words = WORDS[outcome.status][chosen.is_dry_run]
        why = f" ({outcome.reason}: {outcome.detail})" if outcome.reason else ""
        if outcome.reason == "invalid_row":
            return scrub(f"line {outcome.line}: {words}{why}")
        told = outcome.accounts
        seen = f"{len(told.matched)} of {told.in_export}" if told.in_export is not None else str(told.found)
        accounts = f", accounts {seen}" if told.is_checked else ", accounts not checked"
        accounts += f", {len(told.missing)} not at the bank" if told.missing else ""
        accounts += f", {len(told.unlisted)} not in the export" if told.unlisted else ""
        history = {"from_cursor": ", from the given cursor", "from_start": ", whole history"}.get(outcome.history, "")
        facts = "" if outcome.status in WENT_WRONG else accounts + history
        item = f"Item {outcome.item_id or 'of token'} {outcome.fingerprint}, {outcome.owner} in {outcome.workspace}"
        return scrub(f"line {outcome.line}: {item}: {words}{facts}{why}")

    def _sum_up(self, report: ImportReport, chosen: Options) -> None:
        counts = ", ".join(f"{count} {name}" for name, count in sorted(report.statuses.items())) or "none"
        self.stdout.write(f"{report.statuses.total()} rows: {counts}.")
        accounts = report.accounts
        self.stdout.write(
            f"Accounts: {accounts['in_export']} in the export, {accounts['found']} at the banks, {accounts['missing']} of the "
            f"export not at the bank, {accounts['unlisted']} at the bank not in the export; {accounts['unchecked']} Items "
            "not checked."
        )
        if report.stopped:
            self.stderr.write(f"Stopped at {report.stopped} Nothing after it was tried; run the import again later.")
        for outcome in report.wrong:
            self.stderr.write(self._line(outcome, chosen))
        if left := report.wrong_count - len(report.wrong):
            self.stderr.write(f"… and {left} more; --report writes them all.")
        if chosen.is_dry_run:
            self.stdout.write("Nothing was changed.")
