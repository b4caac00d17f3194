"""Lists in pages: `{next, previous, results}`, newest first, by position instead of by number.

A page begins after the last row of the one before, whatever was added or removed meanwhile; rows that are equal in the
first key are told apart by the second, so none is skipped or doubled. The position is one comparison of a row value,
which the index answers however many rows share a date.
"""

from typing import Any, ClassVar
from urllib.parse import urlencode

from django.conf import settings
from django.core import signing
from django.db.models import QuerySet
from django.db.models.fields.tuple_lookups import Tuple, TupleGreaterThan, TupleLessThan
from django.utils.encoding import escape_uri_path
from rest_framework.pagination import BasePagination
from rest_framework.request import Request
from rest_framework.response import Response

from connections.errors import RequestError

PAGE_SIZE = 50
_CURSOR_LIMIT = 500


class KeysetPagination(BasePagination):
    """Keys: field names, all descending, the last one unique; an index of theirs has to exist."""

    keys: ClassVar[tuple[str, ...]] = ("id",)
    max_page_size: ClassVar[int] = 100

    def paginate_queryset(self, queryset: Any, request: Request, view: Any = None) -> list[Any]:
        """The rows of the page that the request asks for: one query. Raises RequestError for a bad cursor or size."""
        self._request = request
        size = self._size(request.query_params.get("page_size"))
        is_back, position = self._position(queryset, request.query_params.get("cursor"))
        ordered = queryset.order_by(*(key if is_back else f"-{key}" for key in self.keys))
        if position:
            beyond = TupleGreaterThan if is_back else TupleLessThan
            ordered = ordered.filter(beyond(Tuple(*self.keys), position))
        rows = list(ordered[: size + 1])
        has_more, rows = len(rows) > size, rows[:size]
        if is_back:
            rows.reverse()
        self._next = self._link(rows[-1], is_back=False) if rows and (has_more or is_back) else None
        self._previous = self._link(rows[0], is_back=True) if rows and (has_more if is_back else position) else None
        return rows

    def get_paginated_response(self, data: Any) -> Response:
        return Response({"next": self._next, "previous": self._previous, "results": data})

    @property
    def _signer(self) -> signing.Signer:
        """A cursor of one kind of list means nothing to another."""
        return signing.Signer(salt=f"page:{','.join(self.keys)}")

    def _size(self, given: str | None) -> int:
        if given is None:
            return PAGE_SIZE
        if not (given.isascii() and given.isdecimal()) or not given.strip("0"):
            raise RequestError(fields={"page_size": [f"A whole number from 1 to {self.max_page_size}."]})
        return self.max_page_size if len(given) > 9 else min(int(given), self.max_page_size)

    def _position(self, queryset: QuerySet, cursor: str | None) -> tuple[bool, tuple[Any, ...]]:
        """(whether the page lies before the position, the position)."""
        if cursor is None:
            return False, ()
        try:
            if len(cursor) > _CURSOR_LIMIT:
                raise signing.BadSignature
            is_back, *values = self._signer.unsign_object(cursor)
        except signing.BadSignature:
            raise RequestError(fields={"cursor": ["Not a cursor of this list. Follow next or previous."]}) from None
        fields = [queryset.model._meta.get_field(key) for key in self.keys]
        return bool(is_back), tuple(field.to_python(value) for field, value in zip(fields, values, strict=True))

    def _link(self, row: Any, *, is_back: bool) -> str:
        values = [int(is_back), *(str(getattr(row, key)) for key in self.keys)]
        query = self._request.query_params.copy()
        query["cursor"] = self._signer.sign_object(values)
        pairs = [(name, value) for name, found in query.lists() for value in found]
        return f"{settings.PUBLIC_URL}{escape_uri_path(self._request.path)}?{urlencode(pairs)}"

    # --- for the schema ---
    def get_paginated_response_schema(self, schema: dict[str, Any]) -> dict[str, Any]:
        link = {"type": "string", "format": "uri", "nullable": True}
        example = {"example": "https://causeway.example.com/api/v1/…?cursor=WzAsIjIwMjYi…"}
        properties = {
            "next": link | example | {"description": "The page of older rows; null on the last."},
            "previous": link | {"example": None, "description": "The page of newer rows; null on the first."},
            "results": schema,
        }
        return {"type": "object", "required": list(properties), "properties": properties}

    def get_schema_operation_parameters(self, view: Any) -> list[dict[str, Any]]:
        size = {"type": "integer", "minimum": 1, "default": PAGE_SIZE}
        about_size = f"Rows a page; more than {self.max_page_size} are cut to {self.max_page_size}."
        about_cursor = "A position in the list, as `next` and `previous` carry it. Opaque and signed."
        return [
            {"name": "page_size", "in": "query", "required": False, "description": about_size, "schema": size},
            {
                "name": "cursor",
                "in": "query",
                "required": False,
                "description": about_cursor,
                "schema": {"type": "string"},
            },
        ]
