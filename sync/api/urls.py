from django.urls import path

from sync.api import flows, jobs, mappings, syncing, views

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
    path("flows", flows.FlowsView.as_view(), name="flows"),
    path("flows/<uuid:flow_id>", flows.FlowView.as_view(), name="flow"),
    path("flows/<uuid:flow_id>/activate", flows.FlowActivateView.as_view(), name="flow-activate"),
    path("flows/<uuid:flow_id>/pause", flows.FlowPauseView.as_view(), name="flow-pause"),
    path("mappings", mappings.MappingsView.as_view(), name="mappings"),
    path("mappings/<uuid:mapping_id>", mappings.MappingView.as_view(), name="mapping"),
    path("mappings/<uuid:mapping_id>/preview", mappings.MappingPreviewView.as_view(), name="mapping-preview"),
    path("sync/status", views.RunsView.as_view(), name="sync-status"),
    path("sync/status/<uuid:sync_id>", views.RunView.as_view(), name="sync-status-one"),
    path("sync/status/<uuid:sync_id>/cancel", syncing.RunCancelView.as_view(), name="sync-status-cancel"),
    path("sync/<slug:entity>", syncing.SyncView.as_view(), name="sync"),  # last: status, retry … are words of their own
]
