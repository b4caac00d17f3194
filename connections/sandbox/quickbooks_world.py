"""All that a simulated Intuit knows: its developers' apps, companies, grants. Journalled, so that a restart forgets nothing."""

from __future__ import annotations

import os
import secrets
import threading
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from . import exact, quickbooks_data
from .journal import Journal
from .quickbooks_fields import Object
from .quickbooks_store import Company

SCOPE = "com.intuit.quickbooks.accounting"


@dataclass(slots=True)
class App:
    """A developer's app: one pair of keys, for one environment. `redirect_uris` None: any that is well-formed."""

    client_id: str
    secret: str
    environment: str
    name: str = "Causeway"
    redirect_uris: list[str] | None = None
    webhook_url: str = ""
    verifier: str = ""
    webhook_format: str = "cloudevents"


@dataclass(slots=True)
class Grant:
    """What one person allowed one app for one company. `access`: tokens and when they end."""

    id: str
    client_id: str
    realm: str
    scope: str
    created_at: float
    hard_expires_at: float
    refresh_token: str
    refresh_issued_at: float
    refresh_expires_at: float
    access: dict[str, float] = field(default_factory=dict)
    old_refresh: dict[str, float] = field(default_factory=dict)  # former values, and until when each still works
    is_revoked: bool = False
    is_admin: bool = True  # the person who connected still is one in the company


@dataclass(slots=True)
class Policy:
    """How long things live. A test shortens what it wants to see end."""

    access_life_s: float = 3600
    refresh_life_s: float = 8_726_400
    hard_life_s: float = 5 * 365 * 86400
    code_life_s: float = 600
    rotate_after_s: float = 86400  # 0: every refresh gives a new value
    grace_s: float = 0  # so long the former value still works


class World:
    """Apps, companies and grants. `lock` guards the maps; each company has a lock of its own."""

    def __init__(self, journal: Path):
        self.lock = threading.RLock()
        self.apps: dict[str, App] = {}
        self.companies: dict[str, Company] = {}
        self.grants: dict[str, Grant] = {}
        self.by_access: dict[str, Grant] = {}
        self.by_refresh: dict[str, Grant] = {}
        self.codes: dict[str, Object] = {}
        self.policy = Policy()
        self._begin()
        self.journal = Journal(journal)
        for event in self.journal.replay(exact.parse):
            self._apply(event)

    def _begin(self) -> None:
        """The apps and companies of a fresh simulator."""
        client_id = os.environ.get("QUICKBOOKS_CLIENT_ID") or "demo-quickbooks-id"
        secret = os.environ.get("QUICKBOOKS_CLIENT_SECRET") or "demo-quickbooks-secret"
        verifier = os.environ.get("QUICKBOOKS_WEBHOOK_VERIFIER") or "demo-quickbooks-verifier"
        url = os.environ.get("QUICKBOOKS_WEBHOOK_URL", "")
        apps = [
            App(client_id, secret, "sandbox", webhook_url=url, verifier=verifier),
            App("demo-quickbooks-production-id", "demo-quickbooks-production-secret", "production", verifier=verifier),
        ]
        self.apps = {app.client_id: app for app in apps}
        self.companies = {}
        for realm, preset, environment, has_life in quickbooks_data.COMPANIES:
            self._found(quickbooks_data.born(realm, preset, environment, life=has_life))
        self.grants, self.by_access, self.by_refresh, self.codes = {}, {}, {}, {}
        self.policy = Policy()

    def _found(self, born: Object) -> Company:
        company = Company(born["realm"], born, self.record)
        quickbooks_data.furnish(company)
        self.companies[company.realm] = company
        return company

    def reset(self) -> None:
        with self.lock:
            self.journal.restart([])
            self._begin()

    # --- journal ---

    def record(self, event: Object) -> None:
        self.journal.append(event)

    def _apply(self, event: Object) -> None:
        kind = event["e"]
        if kind == "write":
            self.companies[event["realm"]].apply(event)
        elif kind == "company":
            self._found(event["born"])
        elif kind == "state":
            set_state(self.companies[event["realm"]], event["state"])
        elif kind == "grant":
            self._keep(_revived(event["grant"]))
        elif kind == "app":
            self.apps[event["app"]["client_id"]] = App(**event["app"])
        elif kind == "policy":
            self.policy = Policy(**{name: float(value) for name, value in event["policy"].items()})

    def found(self, born: Object) -> Company:
        """A new company. Raises ValueError where the realm exists."""
        with self.lock:
            if born["realm"] in self.companies:
                raise ValueError("the realm exists")
            company = self._found(born)
            self.record({"e": "company", "born": born})
        return company

    def change_state(self, company: Company, state: Object) -> None:
        with company.lock:
            set_state(company, state)
            self.record({"e": "state", "realm": company.realm, "state": state})

    def save_app(self, app: App) -> None:
        with self.lock:
            self.apps[app.client_id] = app
            self.record({"e": "app", "app": asdict(app)})

    def change_policy(self, changes: Object) -> Policy:
        with self.lock:
            self.policy = Policy(**asdict(self.policy) | {name: float(value) for name, value in changes.items()})
            self.record({"e": "policy", "policy": asdict(self.policy)})
            return self.policy

    # --- grants ---

    def grant(self, client_id: str, realm: str, scope: str = SCOPE) -> Grant:
        """A person allowed it just now."""
        now = time.time()
        made = Grant(
            id=secrets.token_hex(8),
            client_id=client_id,
            realm=realm,
            scope=scope,
            created_at=now,
            hard_expires_at=now + self.policy.hard_life_s,
            refresh_token=new_refresh_token(),
            refresh_issued_at=now,
            refresh_expires_at=now + self.policy.refresh_life_s,
        )
        self.new_access(made, now)
        return made

    def new_access(self, grant: Grant, now: float) -> str:
        """A new access token beside those that still live. Keeps the grant."""
        with self.lock:
            token = new_access_token()
            grant.access = {one: ends for one, ends in grant.access.items() if ends > now - 86400}
            grant.access[token] = now + self.policy.access_life_s
            self.save(grant)
        return token

    def save(self, grant: Grant) -> None:
        with self.lock:
            self._keep(grant)
            self.record({"e": "grant", "grant": asdict(grant)})

    def _keep(self, grant: Grant) -> None:
        self.grants[grant.id] = grant
        for token in grant.access:
            self.by_access[token] = grant
        for token in (grant.refresh_token, *grant.old_refresh):
            self.by_refresh[token] = grant


