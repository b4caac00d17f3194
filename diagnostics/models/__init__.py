from diagnostics.models.error_event import ErrorEvent

__all__ = ["ErrorEvent"]
