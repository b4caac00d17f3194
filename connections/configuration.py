"""Checking what a person configures against the fields that the provider declares. Knows no row; says where and what to do."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from connections.errors import RequestError
from connections.providers.base import Field, Json, Provider

MISSING = "This field is required."


@dataclass(slots=True)
class Settings:
    """What holds from now on. secrets: given now, by name. dropped: names of secrets that hold no more."""

    config: Json
    secrets: dict[str, str] = field(default_factory=dict)
    dropped: set[str] = field(default_factory=set)


@dataclass(slots=True)
class Cleaning:
    """One look at what was given. errors: by field path ("config.store_url"), without any value in them."""

    provider: Provider
    errors: dict[str, list[str]] = field(default_factory=dict)

    def settings(
        self, *, config: Mapping[str, Any], credentials: Mapping[str, Any], before: Json, kept: Collection[str]
    ) -> Settings:
        """The settings after these changes. before: the config until now; kept: names of the secrets that there are."""
        given = self._given("config", config, is_secret=False)
        secrets = self._given("credentials", credentials, is_secret=True)
        settled = self._config(before, given)
        made = Settings(settled, {name: value for name, value in secrets.items() if value})
        applying = {found.name for found in self.provider.fields_for(settled)}
        for name in kept:
            if name not in applying or (name in secrets and not secrets[name]):
                made.dropped.add(name)
        self._refuse_misplaced("config", {name for name, value in given.items() if value}, applying)
        self._refuse_misplaced("credentials", set(made.secrets), applying)
        self._refuse_missing(made, settled, (set(kept) - made.dropped) | set(made.secrets))
        return made

    def _given(self, part: str, values: Mapping[str, Any], *, is_secret: bool) -> dict[str, str]:
        """By name, cleaned; "" for what is taken away."""
        known = {found.name: found for found in self.provider.fields}
        cleaned = {}
        for name, value in values.items():
            path, found = f"{part}.{name}", known.get(name)
            if found is None:
                self._refuse(path, self._unknown(part, is_secret=is_secret))
            elif found.is_secret != is_secret:
                where = "credentials" if found.is_secret else "config"
                self._refuse(path, f"This belongs under {where}.")
            else:
                try:
                    cleaned[name] = _cleaned(found, value)
                except ValueError as error:
                    self._refuse(path, str(error))
        return cleaned

    def _config(self, before: Json, given: dict[str, str]) -> Json:
        """What was there, changed, completed by defaults, without what does not apply."""
        values = {**before, **given}
        settled = {
            found.name: value
            for found in self.provider.fields
            if not found.is_secret and (value := values.get(found.name) or found.default)
        }
        applying = {found.name for found in self.provider.fields_for(settled)}
        return {name: value for name, value in settled.items() if name in applying}

    def _refuse_misplaced(self, part: str, given: set[str], applying: set[str]) -> None:
        by_name = {found.name: found for found in self.provider.fields}
        for name in sorted(given - applying):
            if condition := by_name[name].only_if:
                other, values = condition
                self._refuse(f"{part}.{name}", f"This applies only where {other} is {' or '.join(values)}.")

    def _refuse_missing(self, made: Settings, config: Json, secrets: set[str]) -> None:
        later = {found.name for found in self.provider.fields if found.may_come_later}
        has_begun = bool(secrets & later)
        for found in self.provider.fields_for(config):
            part, present = ("credentials", secrets) if found.is_secret else ("config", set(config))
            path = f"{part}.{found.name}"
            is_needed = found.is_required and (has_begun or not found.may_come_later)
            if is_needed and found.name not in present and path not in self.errors:
                self._refuse(path, f"{MISSING} {found.help}".strip())

    def _unknown(self, part: str, *, is_secret: bool) -> str:
        names = [found.name for found in self.provider.fields if found.is_secret == is_secret]
        known = f"Known: {', '.join(names)}." if names else f"{self.provider.label} has nothing under {part}."
        return f"There is no such field. {known}"

    def _refuse(self, path: str, sentence: str) -> None:
        self.errors.setdefault(path, []).append(sentence)


def _cleaned(found: Field, value: Any) -> str:
    """The value as it is stored, "" for none. Raises ValueError with a sentence, which holds nothing of it."""
    if value is None:
        return ""
    if not isinstance(value, str):
        raise ValueError("Not a text.")
    if not (text := value.strip()):
        return ""
    if len(text) > found.max_length:
        raise ValueError(f"Longer than {found.max_length:,} characters.")
    if found.kind == "choice" and text not in (choices := [choice for choice, _label in found.choices]):
        raise ValueError(f"Not one of: {', '.join(choices)}.")
    if found.kind != "multiline" and not text.isprintable():
        raise ValueError("It holds characters that cannot be printed. Copy it again.")
    return found.clean(text)


def settings_checked(
    provider: Provider,
    *,
    config: Mapping[str, Any],
    credentials: Mapping[str, Any],
    before: Json | None = None,
    kept: Collection[str] = (),
) -> Settings:
    """What holds after these changes. A value that is null or "" takes the field away. Raises RequestError by field path."""
    cleaning = Cleaning(provider)
    made = cleaning.settings(config=config, credentials=credentials, before=before or {}, kept=kept)
    if cleaning.errors:
        raise RequestError(fields=cleaning.errors)
    return made


def missing(provider: Provider, *, config: Json, secrets: Collection[str]) -> list[Field]:
    """Required fields that are not there yet: nothing can be verified before they are."""
    fields = [found for found in provider.fields_for(config) if found.is_required]
    return [found for found in fields if found.name not in (secrets if found.is_secret else config)]
