"""`manage.py verify_audit`: is the record of who did what still what it was?"""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils import timezone

from connections.audit import NotAudited
from connections.models import Workspace
from connections.services.audit_seals import Checkpoint, Verification, chains_verify


class Command(BaseCommand):
    """Exits with 1, naming each gap and change, where there is one."""

    help = "Recompute the hash chains over the security events; name every gap and change."
    audit = NotAudited("reads only")

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--workspace", help="its slug; without it, every workspace and the installation")
        parser.add_argument(
            "--export", type=Path, metavar="FILE", help="write where each chain ends, to keep elsewhere"
        )
        parser.add_argument(
            "--checkpoint", type=Path, metavar="FILE", help="an earlier export, which every chain has to go through"
        )

    def handle(
        self, *_args: Any, workspace: str | None, export: Path | None, checkpoint: Path | None, **_options: Any
    ) -> None:
        chosen = Workspace.objects.filter(slug=workspace).first() if workspace else None
        if workspace and chosen is None:
            raise CommandError(f"There is no workspace {workspace}.")
        verified = chains_verify(workspace=chosen, since=_read(checkpoint) if checkpoint else ())
        for finding in verified.findings:
            self.stdout.write(f"{finding.chain}: {finding.what}")
        if verified.findings:
            raise CommandError(f"{len(verified.findings)} findings; nothing was exported.", returncode=1)
        self.stdout.write(
            f"{verified.count} security events in {len(verified.checkpoints)} chains are as they were sealed."
        )
        if export:
            _write(export, verified)


def _read(file: Path) -> list[Checkpoint]:
    try:
        return [Checkpoint(**chain) for chain in json.loads(file.read_text())["chains"]]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CommandError(f"{file} is no export of verify_audit: {error}") from None


def _write(file: Path, verified: Verification) -> None:
    chains = [asdict(checkpoint) for checkpoint in verified.checkpoints]
    try:
        file.write_text(json.dumps({"exported_at": timezone.now().isoformat(), "chains": chains}, indent=2) + "\n")
    except OSError as error:
        raise CommandError(f"{file} cannot be written: {error.strerror}.") from None
