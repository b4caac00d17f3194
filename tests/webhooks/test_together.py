"""Webhooks that come at the same time share a statement, and nothing else."""

import json
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor

import pytest
from django.db import DataError, connection

from config.processes import wait_until
from connections.providers.plaid.webhooks import InboundEvent, Verified, parse
from tests.webhooks.conftest import UPDATES, link
from webhooks import inbox
from webhooks.models import WebhookEvent
from webhooks.together import Together


def in_one_piece(together: Together, count: int, work) -> list[Future]:
    """`work(number)` in threads whose calls all wait before any of them has its turn, in this order."""
    together._is_under_way = True
    with ThreadPoolExecutor(count) as pool:
        futures = []
        for number in range(count):
            futures.append(pool.submit(work, number))
            assert wait_until(lambda waiting=number + 1: len(together._waiting) == waiting, 10, 0.001)
        together._hand_over()
        return futures


def test_what_waits_is_done_in_one_piece_and_everybody_gets_the_own_result():
    pieces: list[list[int]] = []

    def do(numbers):
        pieces.append(list(numbers))
        return [number * 2 for number in numbers]

    together = Together(do, most=3)
    assert together(7) == 14
    futures = in_one_piece(together, 5, together)
    assert [future.result() for future in futures] == [0, 2, 4, 6, 8]
    assert [len(piece) for piece in pieces] == [1, 3, 2]


def test_who_is_done_does_not_wait_for_the_next_piece():
    is_begun, may_end = threading.Event(), threading.Event()

    def do(numbers):
        if 2 in numbers:
            is_begun.set()
            may_end.wait(10)
        return list(numbers)

    together = Together(do, most=2)
    together._is_under_way = True
    with ThreadPoolExecutor(3) as pool:
        futures = []
        for number in range(3):
            futures.append(pool.submit(together, number))
            assert wait_until(lambda waiting=number + 1: len(together._waiting) == waiting, 10, 0.001)
        together._hand_over()
        try:
            assert is_begun.wait(10)
            assert [future.result(10) for future in futures[:2]] == [0, 1]
            assert not futures[2].done()
        finally:
            may_end.set()
    assert together(2) == 2


def test_a_crowd_that_comes_again_and_again_is_served_to_the_last():
    together = Together(lambda numbers: [number * 2 for number in numbers], most=3)

    def work(number: int) -> list[int]:
        return [together(number * 100 + turn) for turn in range(100)]

    with ThreadPoolExecutor(8) as pool:
        for number, results in enumerate(pool.map(work, range(8), timeout=60)):
            assert results == [(number * 100 + turn) * 2 for turn in range(100)]
    assert (together._waiting, together._is_under_way) == ([], False)


def test_an_error_is_that_of_its_own_piece_only():
    def do(numbers):
        if 0 in numbers:
            raise ValueError("zero")
        return list(numbers)

    together = Together(do, most=1)
    futures = in_one_piece(together, 3, together)
    with pytest.raises(ValueError, match="zero"):
        futures[0].result()
    assert [future.result() for future in futures[1:]] == [1, 2]


@pytest.mark.django_db(transaction=True)
def test_in_one_piece_twins_are_one_event_and_what_is_refused_is_refused_alone(alice):
    bank = link(alice)
    bodies = [UPDATES | {"item_id": bank.item_id, "number": number} for number in (1, 1, 2)]
    wait_until(lambda: time.time() % 60 < 50, 15)  # the minute is part of their identity

    def receive(number: int) -> inbox.Receipt:
        try:
            if number == 3:
                event = InboundEvent("TRANSACTIONS", "X" * 500, bank.item_id, "sandbox", {})
                return inbox.receive(raw=b"{}", headers={}, verified=Verified("hmac"), event=event)
            raw = json.dumps(bodies[number]).encode()
            return inbox.receive(raw=raw, headers={}, verified=Verified("hmac"), event=parse(raw))
        finally:
            connection.close()

    futures = in_one_piece(inbox._receive_together, 4, receive)
    with pytest.raises(DataError):
        futures[3].result()
    kept = [future.result() for future in futures[:3]]
    assert sorted(receipt.is_new for receipt in kept) == [False, True, True]
    assert kept[0].event_id == kept[1].event_id
    assert sorted(WebhookEvent.objects.values_list("deliveries", flat=True)) == [1, 2]
    assert bank.dirty_seq == 4


@pytest.mark.django_db(transaction=True)
def test_in_one_piece_each_bank_is_marked_and_each_receipt_is_the_own(alice):
    banks = [link(alice, f"item-{number}") for number in range(3)]

    def receive(number: int) -> inbox.Receipt:
        raw = json.dumps(UPDATES | {"item_id": f"item-{number}"}).encode()
        try:
            return inbox.receive(raw=raw, headers={}, verified=Verified("hmac"), event=parse(raw))
        finally:
            connection.close()

    futures = in_one_piece(inbox._receive_together, 4, receive)
    receipts = [future.result() for future in futures]
    assert [receipt.is_dirty for receipt in receipts] == [True, True, True, False]
    assert [bank.dirty_seq for bank in banks] == [4, 4, 4]
    events = WebhookEvent.objects.in_bulk([receipt.event_id for receipt in receipts])
    assert [events[receipt.event_id].item_id for receipt in receipts] == [f"item-{number}" for number in range(4)]
