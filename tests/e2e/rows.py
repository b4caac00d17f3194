"""A console's worth of rows: one of everything, with names that break layouts, and a secret that must show nowhere."""

from datetime import timedelta
from decimal import Decimal
from uuid import uuid4

from django.utils import timezone

from connections.audit import Action
from connections.models import (
    AccessToken,
    Account,
    Connection,
    Credential,
    DomainEvent,
    EventDelivery,
    MeteredCalls,
    OAuthState,
    PlaidExchange,
    PlaidItem,
    PlaidItemAccount,
    PlaidLink,
    PlaidTokenRotation,
    ProviderPause,
    RetiredPlaidItem,
    SecurityEvent,
    User,
    Verification,
    Workspace,
)
from connections.models.connection import Status
from connections.services.audit import security_event_record
from connections.services.audit_seals import events_seal
from connections.services.record_news import record_news_mark
from diagnostics.models import Alert, AlertDelivery, ErrorEvent
from sync.models import (
    Flow,
    Mapping,
    MappingVersion,
    RecordLink,
    RunStatus,
    Subscription,
    SubscriptionFeed,
    SyncFailure,
    SyncRun,
    Transaction,
    Trigger,
    Watermark,
    WriteIntent,
)
from webhooks.models import WebhookEvent, WebhookRefusal

SECRET = "access-sandbox-3f9a1c77-planted-canary-0042"
LINK_TOKEN = "link-sandbox-77aa-planted-canary-0043"
NAMES = (
    "First Platypus Bank",
    "The Extraordinarily Long-Named Savings & Loan of Greater Edmonton",
    "בנק הפועלים תל אביב",
    "🏦 Bank of Émojis 🦫",
    "<script>alert(1)</script> & Sons",
)
STATUSES = (Status.ACTIVE, Status.NEEDS_REAUTH, Status.FAILED, Status.PAUSED, Status.DISCONNECTED)


def connection(workspace: Workspace, owner: User, *, number: int = 0, **fields) -> Connection:
    """A bank with its login, credential and two accounts."""
    now = timezone.now()
    name = NAMES[number % len(NAMES)]
    row = Connection.objects.create(
        workspace=workspace,
        owner=owner,
        provider="plaid",
        name=name,
        **{"status": Status.ACTIVE, "last_sync_at": now - timedelta(minutes=4)} | fields,
    )
    item = PlaidItem.objects.create(
        workspace=workspace,
        connection=row,
        item_id=f"item-{row.pk}",
        institution_id="ins_109508",
        institution_name=name,
        cursor="CAESJXU0ZGo2eVFVSkF0d0s1UlA3eEQ0",
        last_synced_at=now,
        synced_seq=1,
    )
    credential = Credential(workspace=workspace, connection=row, name="access_token")
    credential.seal(SECRET)
    credential.save()
    for mask in ("0000", "1111"):
        account = Account.objects.create(
            workspace=workspace,
            connection=row,
            name="Plaid Checking",
            mask=mask,
            type="depository",
            subtype="checking",
            iso_currency="USD",
            balance_current=Decimal("1204.5"),
            balances_at=now,
        )
        PlaidItemAccount.objects.create(
            workspace=workspace, item=item, account=account, plaid_account_id=f"acc-{account.pk}"
        )
    return row


def run(of: Connection, *, status: RunStatus = RunStatus.SUCCEEDED, **fields) -> SyncRun:
    """A run whose ledger adds up: 500 = 12 + 3 + 480 + 5."""
    now = timezone.now()
    ledger = {
        "records_fetched": 500,
        "records_created": 12,
        "records_updated": 3,
        "records_unchanged": 480,
        "records_failed": 5,
    }
    times = {
        "started_at": now - timedelta(seconds=9),
        "finished_at": now - timedelta(seconds=2),
        "correlation_id": "corr-12345678",
    }
    return SyncRun.objects.create(
        workspace_id=of.workspace_id,
        connection=of,
        trigger=Trigger.WEBHOOK,
        parameters_hash="0" * 64,
        status=status,
        page_count=1,
        **ledger | times | fields,
    )


