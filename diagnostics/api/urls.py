from django.urls import path

from diagnostics.api import views

urlpatterns = [path("integrations/health", views.IntegrationsHealthView.as_view(), name="integrations-health")]
