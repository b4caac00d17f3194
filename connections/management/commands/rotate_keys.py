"""`manage.py rotate_keys`: put every stored credential under the newest encryption key."""

import sys
from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from connections import vault
from connections.audit import Action, Audited
from connections.services.key_rotation import Rotation, keys_rotate, processes_behind


class Command(BaseCommand):
    """Safe at any time, as often as wanted; a second one goes on where a killed one stopped."""

    audit = Audited(Action.KEYS_ROTATED)
    help = "Re-encrypt credentials that are not under the newest key of ENCRYPTION_KEYS."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--dry-run", action="store_true", help="only say how many there are")
        parser.add_argument("--force", action="store_true", help="also while a process runs that has another key first")

    def handle(self, *_args: Any, dry_run: bool, force: bool, **_options: Any) -> None:
        newest = vault.current_key_id()
        if behind := processes_behind():
            self.stderr.write(f"Still running with another key first: {', '.join(behind)}.")
            if not (dry_run or force):
                sys.exit(f"Nothing was changed. Restart every process with key {newest} first in ENCRYPTION_KEYS.")
        done = keys_rotate(is_dry_run=dry_run, report=self._report)
        if dry_run:
            self.stdout.write(f"{done.waiting} credentials are not under key {newest}; nothing was changed.")
            return
        self.stdout.write(f"Done: {done.rotated} credentials are now under key {newest}.")
        if done.unreadable:
            sys.exit(f"{done.unreadable} credentials could not be read: their key is missing from ENCRYPTION_KEYS.")
        if done.left:
            sys.exit(
                f"{done.left} came in under another key meanwhile: restart what runs with it, then run this again."
            )

    def _report(self, rotation: Rotation) -> None:
        self.stdout.write(f"{rotation.rotated} of {rotation.waiting} credentials re-encrypted.")