def failure(of: SyncRun, *, number: int = 0) -> SyncFailure:
    return SyncFailure.objects.create(
        workspace_id=of.workspace_id,
        connection_id=of.connection_id,
        run=of,
        external_id=f"txn-{of.pk}-{number}",
        reason="The name holds a character that PostgreSQL cannot store.",
        payload='{"name": "caf\\\\u0000<b>e</b>"}',
    )


def transactions(of: Connection, count: int) -> list[Transaction]:
    account = of.accounts.first()
    today = timezone.now().date()
    rows = [
        Transaction(
            workspace_id=of.workspace_id,
            connection=of,
            account=account,
            external_id=f"txn-{of.pk}-{number}",
            amount=Decimal("1234567.80")
            if number % 7 == 0
            else Decimal("-4.5")
            if number % 3 == 0
            else Decimal("89.40"),
            iso_currency=("USD", "JPY", "EUR")[number % 3],
            date=today - timedelta(days=number % 30),
            name=(
                "Uber 072515 SF**POOL**",
                "שופרסל דיל רמת גן",
                "Whole Foods Market #10234 Edmonton Whyte Avenue & 104 Street",
                "☕ Café",
            )[number % 4],
            pending=number % 5 == 0,
            archived=number % 11 == 0,
            raw_json={"name": "<img src=x onerror=alert(1)>", "amount": 89.4},
        )
        for number in range(count)
    ]
    return Transaction.objects.bulk_create(rows)


def subscriptions(of: Connection) -> list[Subscription]:
    """One of each state, and when they were read."""
    account, today = of.accounts.first(), timezone.now().date()
    rows = [
        Subscription(
            workspace_id=of.workspace_id,
            connection=of,
            account=account,
            external_id=f"stream-{of.pk}-{status}",
            status=status,
            direction="outflow",
            description="Gym & <script>alert(1)</script>",
            frequency="MONTHLY",
            source_status="MATURE",
            is_active=True,
            last_amount=Decimal("39.90"),
            iso_currency="USD",
            last_date=today,
            raw_json={"description": "<img src=x onerror=alert(1)>"},
        )
        for status in Subscription.Status
    ]
    feed = {"due_at": timezone.now(), "unavailable_code": "feature_not_enabled"}
    SubscriptionFeed.objects.create(workspace_id=of.workspace_id, item=of.plaid_item, **feed)
    return Subscription.objects.bulk_create(rows)


def webhook(of: Connection | None, *, number: int = 0, status: str = "processed") -> WebhookEvent:
    now = timezone.now()
    return WebhookEvent.objects.create(
        workspace_id=of.workspace_id if of else None,
        connection=of,
        provider="plaid",
        environment="sandbox",
        dedupe_key=uuid4().hex,
        event_type="TRANSACTIONS",
        code="SYNC_UPDATES_AVAILABLE",
        item_id=f"item-{of.pk}" if of else "item-unknown",
        headers={"user-agent": "plaid"},
        payload={"webhook_type": "TRANSACTIONS", "note": "<b>bold</b>"},
        body=SECRET.encode(),
        status=status,
        next_attempt_at=now,
        received_at=now,
        last_received_at=now,
        correlation_id="corr-12345678",
    )


def refusal() -> WebhookRefusal:
    hour = timezone.now().replace(minute=0, second=0, microsecond=0)
    values = {"last_reason": "no signature", "last_at": timezone.now()}
    return WebhookRefusal.objects.update_or_create(provider="plaid", hour=hour, defaults={"count": 12} | values)[0]


def error(of: Connection, user: User, *, status: int = 500) -> ErrorEvent:
    return ErrorEvent.objects.create(
        workspace_id=of.workspace_id,
        connection=of,
        user=user,
        correlation_id="corr-12345678",
        code="internal_error" if status >= 500 else "not_found",
        status=status,
        method="POST",
        path="/api/v1/plaid/exchange-token",
        operator_detail="KeyError: 'institution'",
        stack='File "views.py", line 1\n  <module>' if status >= 500 else "",
    )


