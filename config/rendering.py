"""JSON in and out, by orjson: exact, strict, twenty times as fast as the standard library's way."""

from decimal import Decimal
from typing import Any

import orjson
from django.conf import settings
from django.core.exceptions import RequestDataTooBig
from django.utils.http import parse_header_parameters
from rest_framework.exceptions import ParseError, UnsupportedMediaType
from rest_framework.parsers import BaseParser
from rest_framework.renderers import BaseRenderer


def _default(value: Any) -> str:
    if isinstance(value, Decimal):
        return format(value, "f")
    return str(value)  # lazy strings, UUIDs


class JSONRenderer(BaseRenderer):
    """UTF-8 JSON; money as strings, instants in UTC with Z."""

    media_type = "application/json"
    format = "json"
    charset = None

    def render(self, data: Any, accepted_media_type: Any = None, renderer_context: Any = None) -> bytes:
        if data is None:
            return b""
        return orjson.dumps(data, default=_default, option=orjson.OPT_UTC_Z | orjson.OPT_NON_STR_KEYS)


class JSONParser(BaseParser):
    """A JSON object in UTF-8. Anything else, NUL characters included, is a ParseError; too much of it RequestDataTooBig.

    Raises UnsupportedMediaType where the headers say that it is compressed or in another charset.
    """

    media_type = "application/json"

    def parse(self, stream: Any, media_type: Any = None, parser_context: Any = None) -> dict[str, Any]:
        _refuse_encoded(media_type, (parser_context or {}).get("request"))
        limit = settings.DATA_UPLOAD_MAX_MEMORY_SIZE
        body = stream.read(limit + 1)
        if len(body) > limit:
            raise RequestDataTooBig(f"The body is larger than {limit} bytes.")
        if not body.strip():
            return {}
        try:
            data = orjson.loads(body)
            has_nul = b"\\u0000" in body and _holds_nul(data)
        except orjson.JSONDecodeError as error:
            raise ParseError(f"The body is not valid JSON: {error}") from None
        except RecursionError:
            raise ParseError("The body is nested too deeply.") from None
        if not isinstance(data, dict):
            raise ParseError("The body must be a JSON object.")
        if has_nul:
            raise ParseError("The body holds a NUL character, which no field accepts.")
        return data


def _refuse_encoded(media_type: str | None, request: Any) -> None:
    charset = parse_header_parameters(media_type or "")[1].get("charset", "utf-8")
    if charset.lower() not in ("utf-8", "utf8"):
        raise UnsupportedMediaType(
            str(media_type), "The body has to be in UTF-8; its Content-Type names another charset."
        )
    coding = request.META.get("HTTP_CONTENT_ENCODING", "") if request is not None else ""
    if coding.strip().lower() not in ("", "identity"):
        raise UnsupportedMediaType(
            str(media_type), "The body has to be plain; its Content-Encoding names a compression."
        )


def _holds_nul(value: Any) -> bool:
    if isinstance(value, str):
        return "\0" in value
    if isinstance(value, dict):
        return any(_holds_nul(key) or _holds_nul(item) for key, item in value.items())
    return isinstance(value, list) and any(_holds_nul(item) for item in value)