def _revived(kept: Object) -> Grant:
    """A journalled grant: its times come back as Decimals, which do not mix with the clock's floats."""
    times = {name: float(kept[name]) for name in kept if name.endswith("_at")}
    ends = {name: {token: float(end) for token, end in kept[name].items()} for name in ("access", "old_refresh")}
    return Grant(**kept | times | ends)


def set_state(company: Company, state: Object) -> None:
    """Take over settings and preferences: {"preferences": {group: {name: value}}, any setting}."""
    for name, value in state.items():
        if name == "preferences":
            for group, values in value.items():
                kept = company.preferences.get(group, {}) | values
                company.preferences[group] = {key: one for key, one in kept.items() if one is not None}
        elif name == "clock_offset_s":
            company.clock_offset_s = float(value)
        elif name == "ticks":
            company.ticks = int(value)
        elif name in company.settings:
            company.settings[name] = value
        else:
            raise ValueError(f"unknown state: {name}")


def new_access_token() -> str:
    """As long as a real one: these are encrypted JWTs."""
    return "eyJhbGciOiJkaXIiLCJlbmMiOiJBMTI4Q0JDLUhTMjU2In0.." + secrets.token_urlsafe(480)


def new_refresh_token() -> str:
    return f"RT1-{secrets.randbelow(256)}-H0-{int(time.time())}{secrets.token_hex(16)}"


def shown_company(company: Company) -> dict[str, Any]:
    counts = {name: len(table.rows) for name, table in company.tables.items() if table.rows}
    return {
        "realm": company.realm,
        "name": company.info["CompanyName"],
        "country": company.country,
        "environment": company.environment,
        "preset": company.born["preset"],
        "settings": company.settings,
        "preferences": company.preferences,
        "counts": counts,
        "clock_offset_s": company.clock_offset_s,
        "ticks": company.ticks,
    }