def event(of: Connection) -> DomainEvent:
    """Parked, since its one handler never took it."""
    now, sequence = timezone.now(), DomainEvent.objects.filter(line=of.pk).count() + 1
    made = DomainEvent.objects.create(
        workspace_id=of.workspace_id,
        connection=of,
        line=of.pk,
        sequence=sequence,
        type="SyncFailed",
        payload={"code": "provider_error"},
        dispatched_at=now,
        parked_at=now,
        attempts=8,
    )
    failed = {"attempts": 8, "last_error": "KeyError: <b>'run'</b>", "parked_at": now}
    EventDelivery.objects.create(workspace_id=of.workspace_id, event=made, handler="alerts", **failed)
    return made


def alert(of: Connection) -> Alert:
    made = Alert.objects.create(
        workspace=of.workspace,
        connection=of,
        subject=f"connection:{of.pk}",
        cause="provider_error",
        title=f"{of.name}: the bank keeps failing",
        text="Look at its runs.",
    )
    AlertDelivery.objects.create(
        alert=made, kind="opened", channel="f1", channel_name="mailto://ops", sent_at=made.opened_at
    )
    AlertDelivery.objects.create(
        alert=made, kind="opened", channel="f2", channel_name="slack://…", last_error="HTTP 503"
    )
    return made


def security_event(of: Connection, actor: User) -> SecurityEvent:
    security_event_record(
        Action.CONNECTION_PAUSED, actor=actor, workspace_id=of.workspace_id, subject=of, said="<b>bold</b>"
    )
    events_seal()
    return SecurityEvent.objects.latest("pk")


