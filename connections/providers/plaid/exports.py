"""Another system's export of its Items → typed rows. Pure functions, streamed, and total: what cannot be read is a `BadRow`.

CSV with a header, or a JSON list of objects; docs/how-to/import-from-another-system.md is the formats' reference. No
message quotes a value: any of them may be a token in the wrong place.
"""

import csv
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, TextIO

from connections.providers.plaid.records import MAX_CURSOR_LENGTH, MAX_ID_LENGTH

FIELDS = (
    "access_token",
    "item_id",
    "workspace",
    "owner",
    "environment",
    "institution_id",
    "institution_name",
    "cursor",
    "accounts",
    "reference",
)
ACCOUNT_FIELDS = ("account_id", "name", "reference")
DEFAULTS = ("workspace", "owner", "environment")  # what may be said once for the whole file
MAX_ROW = 1 << 20  # characters of one row
MAX_ACCOUNTS = 500
_CHUNK = 1 << 16
_TOKEN = re.compile(r"access-(sandbox|production|development)-[A-Za-z0-9-]{1,200}")
_ANY_TOKEN = re.compile(r"(access|public|link|processor|user|assets)-(sandbox|production|development)-")
_NAME = re.compile(r"[a-z_]{1,32}")
_SLUG = re.compile(r"[a-z0-9][a-z0-9-]*")
_ID = re.compile(r"[\x21-\x7e]+")
_REST = "the rest of the file was not read"
_TWICE = "\0twice"


@dataclass(frozen=True, slots=True)
class ExportedAccount:
    """reference: the other system's own id of it."""

    account_id: str
    name: str = ""
    reference: str = ""


@dataclass(frozen=True, slots=True)
class ExportedItem:
    """One row that can be acted upon. Texts are "" where the export does not say; accounts: None where it lists none."""

    line: int
    access_token: str = field(repr=False)
    environment: str
    workspace: str
    owner: str
    item_id: str = ""
    institution_id: str = ""
    institution_name: str = ""
    cursor: str = ""
    reference: str = ""
    accounts: tuple[ExportedAccount, ...] | None = None


@dataclass(frozen=True, slots=True)
class BadRow:
    """errors: sentences, each with the name of the field it is about."""

    line: int
    errors: tuple[str, ...]


class _Unreadable(Exception):
    """What stands at this line is no row. is_end: nor can anything after it be read."""

    def __init__(self, line: int, error: str, *, is_end: bool = False) -> None:
        super().__init__(error)
        self.line, self.error, self.is_end = line, f"{error}; {_REST}" if is_end else error, is_end


def exported_items(
    stream: TextIO, *, form: str, defaults: Mapping[str, str] | None = None
) -> Iterator[ExportedItem | BadRow]:
    """The rows of a file, in order, one in memory at a time.

    stream: opened with newline="" and errors="surrogateescape", so that text which is not UTF-8 is an error of its row.
    form: csv or json. defaults: workspace, owner and environment of rows that do not name them.
    """
    elements = _csv_elements(stream) if form == "csv" else _json_elements(stream)
    for element in elements:
        if isinstance(element, _Unreadable):
            yield BadRow(element.line, (element.error,))
        else:
            yield _checked(*element, defaults or {})


# --- CSV ---
Element = tuple[int, Mapping[str, Any]] | _Unreadable


def _csv_elements(stream: TextIO) -> Iterator[Element]:
    reader = csv.reader(_lines(stream), strict=True)
    names: list[str] = []
    is_over = False
    while not is_over:
        line = reader.line_num + 1
        try:
            cells = next(reader)
            if cells and not names:
                names = _header(line, cells)
            elif cells:
                yield line, _named(line, names, cells)
        except StopIteration:
            if not names:
                yield _Unreadable(1, "the file is empty")
            return
        except csv.Error as error:
            until = f" to {reader.line_num}" if reader.line_num > line else ""
            yield _Unreadable(line, f"not CSV ({error}); nothing of line {line}{until} was read", is_end=not names)
            is_over = not names
        except _Unreadable as unreadable:
            yield unreadable
            is_over = unreadable.is_end


def _lines(stream: TextIO) -> Iterator[str]:
    number = 0
    while line := stream.readline(MAX_ROW):
        number += 1
        if len(line) == MAX_ROW:
            raise _Unreadable(number, "the line is too long", is_end=True)
        yield line


