from django.urls import path

from connections.api import oauth, views

urlpatterns = [
    path("auth/token", views.TokenView.as_view(), name="token"),
    path("me", views.MeView.as_view(), name="me"),
    path("connections", views.ConnectionsView.as_view(), name="connections"),
    path("connections/<uuid:connection_id>", views.ConnectionView.as_view(), name="connection"),
    path("connections/<uuid:connection_id>/verify", views.VerifyView.as_view(), name="connection-verify"),
    path("connections/<uuid:connection_id>/activate", views.ActivateView.as_view(), name="connection-activate"),
    path("connections/<uuid:connection_id>/pause", views.PauseView.as_view(), name="connection-pause"),
    path("connections/<uuid:connection_id>/resume", views.ResumeView.as_view(), name="connection-resume"),
    path("connections/<uuid:connection_id>/accounts", views.AccountsView.as_view(), name="connection-accounts"),
    path(
        "connections/<uuid:connection_id>/accounts/<uuid:account_id>",
        views.AccountView.as_view(),
        name="connection-account",
    ),
    path(
        "connections/<uuid:connection_id>/oauth/authorize",
        oauth.AuthorizeView.as_view(),
        name="connection-oauth-authorize",
    ),
    path("oauth/<slug:provider>/callback", oauth.CallbackView.as_view(), name="oauth-callback"),
    path("plaid/link-token", views.LinkTokenView.as_view(), name="plaid-link-token"),
    path("plaid/exchange-token", views.ExchangeTokenView.as_view(), name="plaid-exchange-token"),
    path("plaid/sync", views.PlaidSyncView.as_view(), name="plaid-sync"),
    path("plaid/refresh-metadata", views.PlaidRefreshMetadataView.as_view(), name="plaid-refresh-metadata"),
    path("security-events", views.SecurityEventsView.as_view(), name="security-events"),
]
