"""Intuit's faults: what each code means, and the three shapes in which one arrives."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any
from xml.sax.saxutils import escape, quoteattr

from . import exact

VALIDATION, SYSTEM, AUTHORIZATION = "ValidationFault", "SystemFault", "AuthorizationFault"

# code: (HTTP status, type, message)
CODES: dict[str, tuple[int, str, str]] = {
    "120": (401, AUTHORIZATION, "Authorization Failure"),
    "500": (400, VALIDATION, "Unsupported Operation"),
    "610": (400, VALIDATION, "Object Not Found"),
    "2010": (400, VALIDATION, "Request has invalid or unsupported property"),
    "2020": (400, VALIDATION, "Required param missing, need to supply the required value for the API"),
    "2030": (400, VALIDATION, "Invalid ID"),
    "2050": (400, VALIDATION, "String length is either shorter or longer than supported by specification"),
    "2090": (400, VALIDATION, "Invalid Number"),
    "2170": (400, VALIDATION, "Invalid Enumeration"),
    "2500": (400, VALIDATION, "Invalid Reference Id"),
    "3001": (429, "SERVICE", "ThrottleExceeded"),
    "3100": (403, "AUTHORIZATION", "ApplicationAuthorizationFailed"),
    "3200": (401, "AUTHENTICATION", "AuthenticationFailed"),
    "3201": (403, "AUTHORIZATION", "UserNotAuthorized"),
    "4000": (400, VALIDATION, "Error parsing query"),
    "4001": (400, VALIDATION, "Invalid query"),
    "5010": (400, VALIDATION, "Stale Object Error"),
    "5020": (403, VALIDATION, "Permission Denied Error"),
    "5030": (400, VALIDATION, "Feature Not Supported Error"),
    "6000": (400, VALIDATION, "A business validation error has occurred while processing your request"),
    "6070": (400, VALIDATION, "Amount calculation incorrect in the request."),
    "6080": (400, VALIDATION, "Name is missing"),
    "6090": (400, VALIDATION, "Invalid discount"),
    "6100": (400, VALIDATION, "Invalid line item tax code"),
    "6140": (400, VALIDATION, "Duplicate Document Number Error"),
    "6190": (400, VALIDATION, "Invalid Company Status"),
    "6210": (400, VALIDATION, "Account Period Closed, Cannot Update Through Services Error"),
    "6240": (400, VALIDATION, "Duplicate Name Exists Error"),
    "6430": (400, VALIDATION, "Invalid account type"),
    "6540": (400, VALIDATION, "Deposited Transaction cannot be changed"),
    "10000": (500, SYSTEM, "An application error has occurred while processing your request"),
}
GATEWAY = frozenset({"3001", "3100", "3200", "3201"})  # answered before the books are asked: lower case, or XML


@dataclass(frozen=True, slots=True)
class Problem:
    """One error of a fault."""

    code: str
    detail: str = ""
    element: str = ""
    message: str | None = None

    @property
    def text(self) -> str:
        return self.message or CODES.get(self.code, (400, VALIDATION, "Unknown Error"))[2]

    def shown(self) -> dict[str, Any]:
        detail = f"{self.text} : {self.detail}" if self.detail else self.text
        return {"Message": self.text, "Detail": detail, "code": self.code, "element": self.element}


class QuickBooksFault(Exception):
    """A refusal. `problems`: the first decides the status and the type."""

    def __init__(self, *problems: Problem, status: int | None = None, kind: str | None = None):
        known = CODES.get(problems[0].code, (400, VALIDATION, ""))
        super().__init__(problems[0].code)
        self.problems = problems
        self.status = status or known[0]
        self.kind = kind or known[1]

    @property
    def code(self) -> str:
        return self.problems[0].code

    def shown(self) -> dict[str, Any]:
        """What stands under `Fault`."""
        return {"Error": [problem.shown() for problem in self.problems], "type": self.kind}

    def body(self, now: str, form: str | None = None) -> tuple[bytes, str]:
        """(body, content type). `form`: upper, lower or xml; None takes the one the code comes in by nature."""
        form = form or ("xml" if self.code == "3001" else "lower" if self.code in GATEWAY else "upper")
        if form == "xml":
            return self._xml(now), "application/xml"
        if form == "lower":
            return exact.dumps(self._lower()), "application/json"
        return exact.dumps({"Fault": self.shown(), "time": now}), "application/json"

    def _lower(self) -> dict[str, Any]:
        errors = []
        for problem in self.problems:
            message = f"message={problem.text}; errorCode={problem.code:0>6}; statusCode={self.status}"
            errors.append({"message": message, "detail": problem.detail, "code": problem.code, "element": None})
        empty = dict.fromkeys(("warnings", "intuitObject", "report", "queryResponse", "requestId", "status"))
        lists: dict[str, Any] = {"batchItemResponse": [], "attachableResponse": [], "cdcresponse": []}
        return {"fault": {"error": errors, "type": self.kind}, "time": int(time.time() * 1000)} | empty | lists

    def _xml(self, now: str) -> bytes:
        errors = ""
        for problem in self.problems:
            padded = f"{problem.code:0>6}" if self.code in GATEWAY else problem.code
            text = f"message={problem.text}; errorCode={padded}; statusCode={self.status}"
            detail = f"<Detail>{escape(problem.detail)}</Detail>" if problem.detail else ""
            errors += f"<Error code={quoteattr(padded)}><Message>{escape(text)}</Message>{detail}</Error>"
        return (
            '<?xml version="1.0" encoding="UTF-8" standalone="yes"?>'
            f'<IntuitResponse time={quoteattr(now)} xmlns="http://schema.intuit.com/finance/v3">'
            f"<Fault type={quoteattr(self.kind)}>{errors}</Fault></IntuitResponse>"
        ).encode()


def fault(code: str, detail: str = "", element: str = "", **more: Any) -> QuickBooksFault:
    """The fault with one error."""
    return QuickBooksFault(Problem(code, detail, element), **more)
