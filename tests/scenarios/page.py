"""docs/reference/test-scenarios.md, made of the scenarios' own names and docstrings. `python -m tests.scenarios.page` writes it."""

import ast
from pathlib import Path

FOLDER = Path(__file__).parent
PATH = FOLDER.parents[1] / "docs" / "reference" / "test-scenarios.md"
HEAD = """# Scenarios

Several banks, several accounts, several people, and things that fail in part. Each line is a test in `tests/scenarios`: people talk to
the HTTP API of a real web process, their banks are Items of the simulated Plaid, which signs its webhooks and misbehaves on
request, and the work is done by the workers' own code; in the last section by real workers and the clock.

`make test ARGS="tests/scenarios"` runs them, `make test ARGS="tests/scenarios -k sign_in"` those whose name has these words.

Made by `python -m tests.scenarios.page` from the tests; a test compares.
"""
# In the order of a reader; a file that is not named here comes before the last one.
ORDER = ("several_banks", "several_accounts", "two_people", "workspaces", "partial_failures", "linking")
LAST = "by_itself"
NAMES = {"plaid": "Plaid", "item": "Item"}


def page() -> str:
    """The whole page."""
    return "\n".join([HEAD, *(section(file) for file in files())])


def files() -> list[Path]:
    """The files with scenarios; what tests this page is none."""

    def place(file: Path) -> tuple[int, str]:
        name = file.stem.removeprefix("test_")
        return (ORDER.index(name) if name in ORDER else len(ORDER) + (name == LAST), name)

    return sorted((file for file in FOLDER.glob("test_*.py") if file.stem != "test_page"), key=place)


def section(file: Path) -> str:
    """A heading, the file, and a line for each test."""
    tree = ast.parse(file.read_text())
    tests = [node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")]
    lines = [f"- {sentence(test)}" for test in tests]
    return "\n".join([f"## {ast.get_docstring(tree)}", "", f"`tests/scenarios/{file.name}`", "", *lines, ""])


def sentence(test: ast.FunctionDef) -> str:
    """What the test is called, and what its docstring adds."""
    words = " ".join(NAMES.get(word, word) for word in test.name.removeprefix("test_").split("_"))
    told = " ".join((ast.get_docstring(test) or "").split())
    return f"**{words[0].upper()}{words[1:]}.** {told}".rstrip()


if __name__ == "__main__":
    PATH.write_text(page())
