from django.urls import path

from webhooks import views

urlpatterns = [
    path("webhook/plaid", views.plaid, name="webhook-plaid"),
    path("webhook/woocommerce/<uuid:connection_id>", views.woocommerce, name="webhook-woocommerce"),
    path("webhook/quickbooks", views.quickbooks, name="webhook-quickbooks"),
]
