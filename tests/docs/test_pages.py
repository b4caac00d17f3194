"""What the pages tell people to type, open or press is there."""

import re
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from django.conf import settings as django_settings
from django.core.management import get_commands, load_command_class
from django.urls import Resolver404, resolve

from config import states
from config.console import NAVIGATION
from diagnostics.metrics import exposition

ROOT = Path(django_settings.BASE_DIR)
PAGES = sorted((ROOT / "docs").rglob("*.md"))
HOW_TO = [page for page in PAGES if page.parent.name == "how-to"]
BESIDE = {"Last webhook", "Filters", "Nothing is synced"}  # a column, a panel, a heading
ELSEWHERE = {"CAUSEWAY", "TOKEN", "BANK", "EVENT", "LOGIN_REPAIRED"}  # a page's own variables; Plaid's codes


def named(page: Path) -> str:
    return str(page.relative_to(ROOT))


def each(pages: list[Path]):
    return pytest.mark.parametrize("page", pages, ids=named)


def anchors(page: Path) -> set[str]:
    """The headings as links name them."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@each(PAGES)
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        parts = urlsplit(target)
        if parts.scheme:
            continue
        file = (page.parent / parts.path).resolve() if parts.path else page
        assert file.exists(), target
        assert not parts.fragment or parts.fragment in anchors(file), target


def test_every_page_is_listed():
    """From docs/README.md, or from a page that is."""
    listed = (ROOT / "docs" / "README.md").read_text()
    assert [named(page) for page in PAGES if page.name != "README.md" and f"/{page.name})" not in listed] == []


@each(HOW_TO)
def test_commands_exist_with_their_options(page):
    for name, rest in re.findall(r"manage\.py ([a-z_]+)([^`\n]*)", page.read_text()):
        assert name in get_commands(), name
        parser = load_command_class(get_commands()[name], name).create_parser("manage.py", name)
        known = {option for action in parser._actions for option in action.option_strings}
        assert set(re.findall(r"--[a-z-]+", rest)) <= known, (name, rest)


@each(HOW_TO)
def test_endpoints_exist(page):
    text = page.read_text()
    told = re.findall(r"\b(?:GET|POST|PATCH|DELETE) ([a-z][\w/{}-]*)", text)
    typed = re.findall(r"\$CAUSEWAY/(api/v1/[\w/$-]+|webhook/\w+|\w+)", text)
    for path in [f"api/v1/{path}" for path in told] + typed:
        filled = re.sub(r"\{\w+\}|\$\w+", "019a2f6e-7c1d-7b52-9a4e-3f1c5d7e9b20", path)
        try:
            resolve(f"/{filled}")
        except Resolver404:
            pytest.fail(f"no such address: {path}")


@pytest.mark.django_db
@each(HOW_TO)
def test_gauges_exist(page):
    shown = set(re.findall(r"^# TYPE (causeway_\w+)", exposition().decode(), re.MULTILINE))
    told = set(re.findall(r"`(causeway_\w+\w)", page.read_text()))
    if page.name == "monitor.md":  # its table leaves the prefix out
        cells = re.findall(r"^\| (`.*?) \|", page.read_text(), re.MULTILINE)
        told = {f"causeway_{name}" for cell in cells for name in re.findall(r"`([a-z]\w+)", cell)}
    assert told <= shown


@each(HOW_TO)
def test_lists_and_states_of_the_console_are_called_so(page):
    """In italics and with a capital."""
    words = {text for _group, entries in NAVIGATION for text, _icon, _model in entries} | BESIDE
    for vocabulary in vars(states).values():
        if isinstance(vocabulary, dict):
            words |= {state.word for state in vocabulary.values() if isinstance(state, states.State)}
    told = set(re.findall(r"(?<!\*)\*([A-Z][^*\n]+)\*(?!\*)", page.read_text()))
    assert told - words == set()


@each(HOW_TO)
def test_settings_exist(page):
    settings_page = (ROOT / "docs" / "reference" / "settings.md").read_text()
    told = set(re.findall(r"`\$?([A-Z]+(?:_[A-Z]+)+)", page.read_text())) - ELSEWHERE
    assert [name for name in told if f"`{name}`" not in settings_page] == []
