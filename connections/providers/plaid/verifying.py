"""What can be asked of a bank's login without using the bank: free at Plaid."""

from collections.abc import Iterator

from connections.providers.base import Access, Check
from connections.providers.plaid import records
from connections.providers.plaid.client import PlaidClient


class Verifier:
    """Plaid is reached with our keys, it takes the access token, and the login is in no trouble."""

    def verify(self, access: Access) -> Iterator[Check]:
        client = PlaidClient(access.environment, item_key=str(access.connection_id))
        answer = client.item_get(access.secret("access_token"))
        yield Check("reachable", "passed")
        yield Check("authentication", "passed")
        if records.is_item_well(answer):
            yield Check("login", "passed")
            return
        yield Check(
            "login",
            "failed",
            cause="The bank does not let us in any more. What was synced before is safe.",
            remediation="Its owner has to sign in at the bank again.",
        )
