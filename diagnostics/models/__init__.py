from diagnostics.models.alert import Alert, AlertDelivery
from diagnostics.models.error_event import ErrorEvent

__all__ = ["Alert", "AlertDelivery", "ErrorEvent"]
