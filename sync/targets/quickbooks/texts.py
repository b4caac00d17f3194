"""Names, numbers, notes and addresses, as long as QuickBooks takes them. What is cut is never an amount or an identity."""

import re
from zoneinfo import ZoneInfo

from connections.providers.base import Json
from connections.providers.quickbooks.entities import ENTITIES
from sync.canonical import Address
from sync.targets.quickbooks.countries import ALPHA3

MAX_NOTE, MAX_MEMO, MAX_DESCRIPTION, MAX_EMAIL = 4000, 1000, 4000, 100
MAX_NAME, MAX_ITEM_NAME, MAX_NUMBER, MAX_PHONE = 500, 100, 21, 20
LINE, PLACE, POSTAL_CODE = 500, 255, 30
# Stricter than mail itself: one address, of signs that every part of QuickBooks takes.
_EMAIL = re.compile(r"[^@\s,;]+@[^@\s,;]+\.[^@\s,;.]+")
_SPACE = re.compile(r"\s+")


def longest(entity: str, name: str) -> int:
    """How many characters the field takes."""
    field = ENTITIES[entity].field(name)
    return field.max_length if field else 0


def single_line(text: str) -> str:
    return _SPACE.sub(" ", text).strip()


def tail(text: str, room: int) -> str:
    """Its last characters: numbers and ids differ at their ends."""
    return text[-room:] if room > 0 else ""


def doc_number(prefix: str, number: str) -> str:
    """The prefix, and as much of the number's end as there is room for."""
    return prefix[:MAX_NUMBER] + tail(single_line(number), MAX_NUMBER - len(prefix))


def display_name(name: str, mark: str = "") -> str:
    """For a customer: without what is forbidden, with the mark at its end whatever has to be cut."""
    clean = single_line(name.replace(":", "-"))
    return clean[: MAX_NAME - len(mark)].rstrip() + mark


def item_name(name: str, choice: str = "", mark: str = "") -> str:
    """For an item: `Parent - choice`, of which the parent is cut first, since the choice tells variations apart."""
    name, choice = (single_line(text.replace(":", "-").replace('"', "''")) for text in (name, choice))
    end = (f" - {choice}" if choice and name else choice)[: MAX_ITEM_NAME // 2] + mark
    return name[: MAX_ITEM_NAME - len(end)].rstrip() + end


def email(text: str) -> str:
    """One that QuickBooks takes, else ""."""
    found = text.strip()
    return found if len(found) <= MAX_EMAIL and _EMAIL.fullmatch(found) else ""


def phone(text: str) -> str:
    """As it was written where there is room, else its digits, else "": half a number is none."""
    found = single_line(text)
    if len(found) > MAX_PHONE:
        found = "".join(sign for sign in found if sign.isdigit() or sign == "+")
    return found if len(found) <= MAX_PHONE else ""


def address(where: Address) -> Json | None:
    """None for one that is no place. Countries are told by three letters, as QuickBooks does."""
    if not where.is_place:
        return None
    lines = [text for text in (where.line1, where.line2, where.line3, where.line4, where.line5) if text]
    told = {f"Line{number}": text[: 400 if number > 1 else LINE - 100] for number, text in enumerate(lines, 1)}
    told |= {
        "City": where.city[:PLACE],
        "CountrySubDivisionCode": where.region[:PLACE],
        "PostalCode": where.postal_code[:POSTAL_CODE],
        "Country": ALPHA3.get(where.country.upper(), where.country)[:PLACE],
    }
    return {name: text for name, text in told.items() if text}


def is_zone(name: str) -> bool:
    try:
        return bool(name and ZoneInfo(name))
    except (OSError, ValueError, KeyError):
        return False
