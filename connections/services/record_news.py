"""News of records: marked by webhooks, taken by whoever pulls."""

from collections.abc import Mapping
from datetime import datetime
from uuid import UUID

from django.db import connection as database
from django.db.models import F, QuerySet

from connections.ids import uuid7
from connections.models import Connection, RecordNews

_MARK = """
    INSERT INTO connections_recordnews AS known
        (id, workspace_id, connection_id, entity, dirty_seq, pulled_seq, first_at, last_at)
    VALUES (%(id)s, %(workspace_id)s, %(connection_id)s, %(entity)s, 1, 0, %(at)s, %(at)s)
    ON CONFLICT (connection_id, entity) DO UPDATE SET
        dirty_seq = known.dirty_seq + 1,
        first_at = CASE WHEN known.dirty_seq > known.pulled_seq THEN known.first_at ELSE excluded.first_at END,
        last_at = greatest(known.last_at, excluded.last_at)
"""


def record_news_mark(connection: Connection, entity: str, *, told_at: datetime) -> None:
    """Something of this entity changed at the source: the next pull reads it. One statement; ten are one."""
    values = {"id": uuid7(), "workspace_id": connection.workspace_id, "connection_id": connection.pk}
    with database.cursor() as cursor:
        cursor.execute(_MARK, values | {"entity": entity, "at": told_at})


def news_waiting() -> QuerySet[RecordNews]:
    """What has changed and was not pulled since, the oldest first: one query by its index."""
    return RecordNews.objects.filter(dirty_seq__gt=F("pulled_seq")).order_by("first_at")


def record_news_taken(connection_id: UUID, seen: Mapping[str, int]) -> None:
    """A pull has applied everything that it read. seen: by entity, the dirty_seq from before its first call."""
    for entity, seq in seen.items():
        mine = RecordNews.objects.filter(connection_id=connection_id, entity=entity, pulled_seq__lt=seq)
        mine.update(pulled_seq=seq)