def _header(line: int, cells: list[str]) -> list[str]:
    names = [cell.strip().removeprefix("\ufeff").lower() for cell in cells]
    for number, name in enumerate(names, 1):
        if name not in FIELDS:
            shown = f"({name}) " if _NAME.fullmatch(name) else ""
            raise _Unreadable(line, f"column {number} {shown}of the header is none of {', '.join(FIELDS)}", is_end=True)
        if names.index(name) != number - 1:
            raise _Unreadable(line, f"the header names {name} twice", is_end=True)
    if "access_token" not in names:
        raise _Unreadable(line, "the header names no access_token", is_end=True)
    return names


def _named(line: int, names: list[str], cells: list[str]) -> Mapping[str, Any]:
    if len(cells) != len(names):
        raise _Unreadable(line, f"the row has {len(cells)} cells, and the header {len(names)}")
    given: dict[str, Any] = dict(zip(names, cells, strict=True))
    if listed := given.get("accounts", "").strip():
        given["accounts"] = [_csv_account(entry) for entry in listed.split(";")]
    return given


def _csv_account(entry: str) -> Any:
    """account_id, account_id|name or account_id|name|reference."""
    parts = entry.split("|")
    return dict(zip(ACCOUNT_FIELDS, parts, strict=False)) if len(parts) <= len(ACCOUNT_FIELDS) else None


# --- JSON ---
def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    return found if len(found) == len(pairs) else found | {_TWICE: True}


def _not_text(_number: str) -> int:
    return 0  # no field is a number, and some numbers cannot be held


_DECODER = json.JSONDecoder(
    object_pairs_hook=_object, parse_int=_not_text, parse_float=_not_text, parse_constant=_not_text
)