def everything(workspace: Workspace, owner: User, *, connections: int = 5, each: int = 3) -> list[Connection]:
    """`connections` banks in various states, each with `each` runs, failures, transactions, webhooks and errors."""
    made = []
    for number in range(connections):
        status = STATUSES[number % len(STATUSES)]
        trouble = (
            {"error_code": "bank_sign_in_required", "error_at": timezone.now(), "error_correlation_id": "corr-12345678"}
            if status == Status.NEEDS_REAUTH
            else {}
        )
        if status == Status.FAILED:
            trouble = {
                "error_code": "provider_error",
                "error_detail": "Plaid said NEW_CODE.",
                "error_at": timezone.now(),
                "failure_count": 3,
            }
        row = connection(workspace, owner, number=number, status=status, **trouble)
        made.append(row)
        for position in range(each):
            one = run(row, status=(RunStatus.SUCCEEDED, RunStatus.PARTIAL, RunStatus.FAILED)[position % 3])
            failure(one)
            webhook(row, number=position)
            error(row, owner, status=(500, 404)[position % 2])
        transactions(row, each * 4)
        subscriptions(row)
        link = PlaidLink(
            workspace=workspace,
            user=owner,
            connection=row,
            environment="sandbox",
            digest=f"{row.pk.hex}{number}",
            expires_at=timezone.now(),
        )
        link.seal(LINK_TOKEN)
        link.save()
        OAuthState.objects.create(
            workspace=workspace,
            user=owner,
            connection=row,
            provider="quickbooks",
            environment="sandbox",
            config_version=1,
            redirect_uri="https://hub.example.com/api/v1/oauth/quickbooks/callback",
            digest=f"{row.pk.hex}s{number}",
            status="unknown",
            expires_at=timezone.now(),
        )
        PlaidExchange.objects.create(
            workspace=workspace,
            user=owner,
            link=link,
            connection=row,
            environment="sandbox",
            digest=f"{row.pk.hex}x{number}",
            institution_name=row.name,
            status="completed",
        )
        event(row)
        security_event(row, owner)
        retired = RetiredPlaidItem(workspace=workspace, connection=row, environment="sandbox", item_id=f"old-{number}")
        retired.seal(SECRET)
        retired.save()
        alert(row)
        verification(row)
        metered_calls(row)
        record_news_mark(row, "orders", told_at=timezone.now())
        rotation = PlaidTokenRotation(
            workspace=workspace, connection=row, actor=owner, item_id=f"rotated-{row.pk}", lease_token=uuid4()
        )
        rotation.status = "unknown"
        rotation.seal(SECRET)
        rotation.save()
    for number in range(max(connections // 2, 1)):
        flow(workspace, owner, number=number)
    webhook(None, status="received")
    refusal()
    ProviderPause.objects.get_or_create(provider="plaid", environment="sandbox", code="provider_misconfigured")
    return made


def flow(workspace: Workspace, owner: User, *, number: int = 0) -> Flow:
    """From a shop to a store, with a run over flows and one of its own, a link, a parked record and a write each."""
    source = shop(workspace, owner, status=Status.ACTIVE)
    store = {"provider": "supabase", "config": {"kind": "rest", "schema": "public"}, "status": Status.ACTIVE}
    target = Connection.objects.create(workspace=workspace, owner=owner, name=NAMES[number % len(NAMES)], **store)
    made = Flow.objects.create(
        workspace=workspace,
        name=f"{source} → {target}",
        source=source,
        target=target,
        entities=["customers", "orders"],
        statuses=["completed"],
        status=("active", "draft", "paused", "removed")[number % 4],
    )
    of_flow = {"workspace": workspace, "flow": made}
    mapping = Mapping.objects.create(**of_flow, name=f"<b>Orders</b> {number}", entity="orders", target="supabase")
    rule = {"target": "memo", "expression": "record.memo + '<b>'", "default": None, "required": False, "lookup": None}
    MappingVersion.objects.create(workspace=workspace, mapping=mapping, number=1, rules=[rule], created_by=owner)
    over = SyncRun.objects.create(
        workspace=workspace, entity="orders", trigger="user", parameters_hash=uuid4().hex, status="succeeded"
    )
    one = run(source, flow=made, entity="orders", parent=over, parameters={"ids": ["<b>7</b>"]})
    Watermark.objects.create(**of_flow, entity="orders", position={"at": "<b>orders</b>"}, synced_at=timezone.now())
    RecordLink.objects.create(
        workspace=workspace,
        source=source,
        target=target,
        entity="orders",
        external_id="7",
        target_external_id=f"{source.pk}/woocommerce/7",
    )
    SyncFailure.objects.create(
        **of_flow,
        connection=source,
        run=one,
        entity="orders",
        external_id="8",
        code="parent_missing",
        reason="It belongs to <b>customers</b> 3.",
        payload="{}",
        waits_for_entity="customers",
        waits_for_id="3",
    )
    WriteIntent.objects.create(
        **of_flow, run=one, entity="orders", number=1, member_count=1, members="<b>", idempotency_key=uuid4().hex
    )
    return made


def metered_calls(of: Connection) -> MeteredCalls:
    month = timezone.now().date().replace(day=1)
    told = {"provider": of.provider, "environment": of.environment, "account": "9341450000000001", "month": month}
    return MeteredCalls.objects.create(
        workspace=of.workspace, connection=of, metered=1_234, free=56, last_at=timezone.now(), **told
    )


def verification(of: Connection, *, status: str = "failed") -> Verification:
    """With a check of every status, and words that must not be markup."""
    answers = {
        "reachable": ("passed", "", ""),
        "authentication": ("failed", "The shop does not know <b>this</b> key.", "Make a new key and replace this one."),
        "webhook": ("warning", "It is disabled.", "Activate the connection again."),
        "permission_write": ("skipped", "", ""),
    }
    checks = [
        {"name": name, "status": answer, "duration_ms": 120, "cause": cause, "remediation": remediation}
        for name, (answer, cause, remediation) in answers.items()
    ]
    asked = {"requested_by": of.owner, "correlation_id": "corr-12345678", "finished_at": timezone.now()}
    return Verification.objects.create(
        workspace_id=of.workspace_id,
        connection=of,
        config_version=of.config_version,
        status=status,
        checks=checks,
        **asked,
    )


def shop(workspace: Workspace, owner: User, **fields) -> Connection:
    """A connection that is configured by its fields, with its secrets."""
    values = {"provider": "woocommerce", "name": "Corner shop", "config": {"store_url": "https://shop.example.com"}}
    row = Connection.objects.create(workspace=workspace, owner=owner, **values | fields)
    for name in ("consumer_key", "consumer_secret"):
        credential = Credential(workspace=workspace, connection=row, name=name)
        credential.seal(SECRET)
        credential.save()
    return row


def token_of(user: User) -> AccessToken:
    return AccessToken.objects.filter(user=user).latest("created_at")
