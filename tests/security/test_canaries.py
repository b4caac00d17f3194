"""Some ninety secrets are given to a running installation at every place where one can come in; none comes out anywhere.

That a way out was read is proved by the marker, which is looked for in the same way and has to be found at each.
"""

import base64
import json

import httpx
import pytest

from connections.models import IdempotencyKey, SecurityEvent
from tests.security.canaries import Canaries
from tests.security.installation import Installation
from tests.security.outlets import read_all

pytestmark = pytest.mark.django_db(transaction=True)

OUTLETS = ("API answers", "broker", "console", "database", "error bodies", "files", "json logs", "text logs")


@pytest.mark.parametrize("position", range(4))
def test_a_secret_is_found_in_every_form(position):
    canaries = Canaries()
    secret = canaries.plant("it", 'p"ä{}/+&<')
    padded = "x" * position + secret + "yz"
    assert all(
        canaries.found(f"before {text} after") == {"it"}
        for text in (
            padded,
            json.dumps({"a": padded}),
            json.dumps(json.dumps(padded)),
            padded.encode().hex(),
            base64.b64encode(padded.encode()).decode(),
            base64.urlsafe_b64encode(padded.encode()).decode(),
            httpx.URL("http://x", params={"q": padded}).query.decode(),
        )
    )
    assert canaries.found("nothing of the kind") == set()


def test_no_planted_secret_comes_out_anywhere(process, simulator, alice, bob, owner_connection):
    scene = Installation(process, simulator, alice, bob)
    scene.plant_everywhere()
    assert IdempotencyKey.objects.filter(status="done").count() == 3
    assert SecurityEvent.objects.filter(action="sign_in_failed").exists()
    assert len(scene.canaries.planted) >= 80, len(scene.canaries.planted)
    read_all(scene, owner_connection.info.dbname)
    for made in scene.processes.values():
        made.terminate()  # all at once, where the fixture waits for one after the other

    whole = {outlet: "\n".join(texts) for outlet, texts in scene.said.items()}
    found = {(outlet, name) for outlet, text in whole.items() for name in scene.canaries.found(text)}
    seen = {(outlet, "marker") for outlet in OUTLETS}
    for outlet, name in sorted(found - seen):
        print("LEAK", outlet, "|", name, "|", scene.canaries.around(name, whole[outlet]))
    assert found == seen