class _JsonText:
    """A window over the file that only moves forward, and the line it begins at."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._text, self._at, self.line = "", 0, 1

    def peek(self) -> str:
        """The next character that is not white space; "" at the end."""
        while True:
            while self._at < len(self._text):
                char = self._text[self._at]
                if char not in " \t\r\n\ufeff":
                    return char
                self.take(1)
            if not self._more():
                return ""

    def take(self, count: int) -> None:
        self.line += self._text.count("\n", self._at, self._at + count)
        self._at += count

    def value(self) -> Any:
        """The whole value that begins here. Raises _Unreadable where there is none within MAX_ROW characters."""
        while True:
            try:
                found, end = _DECODER.raw_decode(self._text, self._at)
                if end < len(self._text) or not self._more():
                    self.take(end - self._at)
                    return found
            except RecursionError:
                raise _Unreadable(self.line, "not JSON that can be read: too deep", is_end=True) from None
            except ValueError:
                if len(self._text) - self._at > MAX_ROW or not self._more():
                    raise _Unreadable(self.line, "not JSON, cut off, or too long", is_end=True) from None

    def _more(self) -> bool:
        """Read on, and forget what is behind. False at the end of the file."""
        chunk = self._stream.read(_CHUNK)
        if chunk:
            self._text, self._at = self._text[self._at :] + chunk, 0
        return bool(chunk)


def _json_elements(stream: TextIO) -> Iterator[Element]:
    text = _JsonText(stream)
    try:
        _expect(text, "[", "the file is no JSON list")
        is_first = True
        while text.peek() != "]" or not is_first:
            if text.peek() == "":
                raise _Unreadable(text.line, "the list does not end: the file is cut off", is_end=True)
            line = text.line
            found = text.value()
            yield (line, found) if isinstance(found, dict) else _Unreadable(line, "not an object")
            is_first = False
            if text.peek() != ",":
                break
            text.take(1)
        _expect(text, "]", "the list does not end here: the file is cut off, or a comma is missing")
        if text.peek():
            raise _Unreadable(text.line, "there is more after the list", is_end=True)
    except _Unreadable as unreadable:
        yield unreadable


def _expect(text: _JsonText, char: str, otherwise: str) -> None:
    if text.peek() != char:
        raise _Unreadable(text.line, otherwise, is_end=True)
    text.take(1)


# --- one row ---
def _checked(line: int, given: Mapping[str, Any], defaults: Mapping[str, str]) -> ExportedItem | BadRow:
    row = _Row(given)
    token = row.text("access_token", 256)
    named = _TOKEN.fullmatch(token)
    if not token:
        row.wrong("access_token", "is missing")
    elif not named:
        row.wrong("access_token", "does not look like access-<environment>-…")
    environment = named[1] if named else ""
    if environment == "development":
        row.wrong("access_token", "is of Plaid's Development environment, which does not exist any more")
    said = row.text("environment", 16) or defaults.get("environment", "")
    if said and environment and said != environment:
        row.wrong("environment", f"is not the token's, which is {environment}")
    texts = {
        "item_id": row.text("item_id", MAX_ID_LENGTH, _ID),
        "workspace": row.text("workspace", 63, _SLUG) or defaults.get("workspace", ""),
        "owner": row.text("owner", 150) or defaults.get("owner", ""),
        "institution_id": row.text("institution_id", 64, _ID),
        "institution_name": row.text("institution_name", 200),
        "cursor": row.text("cursor", MAX_CURSOR_LENGTH, _ID),
        "reference": row.text("reference", 200),
    }
    for name in ("workspace", "owner"):
        if not texts[name]:
            row.wrong(name, f"is missing, and no --{name} was given")
    if texts["cursor"] == "now":
        row.wrong("cursor", "is no position: leave it out to read the whole history")
    accounts = row.accounts()
    row.finish()
    if row.errors:
        return BadRow(line, tuple(row.errors))
    return ExportedItem(line=line, access_token=token, environment=environment, accounts=accounts, **texts)


class _Row:
    """Takes the fields of one object and notes what is wrong with them."""

    def __init__(self, given: Mapping[str, Any], *, inside: str = "") -> None:
        self._given, self._inside = dict(given), inside
        self.errors: list[str] = []

    def wrong(self, name: str, why: str) -> None:
        self.errors.append(f"{self._inside}{name}: {why}")

    def text(self, name: str, limit: int, shape: re.Pattern[str] | None = None) -> str:
        value = self._given.pop(name, None)
        if value is None:
            return ""
        if not isinstance(value, str):
            self.wrong(name, "has to be text")
            return ""
        value = value.strip()
        if value and (why := _unfit(value, limit, shape, is_token=name == "access_token")):
            self.wrong(name, why)
            return ""
        return value

    def accounts(self) -> tuple[ExportedAccount, ...] | None:
        given = self._given.pop("accounts", None)
        if given is None or given == "":
            return None
        if not isinstance(given, list) or len(given) > MAX_ACCOUNTS:
            self.wrong("accounts", f"has to be a list of at most {MAX_ACCOUNTS}")
            return None
        found: dict[str, ExportedAccount] = {}
        for number, entry in enumerate(given, 1):
            account = self._account(entry, inside=f"accounts[{number}].")
            if account and account.account_id in found:
                self.wrong("accounts", f"names one account twice, the second time in place {number}")
            elif account:
                found[account.account_id] = account
        return tuple(found.values())

    def _account(self, entry: Any, *, inside: str) -> ExportedAccount | None:
        row = _Row(
            {"account_id": entry} if isinstance(entry, str) else entry if isinstance(entry, dict) else {}, inside=inside
        )
        account_id = row.text("account_id", MAX_ID_LENGTH, _ID)
        account = ExportedAccount(account_id, row.text("name", 300), row.text("reference", 200))
        if not account_id and not row.errors:
            row.wrong("account_id", "is missing")
        row.finish()
        self.errors.extend(row.errors)
        return None if row.errors else account

    def finish(self) -> None:
        """Whatever is left was not asked for."""
        if self._given.pop(_TWICE, None):
            self.errors.append(f"{self._inside.rstrip('.')} has a field twice".strip())
        for name in self._given:
            shown = name if _NAME.fullmatch(name) else "a field"
            self.wrong(shown, "is not known here")


def _unfit(value: str, limit: int, shape: re.Pattern[str] | None, *, is_token: bool) -> str:
    """Why a text cannot stand in its field; "" where it can."""
    if len(value) > limit:
        return f"is longer than {limit} characters"
    if not value.isprintable():
        return "has characters that are not UTF-8, or not printable"
    if not is_token and _ANY_TOKEN.search(value):
        return "holds a token, which belongs into access_token alone"
    if shape and not shape.fullmatch(value):
        return "has characters that do not belong there"
    return ""
