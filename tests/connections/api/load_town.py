"""Workspaces full of rows, every name of which says whose it is."""

from collections import defaultdict
from dataclasses import dataclass, field
from datetime import date, timedelta
from itertools import pairwise
from typing import Any

from django.apps import apps
from django.utils import timezone

from connections.audit import Action
from connections.ids import uuid7
from connections.models import Connection, Membership, Role, User, Workspace
from connections.services.audit import security_event_record
from sync.models import Flow, Mapping, MappingVersion, Subscription, SyncFailure, SyncRun, Transaction
from tests.connections.api.scene import make_account, make_bank, make_shop
from tests.factories import Person, person
from webhooks.models import WebhookEvent

TRANSACTIONS, RUNS = 40, 12


@dataclass
class House:
    """A workspace whose every name begins with its tag. ids: by the placeholder that they fill; visible to its owner."""

    tag: str
    workspace: Workspace
    people: list[Person] = field(default_factory=list)
    ids: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))


class Town:
    """All houses. owners: whose an id is."""

    def __init__(self, houses: int) -> None:
        self.houses = [self._build(number) for number in range(houses)]
        self.owners: dict[str, set[str]] = defaultdict(set)
        for house in self.houses:
            self._note_owners(house)
        for number, house in enumerate(self.houses):
            house.people.append(self._guest(house, self.houses[number - 1]))

    def _build(self, number: int) -> House:
        tag = f"ws{number}-"
        house = House(tag, Workspace.objects.create(slug=f"{tag}slug", name=f"{tag}name"))
        house.people = [person(f"{tag}{role}", house.workspace, role) for role in Role]
        for owner in house.people:
            if owner.membership.role in (Role.OWNER, Role.MEMBER):
                self._fill(
                    house,
                    make_bank(owner, f"{tag}bank", error_code="provider_error", error_correlation_id=f"{tag}error"),
                )
            self._fill(house, make_shop(owner, f"{tag}shop"))
        self._connect_shops(house)
        return house

    def _connect_shops(self, house: House) -> None:
        """Flows between neighbours."""
        shops = list(Connection.objects.filter(workspace=house.workspace).exclude(provider="plaid"))
        for source, target in pairwise(shops):
            flow = Flow.objects.create(
                workspace=house.workspace, name=f"{house.tag}flow", source=source, target=target, entities=["orders"]
            )
            house.ids["flow_id"].append(str(flow.pk))
            mapping = Mapping.objects.create(
                workspace=house.workspace, name=f"{house.tag}mapping", flow=flow, entity="orders", target="supabase"
            )
            rules = [
                {
                    "target": "memo",
                    "expression": f"'{house.tag}rule'",
                    "default": None,
                    "required": False,
                    "lookup": None,
                }
            ]
            MappingVersion.objects.create(workspace=house.workspace, mapping=mapping, number=1, rules=rules)
            house.ids["mapping_id"].append(str(mapping.pk))

    def _fill(self, house: House, connection: Connection) -> None:
        mine = {"workspace": house.workspace, "connection": connection}
        runs = [
            SyncRun(**mine, trigger="user", status="succeeded", parameters_hash="x", correlation_id=f"{house.tag}run")
            for _ in range(RUNS)
        ]
        SyncRun.objects.bulk_create(runs)
        SyncFailure.objects.create(
            **mine, run=runs[0], external_id=f"{house.tag}x", reason=f"{house.tag}r", payload="{}"
        )
        now = timezone.now()
        told = WebhookEvent.objects.create(
            **mine, provider=connection.provider, dedupe_key=str(connection.pk), item_id=f"{house.tag}item", code="CODE",
            event_type="TYPE", body=b"{}", payload={"item_id": f"{house.tag}item"}, note=f"{house.tag}note",
            status="processed", next_attempt_at=now, received_at=now, last_received_at=now, correlation_id=f"{house.tag}event",
        )  # fmt: skip
        house.ids["event_id"].append(str(told.pk))
        seen = {"workspace_id": house.workspace.pk, "subject": connection, "note": f"{house.tag}note"}
        security_event_record(Action.SYNC_REQUESTED, actor=connection.owner, **seen)
        is_owners = connection.owner.username.endswith(Role.OWNER)
        if connection.provider == "plaid":
            account = make_account(connection, f"{house.tag}account", official_name=f"{house.tag}official")
            rows = [
                Transaction(**mine, account=account, external_id=f"{house.tag}{uuid7()}", amount=n, iso_currency="USD", pending=False,
                            date=date(2026, 1, 1) + timedelta(n), name=f"{house.tag}shop {n}", raw_json={})
                for n in range(TRANSACTIONS)
            ]  # fmt: skip
            Transaction.objects.bulk_create(rows)
            Subscription.objects.create(
                **mine, account=account, external_id=f"{house.tag}stream", direction="outflow", frequency="MONTHLY",
                description=f"{house.tag}rent", source_status="MATURE", is_active=True, raw_json={},
            )  # fmt: skip
        if is_owners:
            house.ids["sync_id"] += [str(run.pk) for run in runs]
            if connection.provider == "plaid":
                house.ids["connection_id"].append(str(connection.pk))

    def _guest(self, house: House, other: House) -> Person:
        """Somebody who works in two workspaces, and has to say which."""
        guest = person(f"{house.tag}guest", house.workspace, Role.OPERATOR)
        Membership.objects.create(workspace=other.workspace, user=guest.user, role=Role.VIEWER)
        self.owners[str(guest.user.pk)] |= {house.tag, other.tag}
        return guest

    def _note_owners(self, house: House) -> None:
        self.owners[str(house.workspace.pk)].add(house.tag)
        for user in User.objects.filter(memberships__workspace=house.workspace):
            self.owners[str(user.pk)].add(house.tag)
        for model in tenant_models():
            for pk in model.objects.filter(workspace=house.workspace).values_list("pk", flat=True):
                self.owners[str(pk)].add(house.tag)


def tenant_models() -> list[Any]:
    """All that belongs to a workspace."""
    return [model for model in apps.get_models() if any(field.name == "workspace" for field in model._meta.fields)]
