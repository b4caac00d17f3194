"""The page of scenarios says what the tests are."""

from tests.scenarios import page


def test_the_page_lists_every_scenario_as_it_is():
    assert page.PATH.read_text() == page.page(), "run: python -m tests.scenarios.page"


def test_every_scenario_says_what_it_shows():
    """A name alone is a claim; the docstring says what was done and what came of it."""
    lines = [line for line in page.page().splitlines() if line.startswith("- ")]
    assert len(lines) > 40
    assert [line for line in lines if line.endswith("**")] == []
