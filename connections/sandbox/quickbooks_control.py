"""The control endpoint: what tests, demos and diagnostics do to the simulated Intuit. JSON in, JSON out.

Never part of the wire protocol. Reference: docs/reference/simulators.md.
"""

from __future__ import annotations

import secrets
import time
import uuid
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

from . import exact, quickbooks_data
from .faults import WEBHOOK
from .quickbooks_errors import QuickBooksFault
from .quickbooks_fields import TABLES, TRANSACTIONS
from .quickbooks_store import Company, Work
from .quickbooks_webhooks import Event, signed
from .quickbooks_world import App, Grant, shown_company
from .wire import Request, Response

if TYPE_CHECKING:
    from .quickbooks import QuickBooksSimulator

MAX_ROWS = 10_000


def handle(simulator: QuickBooksSimulator, request: Request) -> Response:
    """Answer 200 with what was done, 400 with why not, 404 for a path or object that is not there."""
    try:
        body = exact.parse(request.body) if request.body else {}
        shown = Control(simulator, request, body).answer()
    except KeyError as error:
        return Response(status=404, body=exact.dumps({"error": f"not found: {error.args[0]}"}))
    except QuickBooksFault as error:
        return Response(status=400, body=exact.dumps({"error": str(error)} | {"Fault": error.shown()}))
    except (ValueError, TypeError) as error:
        return Response(status=400, body=exact.dumps({"error": str(error)}))
    return Response(body=exact.dumps(shown))


