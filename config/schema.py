"""GET /api/schema/. Apart from `config.openapi`, which this view's own base needs while it is being imported."""

from functools import cache
from typing import Any

from drf_spectacular.views import SpectacularAPIView
from rest_framework.request import Request
from rest_framework.response import Response


class SchemaView(SpectacularAPIView):
    """The API's description, made once a process: it needs no login, and making it takes a while."""

    def _get_schema_response(self, request: Request) -> Response:
        name = self._get_filename(request, None)
        return Response(_schema(), headers={"Content-Disposition": f'inline; filename="{name}"'})


@cache
def _schema() -> dict[str, Any]:
    return SchemaView.generator_class().get_schema(request=None, public=True)
