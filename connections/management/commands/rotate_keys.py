"""`manage.py rotate_keys`: put every stored credential under the newest encryption key."""

import sys
from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from connections import vault
from connections.services.key_rotation import Rotation, keys_rotate


class Command(BaseCommand):
    """Safe at any time, as often as wanted; a second one goes on where a killed one stopped."""

    help = "Re-encrypt credentials that are not under the newest key of ENCRYPTION_KEYS."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--dry-run", action="store_true", help="only say how many there are")

    def handle(self, *_args: Any, dry_run: bool, **_options: Any) -> None:
        def report(rotation: Rotation) -> None:
            self.stdout.write(f"{rotation.rotated} of {rotation.waiting} credentials re-encrypted.")

        done = keys_rotate(is_dry_run=dry_run, report=report)
        newest = vault.current_key_id()
        if dry_run:
            self.stdout.write(f"{done.waiting} credentials are not under key {newest}; nothing was changed.")
            return
        self.stdout.write(f"Done: {done.rotated} credentials are now under key {newest}.")
        if done.unreadable:
            sys.exit(f"{done.unreadable} credentials could not be read: their key is missing from ENCRYPTION_KEYS.")