class Control:
    """One control request."""

    def __init__(self, simulator: QuickBooksSimulator, request: Request, body: Any):
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
        if len(names) > 1 and names[0] in ("companies", "grants", "apps"):
            found: Any = getattr(self.world, names[0])[names[1]]
            action = getattr(self, f"{verb}_{names[0]}_{names[2] if len(names) > 2 else 'one'}", None)
            if action is None or len(names) > 3:
                raise KeyError(self.request.path)
            return action(found)
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
        simulator.throttles.restore()
        simulator.strict_minor_version = True
        return {"reset": True}

    def get_seed(self) -> dict[str, Any]:
        """What there is to connect."""
        companies = [
            {
                "realm": one.realm,
                "name": one.info["CompanyName"],
                "country": one.country,
                "environment": one.environment,
            }
            for one in list(self.world.companies.values())
        ]
        return {
            "companies": companies,
            "client_ids": {app.environment: app.client_id for app in self.world.apps.values()},
        }

    def get_log(self) -> dict[str, Any]:
        after, realm = int(self.query.get("after", 0)), self.query.get("realm")
        rows = [row for row in list(self.simulator.requests) if row["seq"] > after and realm in (None, row["realm"])]
        if self.query.get("writes"):
            rows = [row for row in rows if row.get("writes") or row.get("replayed")]
        return {"requests": rows}

    def post_faults(self) -> dict[str, Any]:
        given = dict(self.body)
        if given.get("kind") not in WEBHOOK:
            given.setdefault("path", "api")
        if "realm" in given:
            given["item_id"] = given.pop("realm")
        if given.get("kind") == "mutation":
            raise ValueError("mutation is not a fault of QuickBooks")
        return self.simulator.faults.add(given)

    def get_faults(self) -> dict[str, Any]:
        return {"faults": self.simulator.faults.listed()}

    def delete_faults(self) -> dict[str, Any]:
        given = self.query.get("id")
        return {"cleared": self.simulator.faults.clear(int(given) if given else None)}

    def post_limits(self) -> dict[str, Any]:
        return self.simulator.throttles.change(self.body)

    get_limits = post_limits

    def post_settings(self) -> dict[str, Any]:
        """{"strict_minor_version"?, and any field of the token policy}."""
        given = dict(self.body)
        simulator = self.simulator
        simulator.strict_minor_version = bool(given.pop("strict_minor_version", simulator.strict_minor_version))
        policy = self.world.change_policy(given) if given else self.world.policy
        return asdict(policy) | {"strict_minor_version": simulator.strict_minor_version}

    get_settings = post_settings

    # --- apps ---

    def get_apps(self) -> dict[str, Any]:
        return {"apps": [asdict(app) for app in list(self.world.apps.values())]}

    def post_apps(self) -> dict[str, Any]:
        """Make an app; what is left out is made up."""
        fresh = {"client_id": secrets.token_hex(20), "secret": secrets.token_hex(20), "environment": "sandbox"}
        app = App(**fresh | {"verifier": str(uuid.uuid4())} | self.body)
        self.world.save_app(app)
        return asdict(app)

    def post_apps_one(self, app: App) -> dict[str, Any]:
        """Change an app: its secret, redirect URIs, webhook, environment…"""
        changed = replace(app, **{name: value for name, value in self.body.items() if name != "client_id"})
        self.world.save_app(changed)
        return asdict(changed)

    def post_apps_webhook(self, app: App) -> dict[str, Any]:
        """Send {"events": [{realm, entity, id, operation, deleted_id?, event_id?, at?}], "format"?}, or {"raw": text}."""
        if "raw" in self.body:
            return {"seq": self.simulator.courier.send_raw(app, self.body["raw"].encode())}
        events = [
            Event(
                realm=one["realm"],
                entity=one["entity"],
                id=str(one["id"]),
                operation=one.get("operation", "Update"),
                at=float(one.get("at", time.time())),
                event_id=one.get("event_id") or str(uuid.uuid4()),
                deleted_id=one.get("deleted_id"),
            )
            for one in self.body["events"]
        ]
        if not events:
            raise ValueError("events must not be empty")
        return {"seq": self.simulator.courier.send(app, events, form=self.body.get("format"))}

    def post_apps_sign(self, app: App) -> dict[str, Any]:
        """For whoever delivers by himself: the header of each of these bodies (texts)."""
        return {"signatures": [signed(app.verifier, body.encode()) for body in self.body["bodies"]]}

    def get_webhooks(self) -> dict[str, Any]:
        return {"webhooks": self.simulator.courier.log(int(self.query.get("after", 0)))}

    def post_webhooks(self) -> dict[str, Any]:
        """{"gather_s"?, "retry_scale"?}."""
        courier = self.simulator.courier
        courier.settings = replace(courier.settings, **{name: float(value) for name, value in self.body.items()})
        return asdict(courier.settings)

    # --- grants ---

    def get_grants(self) -> dict[str, Any]:
        return {"grants": [asdict(grant) for grant in list(self.world.grants.values())]}

    def post_grants(self) -> dict[str, Any]:
        """Connect without a browser: {"realm", "client_id"?} → the grant, with `access_token`."""
        company = self.world.companies[self.body["realm"]]
        apps = [app.client_id for app in self.world.apps.values() if app.environment == company.environment]
        grant = self.world.grant(self.body.get("client_id", apps[0]), company.realm)
        return asdict(grant) | {"access_token": next(iter(grant.access))}

    def get_grants_one(self, grant: Grant) -> dict[str, Any]:
        return asdict(grant)

    def post_grants_state(self, grant: Grant) -> dict[str, Any]:
        """Revoke it, end its tokens, rotate its value, take the person's rights away, or move any of its times."""
        with self.world.lock:
            for name, value in self.body.items():
                if name == "revoked":
                    grant.is_revoked = bool(value)
                elif name == "admin":
                    grant.is_admin = bool(value)
                elif name == "expire_access":
                    grant.access = dict.fromkeys(grant.access, 0.0)
                elif name == "rotate":
                    self.simulator.oauth.rotate(grant, time.time())
                elif name in ("refresh_expires_at", "hard_expires_at", "refresh_issued_at", "created_at"):
                    setattr(grant, name, float(value))
                else:
                    raise ValueError(f"unknown state: {name}")
            self.world.save(grant)
        return asdict(grant)

    # --- companies ---

    def get_companies(self) -> dict[str, Any]:
        return {"companies": [shown_company(one) for one in list(self.world.companies.values())]}

    def post_companies(self) -> dict[str, Any]:
        """Found one: {"preset"?, "environment"?, "realm"?, "seed"?, sizes, "name"?, "life"?, "preferences"?}."""
        given = dict(self.body)
        realm = given.pop("realm", None) or f"9{secrets.randbelow(10**15):015d}"
        preset, environment = given.pop("preset", "us_ast"), given.pop("environment", "sandbox")
        return shown_company(self.world.found(quickbooks_data.born(realm, preset, environment, **given)))

    def get_companies_one(self, company: Company) -> dict[str, Any]:
        return shown_company(company)

    def post_companies_state(self, company: Company) -> dict[str, Any]:
        self.world.change_state(company, self.body)
        if "preferences" in self.body:
            self.simulator.announce(company, [("Preferences", "1", "Update")])
        return shown_company(company)

    def post_companies_edit(self, company: Company) -> dict[str, Any]:
        """A person edits by hand: {"entity", "id"?, "fields", "verb"?: save, delete, void}. Token and rules as for anyone."""
        entity, fields = self.body["entity"], dict(self.body.get("fields") or {})
        if entity not in TABLES:
            raise KeyError(entity)
        with company.lock:
            if object_id := self.body.get("id"):
                current = company.get(entity, object_id)
                if current is None:
                    raise KeyError(object_id)
                # A person sees the whole form, so nothing is blanked that was not touched.
                shown = {
                    name: value for name, value in current.items() if name != "TxnTaxDetail" or "Line" not in fields
                }
                fields = shown | fields | {"Id": object_id, "SyncToken": current["SyncToken"], "sparse": False}
            shown = self.simulator.write(company, entity, self.body.get("verb", "save"), fields)
        return {"object": shown}

    def post_companies_touch(self, company: Company) -> dict[str, Any]:
        """Raise the SyncToken of {"entity", "id"} as if somebody had saved it unchanged."""
        with company.lock:
            current = company.get(self.body["entity"], self.body["id"])
            if current is None:
                raise KeyError(self.body["id"])
            work = Work(company)
            shown = work.save(self.body["entity"], current | (self.body.get("fields") or {}))
            self.simulator.commit(company, work)
        return {"object": shown}

    def post_companies_deposit(self, company: Company) -> dict[str, Any]:
        """Deposit receipts or payments: {"entity", "ids"}. After that they resist changes (6540)."""
        with company.lock:
            work = Work(company)
            for object_id in self.body["ids"]:
                current = company.get(self.body["entity"], object_id)
                if current is None:
                    raise KeyError(object_id)
                link = {"TxnId": company.new_id("Invoice"), "TxnType": "Deposit"}
                work.save(self.body["entity"], current | {"LinkedTxn": [*current.get("LinkedTxn", []), link]})
            self.simulator.commit(company, work)
        return {"deposited": len(self.body["ids"])}

    def post_companies_forget(self, company: Company) -> dict[str, Any]:
        """Forget request ids, all or {"request_ids"}: the service's memory is not documented to last."""
        with company.lock:
            wanted = self.body.get("request_ids") or list(company.replays)
            return {"forgotten": sum(company.replays.pop(one, None) is not None for one in wanted)}

    def post_companies_advance(self, company: Company) -> dict[str, Any]:
        """{"steps"?: 1}: so much life, the same for the same seed and step."""
        return {"done": self.simulator.clock.live(company, int(self.body.get("steps", 1)))}

    def get_companies_truth(self, company: Company) -> dict[str, Any]:
        """Pages of what is true now: ?entity=&after=<place>&limit=; inactive ones too. `next` is null on the last."""
        entity = self.query["entity"]
        after, limit = int(self.query.get("after", 0)), min(int(self.query.get("limit", 1000)), MAX_ROWS)
        with company.lock:
            table = company.tables[entity]
            rows = list(table.rows.values())[after : after + limit]
            following = after + limit if after + limit < len(table.rows) else None
            return {
                "total": len(table.rows),
                "objects": [row.shown() for row in rows],
                "deleted": [{"Id": key, "at": when} for when, key in table.gone],
                "next": following,
            }

    def get_companies_totals(self, company: Company) -> dict[str, Any]:
        """How many of each, and what transactions come to, by currency."""
        with company.lock:
            shown: dict[str, Any] = {}
            for entity, table in company.tables.items():
                shown[entity] = {"count": len(table.rows)}
                if entity in TRANSACTIONS:
                    sums: dict[str, Any] = {}
                    for row in table.rows.values():
                        one = row.shown()
                        currency = one["CurrencyRef"]["value"]
                        sums[currency] = sums.get(currency, 0) + one["TotalAmt"]
                    shown[entity]["totals"] = sums
            return shown
