"""The real addresses, and two that ask for everything there is: only row-level security stands between the workspaces."""

from collections.abc import Iterator

from django.http import StreamingHttpResponse
from django.urls import path
from rest_framework.response import Response

from config import urls
from connections.api.base import WorkspaceView
from connections.models import Account, Connection, Role
from sync.models import SyncFailure, SyncRun, Transaction

MODELS = (Connection, Account, Transaction, SyncRun, SyncFailure)


class Everything(WorkspaceView):
    """Ids of rows of every kind, without a filter of ours."""

    roles = {"GET": Role.VIEWER}

    def get(self, request):
        return Response(
            {"results": [str(pk) for model in MODELS for pk in model.objects.values_list("pk", flat=True)[:30]]}
        )


class Streamed(WorkspaceView):
    """The same a piece at a time, each asked for while the answer is on its way."""

    roles = {"GET": Role.VIEWER}

    def get(self, request):
        return StreamingHttpResponse(self._pieces(), content_type="text/plain")

    def _pieces(self) -> Iterator[str]:
        for _ in range(4):
            for model in MODELS:
                yield "".join(f"{pk}\n" for pk in model.objects.values_list("pk", flat=True)[:30])


urlpatterns = [
    path("api/v1/raw/everything", Everything.as_view()),
    path("api/v1/raw/stream", Streamed.as_view()),
    *urls.urlpatterns,
]
handler400, handler403, handler404, handler500 = urls.handler400, urls.handler403, urls.handler404, urls.handler500
