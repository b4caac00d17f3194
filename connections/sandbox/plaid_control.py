"""The control endpoint, /plaid/_control/...: set the scene, inject faults, read the truth. JSON in, JSON out.

Never part of the wire protocol. Reference: docs/reference/simulators.md.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import orjson

from . import exact, plaid_changes
from .plaid_errors import ERRORS
from .plaid_institutions import INSTITUTIONS
from .plaid_items import HISTORICAL, Item
from .plaid_world import USERS, account_event, new_access_token, timestamp, today
from .wire import Request, Response

if TYPE_CHECKING:
    from .plaid import PlaidSimulator

ERROR_STATES = (None, *ERRORS)


def handle(simulator: PlaidSimulator, request: Request) -> Response:
    """Answer 200 with what was done, 400 with why not, 404 for a path or Item that is not there."""
    try:
        body = exact.parse(request.body) if request.body else {}
        shown = Control(simulator, request, body).answer()
    except KeyError as error:
        return Response(status=404, body=exact.dumps({"error": f"not found: {error.args[0]}"}))
    except (ValueError, TypeError) as error:
        return Response(status=400, body=exact.dumps({"error": str(error)}))
    return Response(body=exact.dumps(shown))


class Control:
    """One control request."""

    def __init__(self, simulator: PlaidSimulator, request: Request, body: Any):
        if not isinstance(body, dict):
            raise TypeError("the body must be an object")
        self.simulator = simulator
        self.world = simulator.world
        self.request = request
        self.query = request.query
        self.body: dict[str, Any] = body

    def answer(self) -> Any:
        names = self.request.path.removeprefix("/_control/").strip("/").split("/")
        verb = self.request.method.lower()
        if names[0] == "items" and len(names) > 1:
            item = self.world.items[names[1]]
            action = getattr(self, f"{verb}_item_{names[2] if len(names) > 2 else 'whole'}", None)
            if action is None or len(names) > 3:
                raise KeyError(self.request.path)
            return action(item)
        action = getattr(self, f"{verb}_{'_'.join(names)}", None)
        if action is None:
            raise KeyError(self.request.path)
        return action()

    # --- the whole simulator ---

    def post_reset(self) -> dict[str, Any]:
        simulator = self.simulator
        self.world.reset()
        simulator.faults.clear()
        simulator.courier.clear()
        simulator.requests.clear()
        simulator.limits.restore()
        simulator.limits.enabled = simulator.has_limits
        return {"reset": True}

    def get_log(self) -> dict[str, Any]:
        after = int(self.query.get("after", 0))
        item_id = self.query.get("item_id")
        rows = [row for row in list(self.simulator.requests) if row["seq"] > after]
        return {"requests": [row for row in rows if item_id in (None, row["item_id"])]}

    def get_seed(self) -> dict[str, Any]:
        """What there is to link: banks and user names."""
        banks = [
            {"institution_id": bank.institution_id, "name": bank.name, "country": bank.country, "oauth": bank.oauth}
            for bank in INSTITUTIONS.values()
        ]
        users = [{"username": name, "password": "pass_good"} for name in (*USERS, "user_locked")]
        return {"institutions": banks, "users": users, "client_id": self.simulator.client_id}

    def post_faults(self) -> dict[str, Any]:
        return self.simulator.faults.add(orjson.loads(self.request.body))

    def get_faults(self) -> dict[str, Any]:
        return {"faults": self.simulator.faults.listed()}

    def delete_faults(self) -> dict[str, Any]:
        given = self.query.get("id")
        return {"cleared": self.simulator.faults.clear(int(given) if given else None)}

    def post_limits(self) -> dict[str, Any]:
        return self.simulator.limits.change(**orjson.loads(self.request.body or b"{}"))

    get_limits = post_limits

    def post_keys_rotate(self) -> dict[str, Any]:
        return {"kid": self.world.rotate_key().kid}

    def get_keys(self) -> dict[str, Any]:
        return {"keys": [key.jwk() for key in self.world.keys.values()]}

    def post_keys_sign(self) -> dict[str, Any]:
        """For whoever delivers by himself: the header of each of these bodies (texts), signed now."""
        key = self.world.current_key()
        return {"signatures": [key.sign(body.encode()) for body in self.body["bodies"]]}

    def get_webhooks(self) -> dict[str, Any]:
        after = int(self.query.get("after", 0))
        rows = self.simulator.courier.log(after)
        item_id = self.query.get("item_id")
        return {"webhooks": [row for row in rows if item_id in (None, row["item_id"])]}

    def get_links(self) -> dict[str, Any]:
        return {
            "links": [
                {
                    "link_token": link.token,
                    "item_id": link.item_id,
                    "update": link.request.get("update"),
                    "finished": link.is_finished,
                    "expires_at": link.expires_at,
                }
                for link in self.world.links.values()
            ]
        }

    def post_links(self) -> dict[str, Any]:
        """Let a link token expire now, so that a test need not wait four hours."""
        link = self.world.links[self.body["link_token"]]
        link.expires_at = time.time() - 1
        return {"link_token": link.token, "expires_at": link.expires_at}

    def post_public_tokens(self) -> dict[str, Any]:
        """Let a public token expire now."""
        known = self.world.public_tokens[self.body["public_token"]]
        known["expires_at"] = time.time() - 1
        return dict(known)

    # --- Items ---

    def get_items(self) -> dict[str, Any]:
        return {"items": [_shown(item) for item in list(self.world.items.values())]}

    def post_items(self) -> dict[str, Any]:
        body = dict(self.body)
        ready = body.pop("ready", HISTORICAL)
        given = {
            "institution_id": body.pop("institution_id", "ins_109508"),
            "username": body.pop("username", "user_good"),
            "ready": None if ready == "soon" else ready,
        }
        if given["institution_id"] not in INSTITUTIONS:
            raise KeyError(given["institution_id"])
        if ready not in ("historical", "initial", "not_ready", "soon"):
            raise ValueError("ready must be historical, initial, not_ready or soon")
        allowed = {"seed", "transactions", "accounts", "raw_log", "webhook", "days", "life"}
        if unknown := set(body) - allowed:
            raise ValueError(f"unknown: {', '.join(sorted(unknown))}")
        item = self.world.create_item(**given, **body)
        public_token = self.world.public_token(item)
        with self.world.lock:
            self.world.record({"e": "access_token", "item_id": item.item_id, "access_token": new_access_token()})
        return _shown(item) | {
            "access_token": item.access_token,
            "public_token": public_token,
            "account_ids": [account.account_id for account in item.accounts],
        }

    def get_item_whole(self, item: Item) -> dict[str, Any]:
        with item.lock:
            return _shown(item) | {
                "accounts": [account.shown() | {"open": account.is_open} for account in item.accounts]
            }

    def post_item_ops(self, item: Item) -> dict[str, Any]:
        ops = self.body.get("ops") or []
        with item.lock:
            changes = plaid_changes.Changes(item, today())
            for op in ops:
                changes.resolve(op)
            self.world.change(item, changes)
            head = item.log.head
        if self.body.get("fire_webhook"):
            self.simulator.clock.announce(item)
        return {"transaction_ids": changes.ids, "head": head}

    def post_item_state(self, item: Item) -> dict[str, Any]:
        with item.lock:
            for name, value in self.body.items():
                change = getattr(self, f"_state_{name}", None)
                if change is None:
                    raise ValueError(f"unknown state: {name}")
                change(item, value)
        return self.get_item_whole(item)

    def _record_state(self, item: Item, **fields: Any) -> None:
        self.world.record({"e": "state", "item_id": item.item_id} | fields)

    def _state_login_required(self, item: Item, value: bool) -> None:
        self._record_state(item, error_code="ITEM_LOGIN_REQUIRED" if value else None)

    def _state_error_code(self, item: Item, value: str | None) -> None:
        if value not in ERROR_STATES:
            raise ValueError(f"unknown error_code: {value}")
        self._record_state(item, error_code=value)

    def _state_consent_expiration_time(self, item: Item, value: str | None) -> None:
        self._record_state(item, consent_expires_at=value)

    def _state_disown_cursors(self, item: Item, value: bool) -> None:
        if value:
            self._record_state(item, generation=item.generation + 1)

    def _state_life(self, item: Item, value: bool) -> None:
        self._record_state(item, has_life=bool(value))

    def _state_ready(self, item: Item, value: str) -> None:
        self.simulator.clock.arrive(item, value)

    def _state_remove_account(self, item: Item, value: str) -> None:
        """The account is closed or no longer shared: it vanishes, its transactions stay in the log."""
        self._change_account(item, value, is_open=False)

    def _state_remove_account_transactions(self, item: Item, value: str) -> None:
        """The account vanishes and takes its transactions with it."""
        self._change_account(item, value, is_open=False)
        changes = plaid_changes.Changes(item, today())
        for index in [index for index in item.log.live_rows() if item.account_id_of(index) == value]:
            changes.remove(index)
        self.world.change(item, changes)

    def _state_add_account(self, item: Item, value: dict[str, Any]) -> None:
        """A new account at the same bank: {"kind": its place in the bank's list, "transactions": how many}."""
        add_account(self.simulator, item, int(value.get("kind", 0)), int(value.get("transactions", 20)))

    def _state_rename_account(self, item: Item, value: Any) -> None:
        """Account churn: the account comes back under a new id (and name); its rows leave and come back with it.

        `value`: an account id, or {"account_id", "name"?, "keep_id"?: only the name changes}.
        """
        given = {"account_id": value} if isinstance(value, str) else dict(value)
        old = item.account(given["account_id"])
        if given.get("keep_id"):
            self._change_account(item, old.account_id, name=given["name"])
            return
        bank_kind = next(
            (kind for kind in item.bank.accounts if kind.official_name == old.official_name), item.bank.accounts[0]
        )
        new = account_event(item.item_id, item.seed, 100 + len(item.accounts), bank_kind)
        new |= {"name": given.get("name", old.name), "mask": old.mask, "current": old.current}
        self.world.record({"e": "account", "item_id": item.item_id, "new": new})
        self._change_account(item, old.account_id, is_open=False)
        changes = plaid_changes.Changes(item, today())
        for index in [index for index in item.log.live_rows() if item.account_id_of(index) == old.account_id]:
            row = item.rows.get(index)
            kept = {name: field for name, field in (row.fields if row else {}).items() if name != "transaction_id"}
            facts = item.data.facts(row.origin if row else index)
            fields = {"date": facts.posted_on.isoformat(), "pending": item.is_pending(index)} | kept
            changes.remove(index)
            changes.add(fields | {"account_id": new["account_id"]}, origin=facts.row)
        self.world.change(item, changes)

    def _change_account(self, item: Item, account_id: str, **fields: Any) -> None:
        item.account(account_id)
        self.world.record({"e": "account", "item_id": item.item_id, "account_id": account_id, "fields": fields})

    def get_item_truth(self, item: Item) -> dict[str, Any]:
        """Pages of what is true now; `next` is the next page's `after`, null on the last."""
        after = int(self.query.get("after", -1))
        limit = min(int(self.query.get("limit", 1000)), 10_000)
        with item.lock:
            rows, following = item.live_facts(after, limit)
            return {"total": item.log.live, "transactions": rows, "next": following, "head": item.log.head}

    def post_item_public_token(self, item: Item) -> dict[str, Any]:
        """Another public token of an Item that is linked already, as a re-link gives one."""
        return {"public_token": self.world.public_token(item)}

    def post_item_advance(self, item: Item) -> dict[str, Any]:
        return {
            "transaction_ids": self.simulator.clock.tick(item, int(self.body.get("ticks", 1))),
            "head": item.log.head,
        }

    def post_item_webhook(self, item: Item) -> dict[str, Any]:
        """Fire a webhook: {"type"?, "code", "extra"?}. Its natural fields are filled in, `extra` overrides them."""
        code, extra = self.body["code"], self.body.get("extra") or {}
        clock = self.simulator.clock
        if not clock.fire_code(item, code, extra, kind=self.body.get("type")):
            raise ValueError("a code this simulator does not know needs its type")
        return {"fired": item.webhook is not None}


def add_account(simulator: PlaidSimulator, item: Item, kind: int, transactions: int) -> str:
    """Open another of the bank's accounts in the Item, with some posted rows. Returns its id. Hold the Item's lock."""
    kinds = item.bank.accounts
    new = account_event(item.item_id, item.seed, kind, kinds[kind % len(kinds)])
    if new["account_id"] in {account.account_id for account in item.accounts}:
        new = account_event(item.item_id, item.seed, 100 + len(item.accounts), kinds[kind % len(kinds)])
    simulator.world.record({"e": "account", "item_id": item.item_id, "new": new})
    changes = plaid_changes.Changes(item, today())
    for _row in range(transactions):
        changes.add({"account_id": new["account_id"]})
    simulator.world.change(item, changes)
    return new["account_id"]


def _shown(item: Item) -> dict[str, Any]:
    return {
        "item_id": item.item_id,
        "institution_id": item.bank.institution_id,
        "username": item.username,
        "seed": item.seed,
        "ready": item.ready,
        "armed": item.is_armed,
        "removed": item.is_removed,
        "error_code": item.error_code,
        "webhook": item.webhook,
        "life": item.has_life,
        "raw_log": item.log.is_raw,
        "total": item.log.live,
        "head": item.log.head,
        "created_at": timestamp(item.created_at),
        "account_ids": [account.account_id for account in item.open_accounts],
    }
