from django.urls import path

from sync.api import views

urlpatterns = [
    path("connections/<uuid:connection_id>/refresh", views.RefreshView.as_view(), name="connection-refresh"),
    path(
        "connections/<uuid:connection_id>/transactions",
        views.TransactionsView.as_view(),
        name="connection-transactions",
    ),
    path("sync/status", views.RunsView.as_view(), name="sync-status"),
    path("sync/status/<uuid:sync_id>", views.RunView.as_view(), name="sync-status-one"),
]
