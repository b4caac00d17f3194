from sync.models.failure import SyncFailure
from sync.models.run import RunStatus, SyncRun, Trigger
from sync.models.staged_page import StagedPage
from sync.models.subscription import Subscription, SubscriptionFeed
from sync.models.transaction import Transaction

__all__ = [
    "RunStatus",
    "StagedPage",
    "Subscription",
    "SubscriptionFeed",
    "SyncFailure",
    "SyncRun",
    "Transaction",
    "Trigger",
]
