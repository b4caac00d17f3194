"""What WordPress and WooCommerce say when they refuse: one exception, many codes."""

from __future__ import annotations

from typing import Any

CANNOT = {
    "view_list": ("woocommerce_rest_cannot_view", "Sorry, you cannot list resources."),
    "view": ("woocommerce_rest_cannot_view", "Sorry, you cannot view this resource."),
    "create": ("woocommerce_rest_cannot_create", "Sorry, you are not allowed to create resources."),
    "edit": ("woocommerce_rest_cannot_edit", "Sorry, you are not allowed to edit this resource."),
    "delete": ("woocommerce_rest_cannot_delete", "Sorry, you are not allowed to delete this resource."),
    "batch": ("woocommerce_rest_cannot_batch", "Sorry, you are not allowed to batch manipulate this resource."),
}


class WooError(Exception):
    """An answer with `code`, `message` and `data`. Some of the shop's own errors carry a bare number as data."""

    def __init__(self, status: int, code: str, message: str, *, bare: int | None = None, **data: Any):
        super().__init__(code)
        self.status = status
        self.code = code
        self.message = message
        self.data: Any = {"status": status, **data} if bare is None else bare

    def body(self) -> dict[str, Any]:
        return {"code": self.code, "message": self.message, "data": self.data}


def no_route() -> WooError:
    return WooError(404, "rest_no_route", "No route was found matching the URL and request method.")


def cannot(verb: str, *, is_known: bool) -> WooError:
    """The caller has no right to `verb`: 401 for nobody, 403 for somebody."""
    code, message = CANNOT[verb]
    return WooError(403 if is_known else 401, code, message)


def invalid(problems: dict[str, tuple[str, str]]) -> WooError:
    """Query or body parameters that do not fit. `problems`: {name: (code, sentence)}."""
    details = {name: {"code": code, "message": text, "data": None} for name, (code, text) in problems.items()}
    texts = {name: text for name, (_code, text) in problems.items()}
    message = f"Invalid parameter(s): {', '.join(problems)}"
    return WooError(400, "rest_invalid_param", message, params=texts, details=details)


def missing(*names: str) -> WooError:
    message = f"Missing parameter(s): {', '.join(names)}"
    return WooError(400, "rest_missing_callback_param", message, params=list(names))


def unauthenticated(message: str, code: str = "woocommerce_rest_authentication_error") -> WooError:
    return WooError(401, code, message)
