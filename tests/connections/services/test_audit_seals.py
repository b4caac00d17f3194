"""The chain over the security events: nothing in it can be changed, removed, moved or cut off without being found."""

import json
import threading
from io import StringIO

import pytest
from django.core.management import CommandError, call_command
from django.db import ProgrammingError, transaction
from django.db import connection as database

from connections.audit import Action
from connections.models import AuditSeal, SecurityEvent
from connections.services import audit_seals
from connections.services.audit import security_event_record
from connections.services.audit_seals import chains_verify, events_seal
from tests.factories import Person

pytestmark = pytest.mark.django_db(transaction=True)


def record(person: Person | None, count: int = 1) -> None:
    for number in range(count):
        workspace_id = person.workspace.pk if person else None
        actor = person.user if person else None
        security_event_record(Action.SYNC_REQUESTED, actor=actor, workspace_id=workspace_id, number=number)


@pytest.fixture
def chain(alice) -> list[AuditSeal]:
    """Five sealed events of alice's workspace, three of the installation."""
    record(alice, 5)
    record(None, 3)
    assert events_seal() == 8
    return list(AuditSeal.objects.filter(workspace=alice.workspace).order_by("sequence"))


def verify(*arguments: str) -> tuple[str, int]:
    """(what it says, its exit code)."""
    out = StringIO()
    try:
        call_command("verify_audit", *arguments, stdout=out)
    except CommandError as error:
        return out.getvalue() + str(error), error.returncode
    return out.getvalue(), 0


# --- sealing ---
def test_each_workspace_has_a_chain_of_its_own(chain, alice, charlie):
    record(charlie)
    record(alice)
    events_seal()
    lengths = {}
    for seal in AuditSeal.objects.order_by("sequence"):
        lengths.setdefault(seal.workspace and seal.workspace.slug, []).append(seal.sequence)
    assert lengths == {"acme": [1, 2, 3, 4, 5, 6], None: [1, 2, 3], "globex": [1]}
    assert verify() == ("10 security events in 3 chains are as they were sealed.\n", 0)


def test_an_idle_tick_is_one_query(chain, django_assert_num_queries):
    with django_assert_num_queries(1):
        assert events_seal() == 0


def test_batches_go_on_where_the_last_one_ended(alice):
    record(alice, 7)
    assert events_seal(limit=3) == 7
    assert [seal.sequence for seal in AuditSeal.objects.order_by("sequence")] == [1, 2, 3, 4, 5, 6, 7]
    assert verify()[1] == 0


