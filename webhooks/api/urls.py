from django.urls import path

from webhooks.api import views

urlpatterns = [
    path("webhook-events", views.EventsView.as_view(), name="webhook-events"),
    path("webhook-events/<uuid:event_id>", views.EventView.as_view(), name="webhook-event"),
    path("webhook-events/<uuid:event_id>/replay", views.ReplayView.as_view(), name="webhook-event-replay"),
    path("settings/webhooks", views.SettingsView.as_view(), name="settings-webhooks"),
]
