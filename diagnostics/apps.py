from django.apps import AppConfig


class DiagnosticsConfig(AppConfig):
    name = "diagnostics"

    def ready(self) -> None:
        from connections.events import event_subscribe
        from diagnostics import checks, receivers  # noqa: F401 - they register themselves
        from diagnostics.services import alerts, notices

        event_subscribe(*alerts.OPENING, *alerts.CLOSING, name="alerts", handler=alerts.alert_on_event)
        event_subscribe(*notices.TYPES, name="notices", handler=notices.notice_on_event)
