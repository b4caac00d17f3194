from django.apps import AppConfig


class SyncConfig(AppConfig):
    name = "sync"

    def ready(self) -> None:
        from connections.events import EventType, event_subscribe
        from sync.services import subscriptions

        event_subscribe(
            EventType.CONNECTION_ACTIVATED, name="subscriptions-begin", handler=subscriptions.on_connection_activated
        )
        event_subscribe(
            EventType.CONNECTION_DISCONNECTED,
            name="subscriptions-end",
            handler=subscriptions.on_connection_disconnected,
        )
