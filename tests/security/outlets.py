"""Where something can come out of an installation: each is read whole, into `said`."""

import contextlib
import os
import re
from collections import defaultdict
from io import StringIO
from uuid import UUID

import httpx
import psycopg
from django.apps import apps
from django.contrib import admin
from django.core.management import call_command
from django.urls import reverse
from psycopg import sql

from connections.api.matrix import routes
from connections.models import User
from sync.models import SyncRun
from tests import plugin
from tests.conftest import maintenance_dsn
from tests.security.installation import Installation

# What may hold a secret, since it is encrypted.
CIPHERTEXTS = {
    ("connections_credential", "ciphertext"),
    ("connections_idempotencykey", "ciphertext"),
    ("connections_plaidlink", "ciphertext"),
    ("connections_plaidexchange", "ciphertext"),
    ("connections_retiredplaiditem", "ciphertext"),
}
ROWS_SHOWN = 3  # of each model, as pages of their own; what a page can show of the others is in the dump


def read_all(scene: Installation, database: str) -> None:
    walk_api(scene)
    walk_console(scene)
    read_logs(scene)
    read_files(scene)
    read_broker(scene)
    dump_database(scene, database)


def walk_api(scene: Installation) -> None:
    """GET every address of the API, with ids that are there."""
    ids = {"connection_id": scene.bank, "code": "not_found", "sync_id": str(SyncRun.objects.latest("id").pk)}
    seen = 0
    for route, _view in routes():
        if route.startswith("/admin/"):
            continue
        names = re.findall(r"<(?:\w+:)?(\w+)>", route)
        path = re.sub(r"<(?:\w+:)?(\w+)>", lambda found: ids.get(found[1], str(UUID(int=0))), route)
        answer = scene.ask("GET", path)
        assert answer.status_code < 500, (path, answer.text)
        seen += not names or answer.is_success
    assert seen > 15


def walk_console(scene: Installation) -> None:
    """As a superuser: every list, search, page and history."""
    plant = scene.canaries.plant
    password = plant("password of the console")
    user = User.objects.get(pk=scene.staff.user.pk)
    user.is_superuser = True
    user.set_password(password)
    user.save()
    with httpx.Client(base_url=scene.urls[0], timeout=20, follow_redirects=True) as browser:
        page = browser.get("/admin/login/")
        for given in (plant("wrong password of the console"), password):
            hidden = re.search(r'name="csrfmiddlewaretoken" value="([^"]+)"', page.text)
            assert hidden
            fields = {"username": user.username, "password": given, "csrfmiddlewaretoken": hidden[1], "next": "/admin/"}
            page = browser.post("/admin/login/", data=fields)
            scene.said["console"].append(page.text)
        scene.canaries.watch("session cookie", browser.cookies["sessionid"])
        scene.canaries.watch("CSRF cookie", browser.cookies["csrftoken"])
        for url in _console_pages():
            page = browser.get(url)
            assert page.status_code == 200, (url, page.status_code)
            assert "/admin/login/" not in str(page.url)
            scene.said["console"].append(page.text)


def _console_pages() -> list[str]:
    pages = ["/admin/"]
    for model in admin.site._registry:
        name = f"admin:{model._meta.app_label}_{model._meta.model_name}"
        pages += [reverse(f"{name}_changelist"), reverse(f"{name}_changelist") + "?q=a"]
        rows = list(model._default_manager.order_by("-pk")[:ROWS_SHOWN])
        pages += [reverse(f"{name}_change", args=[row.pk]) for row in rows]
        pages += [reverse(f"{name}_history", args=[row.pk]) for row in rows[:1]]
    return pages


def read_logs(scene: Installation) -> None:
    """By form; the commands' and the simulated provider's with the text, which theirs is."""
    for (_name, form), made in scene.processes.items():
        scene.said[f"{form} logs"].append(made.output())
    for made in [scene.simulator.process, *(command for command, _ in scene.commands)]:
        scene.said["text logs"].append(made.output())


def read_files(scene: Installation) -> None:
    """What the application wrote below its home, exports too: all but the servers' data and the provider's own."""
    call_command("verify_audit", export=plugin.HOME / "audit.json", stdout=StringIO())
    seen = set()
    for file in sorted(plugin.HOME.rglob("*")):
        inner = file.relative_to(plugin.HOME).parts
        is_theirs = inner[0].startswith("simulators-") or {"postgres", "valkey"} & set(inner[:-1])
        if file.is_file() and not is_theirs:
            seen.add(inner[0])
            with contextlib.suppress(FileNotFoundError):
                scene.said["files"].append(f"{file.name} {file.read_bytes().decode(errors='replace')}")
    assert seen >= {"logs", "run", "audit.json"}


def read_broker(scene: Installation) -> None:
    """Every key and value in Valkey: waiting messages, budgets, caches."""
    import redis

    with contextlib.closing(redis.Redis.from_url(os.environ["REDIS_URL"])) as client:
        client.set(scene.marker, "1", ex=60)
        for key in client.scan_iter(count=1000):
            scene.said["broker"].append(f"{key!r} {client.dump(key)!r}")


def dump_database(scene: Installation, database: str) -> None:
    """Every column of every table as text, but for the ciphertexts."""
    with psycopg.connect(maintenance_dsn().replace("dbname=postgres", f"dbname={database}")) as superuser:
        columns = superuser.execute(
            "SELECT table_name, column_name FROM information_schema.columns JOIN information_schema.tables"
            " USING (table_schema, table_name) WHERE table_schema = 'public' AND table_type = 'BASE TABLE'"
        ).fetchall()
        tables: defaultdict[str, list[str]] = defaultdict(list)
        for table, column in columns:
            if (table, column) not in CIPHERTEXTS:
                tables[table].append(column)
        assert {tuple(pair) for pair in columns} >= CIPHERTEXTS
        for table, names in tables.items():
            chosen = sql.SQL(", ").join(map(sql.Identifier, names))
            query = sql.SQL("COPY (SELECT {} FROM {}) TO STDOUT").format(chosen, sql.Identifier(table))
            with superuser.cursor().copy(query) as rows:
                scene.said["database"] += [table, *(bytes(row).decode() for row in rows)]
    ours = ("connections", "sync", "webhooks", "diagnostics")
    assert {model._meta.db_table for name in ours for model in apps.get_app_config(name).get_models()} <= tables.keys()
