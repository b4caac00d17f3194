"""Every address of the installation. A URL prefix is not ownership: the apps' routes meet here."""

from django.contrib import admin
from django.urls import URLPattern, URLResolver, include, path
from django.views.generic import RedirectView
from drf_spectacular.views import SpectacularSwaggerView

from config import problems
from config.schema import SchemaView
from connections.audit import Action, Audited, Decision, NotAudited

api = [
    path("", include("connections.api.urls")),
    path("", include("sync.api.urls")),
    path("", include("webhooks.api.urls")),
    path("", include("diagnostics.api.urls")),
]

urlpatterns: list[URLPattern | URLResolver] = [
    path("api/schema/", SchemaView.as_view(), name="schema"),
    path("api/docs/", SpectacularSwaggerView.as_view(url_name="schema"), name="docs"),
    path("api/v1/", include((api, "v1"))),
    path("api/", include((api, "current"))),
    path("", include("diagnostics.urls")),
    path("", include("webhooks.urls")),
    path("docs/errors/<str:code>", problems.error_page, name="error"),
    path("admin/", admin.site.urls),
    path("", RedirectView.as_view(pattern_name="admin:index"), name="home"),
]

# Views that keep the app role, by route or by everything below one. All others are `WorkspaceView`s: a test walks the table.
APP_ROLE_ROUTES = (
    "/api/v1/auth/token",  # nobody is signed in yet
    "/api/v1/me",  # one person in all their workspaces
    "/api/auth/token",
    "/api/me",
    "/api/v1/jobs/",  # the clock works for all of them
    "/api/jobs/",
    "/api/v1/oauth/",  # nobody has to be signed in: the state says whose it is
    "/api/oauth/",
    "/api/schema/",
    "/api/docs/",
    "/docs/errors/",
    "/healthz",
    "/readyz",
    "/metrics",
    "/webhook/",  # the workspace is known only once the message is
    "/admin/",  # the console sees all workspaces
)

# What is on record of routes whose views are not ours to write it beside.
AUDIT_ELSEWHERE: dict[str, Decision] = {
    "/api/schema/": NotAudited("only reads"),
    "/api/docs/": NotAudited("only reads"),
    "/docs/errors/": NotAudited("only reads"),
    "/admin/": Audited(Action.CONSOLE_CHANGED, Action.SIGNED_IN, Action.SIGN_IN_FAILED, Action.SIGNED_OUT),
    "/": NotAudited("a redirect"),
}

handler400 = problems.bad_request
handler403 = problems.permission_denied
handler404 = problems.page_not_found
handler500 = problems.server_error
