"""Connecting the demo's places: drafted, let in, verified and activated, as a person would.

A start finds what an earlier one has made, goes on where that one was killed, and follows simulators that listen on
another port by now. What its owner has disconnected, paused or configured otherwise stays as it is.
"""

import time
from collections.abc import Callable

from django.core.management.base import CommandError

from connections.errors import CausewayError
from sync.management.demo.api import Api, Json
from sync.management.demo.places import PLACES, Place

PATIENCE_S = 60
AT_WORK = ("active", "needs_reauth", "failed")

Say = Callable[[str], object]


def places_link(api: Api, say: Say) -> None:
    """Connect what is not connected. What goes wrong with one keeps none of the others."""
    for place in PLACES:
        try:
            say(f"{place.name}: {_linked(api, place)}")
        except (CausewayError, CommandError) as error:
            say(f"{place.name} could not be connected: {error} The next start tries again.")


def _linked(api: Api, place: Place) -> str:
    address = place.address(api)
    known = [one for one in api.connections() if one["provider"] == place.provider and place.leads_here(one, address)]
    if settled := [one for one in known if not _is_unfinished(one)]:
        work = [_moved(api, one, address) for one in settled if _has_moved(one, address)]
    else:
        work = known[:1] or [_drafted(api, place, address)]
    for connection in work:
        _finish(api, place, connection)
    return "connected." if work else "connected already."


def _is_unfinished(connection: Json) -> bool:
    """Whether a start was killed over it: a draft that has worked before is one of its owner's."""
    never_worked = connection["status"] == "draft" and connection["last_verified_at"] is None
    return never_worked or connection["status"] == "verified"


def _has_moved(connection: Json, address: Json) -> bool:
    is_elsewhere = any(connection["config"].get(name) != value for name, value in address.items())
    return is_elsewhere and connection["status"] in AT_WORK


def _moved(api: Api, connection: Json, address: Json) -> Json:
    return api.patch(f"connections/{connection['id']}", {"config": address})


def _drafted(api: Api, place: Place, address: Json) -> Json:
    draft = {"provider": place.provider, "name": place.name, "environment": "sandbox"}
    return api.post("connections", draft | {"config": address, "credentials": place.secrets(api)})


def _finish(api: Api, place: Place, connection: Json) -> None:
    path = f"connections/{connection['id']}"
    place.admit(api, connection)
    verification = api.post(f"{path}/verify", wait=1)
    give_up_at = time.monotonic() + PATIENCE_S
    while verification["status"] == "running":
        if time.monotonic() > give_up_at:
            raise CommandError("Nobody has verified it in time: is the worker running?")
        time.sleep(0.5)
        verification = api.get(path)["verification"]
    if failed := [check for check in verification["checks"] if check["status"] == "failed"]:
        raise CommandError(" ".join(f"{check['name']}: {check['cause']} {check['remediation']}" for check in failed))
    api.post(f"{path}/activate")
