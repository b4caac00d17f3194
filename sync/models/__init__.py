from sync.models.failure import SyncFailure
from sync.models.run import RunStatus, SyncRun, Trigger
from sync.models.staged_page import StagedPage
from sync.models.transaction import Transaction

__all__ = ["RunStatus", "StagedPage", "SyncFailure", "SyncRun", "Transaction", "Trigger"]
