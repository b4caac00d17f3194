"""One vocabulary of states: the same word, tone and icon in lists, pages, answers and mails.

Pure words: nothing here knows a model. Keys are the stored values, plus those that follow from several fields
(`late`, `syncing`, …). Icons are names of Material Symbols. Red is only for what a person must act on.
"""

from dataclasses import dataclass
from enum import StrEnum


class Tone(StrEnum):
    GREEN = "green"
    AMBER = "amber"
    RED = "red"
    BLUE = "blue"
    VIOLET = "violet"
    GREY = "grey"


@dataclass(frozen=True, slots=True)
class State:
    """How one state is shown. Colour never carries the meaning alone: the word and the icon are always there."""

    word: str
    tone: Tone
    icon: str
    needs_person: bool = False


_GREEN, _AMBER, _RED, _BLUE, _VIOLET, _GREY = Tone

CONNECTION = {
    "draft": State("Draft", _GREY, "edit"),
    "verified": State("Verified", _BLUE, "verified"),
    "active": State("Healthy", _GREEN, "check_circle"),
    "late": State("Late", _AMBER, "schedule"),
    "syncing": State("Syncing", _BLUE, "sync"),
    "needs_reauth": State("Needs you", _AMBER, "key", needs_person=True),
    "failed": State("Failing", _RED, "cancel", needs_person=True),
    "paused": State("Paused", _GREY, "pause_circle"),
    "pending_cleanup": State("Leaving soon", _AMBER, "hourglass_empty", needs_person=True),
    "disconnecting": State("Disconnecting", _GREY, "link_off"),
    "disconnected": State("Disconnected", _GREY, "link_off"),
}
RUN = {
    "queued": State("Waiting", _BLUE, "radio_button_unchecked"),
    "running": State("Syncing", _BLUE, "sync"),
    "awaiting_approval": State("Needs approval", _VIOLET, "checklist", needs_person=True),
    "succeeded": State("Succeeded", _GREEN, "check_circle"),
    "partial": State("Succeeded in part", _AMBER, "rule", needs_person=True),
    "failed": State("Failed", _RED, "cancel", needs_person=True),
    "cancelled": State("Cancelled", _GREY, "block"),
}
FLOW = {
    "draft": State("Draft", _GREY, "edit"),
    "active": State("Active", _GREEN, "check_circle"),
    "paused": State("Paused", _GREY, "pause_circle"),
    "removed": State("Removed", _GREY, "delete"),
}
RECORD_LINK = {
    "linked": State("Linked", _GREEN, "check_circle"),
    "skipped": State("Not taken", _GREY, "do_not_disturb_on"),
    "removed": State("Gone at the source", _GREY, "delete"),
}
INTENT = {
    "waiting": State("To be sent", _BLUE, "radio_button_unchecked"),
    "sent": State("Sent, answer not kept yet", _AMBER, "sync"),
    "confirmed": State("Confirmed", _GREEN, "check_circle"),
}
VERIFICATION = {
    "running": State("Asking", _BLUE, "sync"),
    "passed": State("Passed", _GREEN, "check_circle"),
    "failed": State("Failed", _RED, "cancel", needs_person=True),
}
CHECK = {
    "passed": State("Passed", _GREEN, "check_circle"),
    "failed": State("Failed", _RED, "cancel", needs_person=True),
    "warning": State("Warning", _AMBER, "warning"),
    "skipped": State("Not asked", _GREY, "do_not_disturb_on"),
}
FAILED_RECORD = {
    "open": State("Open", _RED, "cancel", needs_person=True),
    "resolved": State("Resolved", _GREEN, "check_circle"),
    "gone": State("Disconnected", _GREY, "link_off"),
}
TRANSACTION = {
    "posted": State("Posted", _GREEN, "check_circle"),
    "pending": State("Pending", _BLUE, "schedule"),
    "removed": State("Removed by the bank", _GREY, "delete"),
}
SUBSCRIPTION = {
    "verified": State("Verified", _GREEN, "check_circle"),
    "unverified": State("Unverified", _GREY, "help"),
    "cancelled": State("Ended", _GREY, "event_busy"),
}
SUBSCRIPTION_FEED = {
    "waiting": State("Not read yet", _BLUE, "radio_button_unchecked"),
    "read": State("Read", _GREEN, "check_circle"),
    "unavailable": State("Not available", _GREY, "do_not_disturb_on"),
    "late": State("Tried again later", _AMBER, "schedule"),
    "ended": State("No longer read", _GREY, "link_off"),
}
ACCOUNT = {
    "active": State("Shared", _GREEN, "check_circle"),
    "missing": State("No longer shared", _AMBER, "help"),
    "archived": State("Removed by its owner", _GREY, "delete"),
}
LINK = {
    "open": State("Waiting for the person", _BLUE, "radio_button_unchecked"),
    "finished": State("Finished", _GREEN, "check_circle"),
    "exited": State("Left without connecting", _GREY, "logout"),
    "expired": State("Expired", _GREY, "timer_off"),
    "failed": State("Failed", _RED, "cancel", needs_person=True),
}
EXCHANGE = {
    "started": State("Started", _BLUE, "sync"),
    "completed": State("Completed", _GREEN, "check_circle"),
    "refused": State("Refused by Plaid", _AMBER, "block"),
    "unknown": State("Outcome unknown", _RED, "help", needs_person=True),
}
SIGN_IN = {
    "open": State("Waiting for the person", _BLUE, "radio_button_unchecked"),
    "started": State("Answered, being finished", _BLUE, "sync"),
    "completed": State("Completed", _GREEN, "check_circle"),
    "refused": State("Refused", _AMBER, "block"),
    "unknown": State("Answer lost", _RED, "help", needs_person=True),
}
ROTATION = {
    "started": State("Started", _BLUE, "sync"),
    "completed": State("Replaced", _GREEN, "check_circle"),
    "refused": State("Not replaced", _AMBER, "block"),
    "unknown": State("Outcome unknown", _RED, "help", needs_person=True),
}
TOKEN = {
    "valid": State("Valid", _GREEN, "check_circle"),
    "expired": State("Expired", _GREY, "timer_off"),
    "revoked": State("Revoked", _GREY, "block"),
}
WEBHOOK = {
    "received": State("Waiting", _BLUE, "radio_button_unchecked"),
    "processed": State("Processed", _GREEN, "check_circle"),
    "ignored": State("Ignored", _GREY, "do_not_disturb_on"),
    "failed": State("Failed", _RED, "cancel", needs_person=True),
}
EVENT = {
    "waiting": State("Waiting", _BLUE, "radio_button_unchecked"),
    "told": State("Told", _GREEN, "check_circle"),
    "parked": State("Parked", _RED, "cancel", needs_person=True),
}
ALERT = {
    "open": State("Open", _RED, "notifications_active", needs_person=True),
    "recovered": State("Recovered", _GREEN, "check_circle"),
}
ALERT_DELIVERY = {
    "waiting": State("Waiting", _BLUE, "radio_button_unchecked"),
    "sent": State("Sent", _GREEN, "check_circle"),
    "given_up": State("Given up", _RED, "cancel", needs_person=True),
}
ERROR = {
    "ours": State("Ours to mend", _RED, "bug_report", needs_person=True),
    "theirs": State("The caller's", _GREY, "person"),
}
OVERALL = {
    "well": State("All is well", _GREEN, "check_circle"),
    "attention": State("Something needs a person", _AMBER, "notifications"),
    "empty": State("Nothing is connected yet", _GREY, "hub"),
}
ENVIRONMENT = {
    "sandbox": State("Sandbox", _VIOLET, "science"),
    "production": State("Production", _GREY, "public"),
}


def state(vocabulary: dict[str, State], key: str) -> State:
    """The state of this stored value; one that nobody has worded yet shows itself."""
    return vocabulary.get(key) or State(key.replace("_", " ").capitalize() or "–", _GREY, "help")
