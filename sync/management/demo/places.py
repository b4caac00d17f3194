"""Where the demo's other connections lead: a shop, a company, a data store, and what the owner of each does there."""

import re
from typing import Protocol
from urllib.parse import urlsplit

from django.core.management.base import CommandError

from connections.providers.supabase.contract import wanted
from connections.providers.supabase.ddl import contract_sql
from sync.management.demo.api import Api, Json, answered, browse

_CHOSEN = re.compile(r'name="realm" value="(\d+)" checked')


class Place(Protocol):
    """Something to connect to, as its owner knows it."""

    name: str
    provider: str

    def address(self, api: Api) -> Json:
        """The settings that say where it is; {} where none does."""

    def leads_here(self, connection: Json, address: Json) -> bool:
        """Whether a connection of its provider does, whatever port the simulators listened on when it was made."""

    def secrets(self, api: Api) -> Json:
        """What its owner enters besides."""

    def admit(self, api: Api, connection: Json) -> None:
        """What its owner does there so that the connection works. Again does no harm."""


class Shop:
    """A store that keeps selling."""

    name, provider = "Maple & Mug", "woocommerce"

    def address(self, api: Api) -> Json:
        _shop(api)
        return {"store_url": f"{api.simulators.url}/woocommerce/demo"}

    def leads_here(self, connection: Json, address: Json) -> bool:
        return _is_same_path(connection, address, "store_url")

    def secrets(self, api: Api) -> Json:
        shown = _shop(api)
        return {name: shown[name] for name in ("consumer_key", "consumer_secret")}

    def admit(self, api: Api, connection: Json) -> None:
        """Its keys are all it takes."""


class Books:
    """A company that keeps its books: the one that Intuit's page proposes."""

    name, provider = "Larkspur Outfitters", "quickbooks"

    def address(self, api: Api) -> Json:
        return {}

    def leads_here(self, connection: Json, address: Json) -> bool:
        return True

    def secrets(self, api: Api) -> Json:
        return {}

    def admit(self, api: Api, connection: Json) -> None:
        """Sign in at Intuit, in a browser: say yes there, and come back."""
        path = f"connections/{connection['id']}"
        if (api.get(path)["oauth"] or {}).get("account"):
            return
        page = api.post(f"{path}/oauth/authorize")["authorize_url"]
        if not (company := _CHOSEN.search(browse(page).text)):
            raise CommandError("Intuit's page offers no company.")
        back = browse(page, form={"realm": company[1], "decision": "approve"})
        answered(browse(back.headers.get("location") or page))


class Store:
    """A data store, by one of the two ways into it."""

    provider = "supabase"

    def __init__(self, kind: str, name: str) -> None:
        self.kind, self.name = kind, name

    def address(self, api: Api) -> Json:
        return {"kind": self.kind} | ({"project_url": _project(api)["url"]} if self.kind == "rest" else {})

    def leads_here(self, connection: Json, address: Json) -> bool:
        is_same = _is_same_path(connection, address, "project_url")
        return connection["config"].get("kind") == self.kind and is_same

    def secrets(self, api: Api) -> Json:
        shown = _project(api)
        if self.kind == "rest":
            return {"secret_key": shown["keys"]["secret"]}
        return {name: shown["direct"][name] for name in ("dsn", "ca_pem")}

    def admit(self, api: Api, connection: Json) -> None:
        """Run the SQL that makes the tables."""
        api.simulators.post("supabase/_control/projects/demo/sql", {"sql": contract_sql(wanted({}))})


PLACES: tuple[Place, ...] = (
    Shop(),
    Books(),
    Store("rest", "Warehouse"),
    Store("postgres", "Warehouse, by PostgreSQL"),
)


def _shop(api: Api) -> Json:
    """Raises where it is not there: then nothing leads to it, either."""
    return api.simulators.get("woocommerce/_control/stores/demo")


def _project(api: Api) -> Json:
    """Made where there is none: its simulator may have been without a database until now."""
    try:
        return api.simulators.get("supabase/_control/projects/demo")
    except CommandError:
        return api.simulators.post("supabase/_control/projects", {"name": "demo", "if_missing": True})


def _is_same_path(connection: Json, address: Json, name: str) -> bool:
    paths = [urlsplit(config.get(name, "")).path for config in (connection["config"], address)]
    return paths[0] == paths[1]
