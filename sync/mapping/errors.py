"""What can be wrong with a rule when it is saved, and with a record when a rule meets it. Nothing else ever comes out."""


class Mistake(ValueError):
    """An expression that cannot be run. at: the place in its text, counted from 1; 0 where there is none to name."""

    def __init__(self, why: str, at: int = 0) -> None:
        self.why, self.at = why, at
        super().__init__(f"At character {at}: {why}" if at else why)


class Unmet(Exception):
    """A rule has no value for this record, for a reason that a person can act on. The text says both."""

    code = "expression_failed"

    def __init__(self, why: str, remediation: str = "", *, code: str = "") -> None:
        self.why, self.remediation = why, remediation
        self.code = code or self.code
        super().__init__(why)


class RulesRefused(ValueError):
    """Rules that cannot be saved. errors: by path, `rules.3.expression`."""

    def __init__(self, errors: dict[str, list[str]]) -> None:
        self.errors = errors
        super().__init__("; ".join(f"{path}: {' '.join(why)}" for path, why in errors.items()))
