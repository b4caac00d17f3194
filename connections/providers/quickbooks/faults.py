"""QuickBooks' faults, as they are found on the wire: JSON in two casings, XML, and also below HTTP 200.

Source: Intuit developer docs, "Error codes"; the shapes of the gateway's answers as public clients record them.
"""

import html
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from connections import bodies

MAX_XML = 64 << 10
_XML_ERROR = re.compile(r"<(?:\w+:)?Error\b([^>]*?)(?:/>|>(.*?)</(?:\w+:)?Error>)", re.DOTALL | re.IGNORECASE)
_XML_TYPE = re.compile(r"<(?:\w+:)?Fault\b[^>]*?\btype=[\"']([^\"']*)", re.IGNORECASE)
_XML_ATTRIBUTE = re.compile(r"(\w+)\s*=\s*[\"']([^\"']*)[\"']")
_XML_PART = re.compile(r"<(?:\w+:)?(Message|Detail)\b[^>]*>(.*?)</(?:\w+:)?\1>", re.DOTALL | re.IGNORECASE)
_CODE_IN_TEXT = re.compile(r"errorCode=\s*(\w+)")


@dataclass(frozen=True, slots=True)
class FaultError:
    """One of a fault's errors. code: without leading zeros, "" where there is none. element: the field it is about, or ""."""

    code: str
    message: str = ""
    detail: str = ""
    element: str = ""

    @property
    def told(self) -> str:
        """What it says, once: message and detail often repeat each other."""
        parts = (self.message, self.detail)
        return ": ".join(part for part in (parts if self.message not in self.detail else parts[1:]) if part)


@dataclass(frozen=True, slots=True)
class Fault:
    type: str
    errors: tuple[FaultError, ...]


def in_body(raw: bytes) -> Fault | None:
    """The fault that an answer holds; None where there is none. Never raises."""
    start = raw[:512].lstrip(b"\xef\xbb\xbf \t\r\n")
    if start.startswith(b"<"):
        return _in_xml(raw[:MAX_XML].decode(errors="replace"))
    if b"ault" not in raw:  # the pages of a pull are long, and hardly one has a fault
        return None
    try:
        return in_json(bodies.from_json(raw))
    except bodies.Unreadable:
        return None


def in_json(value: Any) -> Fault | None:
    """The fault of a decoded answer, or of one member of a batch."""
    if not isinstance(value, dict):
        return None
    fault = value.get("Fault", value.get("fault"))
    if not isinstance(fault, dict):
        return None
    found = fault.get("Error", fault.get("error"))
    listed = found if isinstance(found, list) else [found]
    errors = tuple(_error(each) for each in listed if isinstance(each, dict))
    return Fault(_text(fault, "type"), errors or (FaultError(""),))


def _error(told: Mapping[str, Any]) -> FaultError:
    message = _text(told, "Message") or _text(told, "message")
    detail = _text(told, "Detail") or _text(told, "detail")
    return FaultError(_code(_text(told, "code"), message), message, detail, _text(told, "element"))


def _in_xml(text: str) -> Fault | None:
    """By pattern: no parser is let loose on what a gateway wrote, and half a document still tells."""
    errors = tuple(_xml_errors(text))
    if not errors:
        return None
    kind = _XML_TYPE.search(text)
    return Fault(html.unescape(kind[1]) if kind else "", errors)


def _xml_errors(text: str) -> Iterator[FaultError]:
    for attributes, inner in _XML_ERROR.findall(text):
        named = {name.lower(): html.unescape(value) for name, value in _XML_ATTRIBUTE.findall(attributes)}
        parts = {name.lower(): html.unescape(value).strip() for name, value in _XML_PART.findall(inner)}
        message = parts.get("message", "")
        code = _code(named.get("code", ""), message)
        yield FaultError(code, message, parts.get("detail", ""), named.get("element", ""))


def _code(code: str, message: str) -> str:
    """As the table knows it: the gateway pads with zeros, and sometimes tells it in the message only."""
    found = code or (told[1] if (told := _CODE_IN_TEXT.search(message)) else "")
    return (found.lstrip("0") or found) if found.isdigit() else found


def _text(told: Mapping[str, Any], name: str) -> str:
    value = told.get(name)
    return "" if value is None or isinstance(value, dict | list) else str(value).strip()
