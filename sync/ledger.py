"""The account of a run: every record fetched has exactly one outcome."""

from dataclasses import dataclass, fields


@dataclass(slots=True)
class Ledger:
    """fetched = created + updated + unchanged + removed + skipped + parked + failed."""

    fetched: int = 0
    created: int = 0
    updated: int = 0
    unchanged: int = 0
    removed: int = 0
    skipped: int = 0
    parked: int = 0
    failed: int = 0

    def add(self, other: "Ledger") -> None:
        for field in fields(self):
            setattr(self, field.name, getattr(self, field.name) + getattr(other, field.name))

    @property
    def is_balanced(self) -> bool:
        return (
            self.fetched
            == self.created + self.updated + self.unchanged + self.removed + self.skipped + self.parked + self.failed
        )

    @property
    def has_news(self) -> bool:
        """Whether anything is different from before, or could not be kept."""
        return bool(self.created or self.updated or self.removed or self.failed)