def test_sealers_and_writers_at_the_same_time_make_one_whole_chain(alice):
    together, failures = threading.Barrier(4), []

    def work(is_sealer: bool) -> None:
        try:
            together.wait(10)
            for _ in range(15):
                events_seal() if is_sealer else record(alice)
        except Exception as error:  # noqa: BLE001 - shown by the assertion
            failures.append(error)
        finally:
            database.close()

    threads = [threading.Thread(target=work, args=[number % 2 == 0]) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    events_seal()
    assert failures == []
    assert AuditSeal.objects.count() == SecurityEvent.objects.count() == 30
    assert verify()[1] == 0


def test_an_event_that_commits_late_is_sealed_all_the_same(alice):
    begun, go_on = threading.Event(), threading.Event()

    def slow() -> None:
        with transaction.atomic():
            record(alice)
            begun.set()
            assert go_on.wait(20)
        database.close()

    writer = threading.Thread(target=slow)
    writer.start()
    assert begun.wait(10)
    record(alice)
    assert events_seal() == 1
    go_on.set()
    writer.join(10)
    assert events_seal() == 1
    assert verify()[1] == 0


# --- what the application's login may do ---
@pytest.mark.parametrize("table", ["connections_securityevent", "connections_auditseal"])
@pytest.mark.parametrize("verb", ["UPDATE {} SET id = id", "DELETE FROM {}", "TRUNCATE {}"])
def test_the_applications_login_can_neither_change_nor_delete_it(chain, table, verb):
    with pytest.raises(ProgrammingError, match="permission denied"), database.cursor() as cursor:
        cursor.execute(verb.format(table))
    assert SecurityEvent.objects.count() == AuditSeal.objects.count() == 8


def test_nor_does_the_orm(chain):
    event = SecurityEvent.objects.first()
    with pytest.raises(ProgrammingError, match="permission denied"):
        event.save()
    with pytest.raises(ProgrammingError, match="permission denied"):
        event.delete()


# --- tampering, by the tables' owner ---
@pytest.mark.parametrize(
    "column, value",
    [
        ("action", "'signed_out'"),
        ("actor_name", "'mallory'"),
        ("actor_id", "NULL"),
        ("details", """'{"number": 7}'"""),
        ("ip", "'192.0.2.1'"),
        ("user_agent", "'other'"),
        ("object_id", "'other'"),
        ("correlation_id", "'other'"),
        ("at", "at + interval '1 microsecond'"),
    ],
)
def test_a_changed_column_is_found_and_named(chain, owner_connection, column, value):
    seal = chain[2]
    owner_connection.execute(f"UPDATE connections_securityevent SET {column} = {value} WHERE id = %s", [seal.event_id])
    said, code = verify()
    assert code == 1
    assert said.splitlines() == [
        f"acme: security event {seal.event_id} of seal 3 is not what was sealed",
        "1 findings; nothing was exported.",
    ]


def test_an_event_moved_to_another_workspace_is_found(chain, charlie, owner_connection):
    moved = [charlie.workspace.pk, chain[0].event_id]
    owner_connection.execute("UPDATE connections_securityevent SET workspace_id = %s WHERE id = %s", moved)
    assert f"acme: security event {chain[0].event_id} of seal 1 is not what was sealed" in verify()[0]


def test_a_deleted_event_is_found_and_named(chain, owner_connection):
    owner_connection.execute("DELETE FROM connections_securityevent WHERE id = %s", [chain[4].event_id])
    assert f"acme: security event {chain[4].event_id} of seal 5 is gone" in verify()[0]


def test_a_deleted_seal_is_found_and_named(chain, owner_connection):
    owner_connection.execute("DELETE FROM connections_auditseal WHERE id = ANY(%s)", [[chain[1].pk, chain[2].pk]])
    said, code = verify()
    assert (code, said.splitlines()[0]) == (1, "acme: seals 2 to 3 are missing from the chain")


def test_an_event_and_its_seal_taken_out_together_are_found(chain, owner_connection):
    owner_connection.execute("DELETE FROM connections_securityevent WHERE id = %s", [chain[1].event_id])
    owner_connection.execute("DELETE FROM connections_auditseal WHERE id = %s", [chain[1].pk])
    assert "acme: seal 2 is missing from the chain" in verify()[0]


def test_the_gap_closed_by_renumbering_is_found(chain, owner_connection):
    owner_connection.execute("DELETE FROM connections_securityevent WHERE id = %s", [chain[1].event_id])
    owner_connection.execute("DELETE FROM connections_auditseal WHERE id = %s", [chain[1].pk])
    for seal in chain[2:]:
        moved = [seal.sequence - 1, seal.pk]
        owner_connection.execute("UPDATE connections_auditseal SET sequence = %s WHERE id = %s", moved)
    assert "acme: seal 2 does not follow from seal 1" in verify()[0]


def test_two_swapped_events_are_found(chain, owner_connection):
    first, second = chain[0], chain[3]
    for seal, event_id in ((first, None), (second, first.event_id), (first, second.event_id)):
        owner_connection.execute(
            "UPDATE connections_auditseal SET event_id = coalesce(%s, gen_random_uuid()) WHERE id = %s",
            [event_id, seal.pk],
        )
    said = verify()[0]
    assert f"acme: security event {second.event_id} of seal 1 is not what was sealed" in said
    assert f"acme: security event {first.event_id} of seal 4 is not what was sealed" in said


def test_an_event_put_in_from_behind_is_found(chain, alice, owner_connection):
    owner_connection.execute(
        """
        INSERT INTO connections_securityevent (id, workspace_id, actor_name, action, object_type, object_id, user_agent,
            correlation_id, details, at)
        VALUES (gen_random_uuid(), %s, '', 'signed_in', '', '', '', '', '{}', now() - interval '1 day')
        """,
        [alice.workspace.pk],
    )
    assert events_seal() == 0
    said, code = verify("--workspace", "acme")
    assert code == 1
    assert "was never sealed" in said


# --- checkpoints ---
def test_an_export_says_where_each_chain_ends_and_is_gone_through_later(chain, alice, tmp_path):
    file = tmp_path / "checkpoint.json"
    assert verify("--export", str(file))[1] == 0
    exported = {entry["chain"]: entry for entry in json.loads(file.read_text())["chains"]}
    assert exported["acme"] == {
        "chain": "acme",
        "workspace_id": str(alice.workspace.pk),
        "sequence": 5,
        "hash": chain[-1].hash,
    }
    assert exported["installation"]["sequence"] == 3
    record(alice, 2)
    events_seal()
    assert verify("--checkpoint", str(file))[1] == 0


def test_an_end_that_was_cut_off_is_found_with_a_checkpoint_only(chain, owner_connection, tmp_path):
    file = tmp_path / "checkpoint.json"
    verify("--export", str(file))
    for seal in chain[3:]:
        owner_connection.execute("DELETE FROM connections_securityevent WHERE id = %s", [seal.event_id])
        owner_connection.execute("DELETE FROM connections_auditseal WHERE id = %s", [seal.pk])
    assert verify()[1] == 0
    said, code = verify("--checkpoint", str(file))
    assert (code, said.splitlines()[0]) == (1, "acme: the chain ends at 3, the checkpoint is at 5")


def test_a_chain_that_is_gone_altogether_is_found_with_a_checkpoint(chain, owner_connection, tmp_path):
    file = tmp_path / "checkpoint.json"
    verify("--export", str(file))
    owner_connection.execute("DELETE FROM connections_auditseal")
    owner_connection.execute("DELETE FROM connections_securityevent")
    said, code = verify("--checkpoint", str(file))
    assert code == 1
    assert "acme: the chain ends at 0, the checkpoint is at 5" in said
    assert "installation: the chain ends at 0, the checkpoint is at 3" in said


def test_a_chain_written_anew_from_the_change_on_is_found_with_a_checkpoint(chain, owner_connection, tmp_path):
    """Whoever can compute the hashes leaves a chain that is whole in itself."""
    file = tmp_path / "checkpoint.json"
    verify("--export", str(file))
    changed = chain[1].event_id
    owner_connection.execute("UPDATE connections_securityevent SET action = 'signed_out' WHERE id = %s", [changed])
    owner_connection.execute("DELETE FROM connections_auditseal WHERE sequence > 1 AND workspace_id IS NOT NULL")
    events_seal()
    assert verify()[1] == 0
    said, code = verify("--checkpoint", str(file))
    assert (code, said.splitlines()[0]) == (1, "acme: seal 5 is not that of the checkpoint")


def test_one_workspace_is_verified_alone(chain, owner_connection):
    owner_connection.execute("DELETE FROM connections_auditseal WHERE workspace_id IS NULL AND sequence = 2")
    assert verify("--workspace", "acme") == ("5 security events in 1 chains are as they were sealed.\n", 0)
    assert verify()[1] == 1
    assert verify("--workspace", "unknown")[1] == 1


def test_a_broken_chain_is_not_exported(chain, owner_connection, tmp_path):
    owner_connection.execute("DELETE FROM connections_auditseal WHERE sequence = 2")
    assert verify("--export", str(tmp_path / "checkpoint.json"))[1] == 1
    assert not (tmp_path / "checkpoint.json").exists()


@pytest.mark.parametrize("text", ["", "[]", '{"chains": [{"chain": "acme"}]}'])
def test_a_file_that_is_no_checkpoint_is_refused(chain, tmp_path, text):
    file = tmp_path / "other.json"
    file.write_text(text)
    said, code = verify("--checkpoint", str(file))
    assert code == 1
    assert "no export of verify_audit" in said


def test_a_long_chain_is_read_in_pieces(alice, monkeypatch):
    monkeypatch.setattr(audit_seals, "BATCH", 2)
    record(alice, 5)
    events_seal(limit=5)
    verified = chains_verify(workspace=alice.workspace)
    assert (verified.count, verified.findings, verified.checkpoints[0].sequence) == (5, [], 5)
