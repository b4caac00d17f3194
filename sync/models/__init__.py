from sync.models.failure import SyncFailure
from sync.models.flow import ConflictPolicy, Flow, FlowStatus, Watermark
from sync.models.link import LinkState, RecordLink, WriteIntent
from sync.models.mapping import Mapping, MappingVersion
from sync.models.run import RunStatus, SyncRun, Trigger
from sync.models.staged_page import StagedPage
from sync.models.subscription import Subscription, SubscriptionFeed
from sync.models.transaction import Transaction

__all__ = [
    "ConflictPolicy",
    "Flow",
    "FlowStatus",
    "LinkState",
    "Mapping",
    "MappingVersion",
    "RecordLink",
    "RunStatus",
    "StagedPage",
    "Subscription",
    "SubscriptionFeed",
    "SyncFailure",
    "SyncRun",
    "Transaction",
    "Trigger",
    "Watermark",
    "WriteIntent",
]
