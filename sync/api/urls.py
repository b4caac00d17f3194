from django.urls import path

from sync.api import jobs, views

urlpatterns = [
    path("connections/<uuid:connection_id>/refresh", views.RefreshView.as_view(), name="connection-refresh"),
    path(
        "connections/<uuid:connection_id>/transactions",
        views.TransactionsView.as_view(),
        name="connection-transactions",
    ),
    path("jobs/plaid/process", jobs.ProcessView.as_view(), name="jobs-plaid-process"),
    path("jobs/plaid/safety-net", jobs.SafetyNetView.as_view(), name="jobs-plaid-safety-net"),
    path("jobs/plaid/cleanup", jobs.CleanupView.as_view(), name="jobs-plaid-cleanup"),
    path(
        "connections/<uuid:connection_id>/subscriptions",
        views.SubscriptionsView.as_view(),
        name="connection-subscriptions",
    ),
    path("sync/status", views.RunsView.as_view(), name="sync-status"),
    path("sync/status/<uuid:sync_id>", views.RunView.as_view(), name="sync-status-one"),
]
