"""Whose address counts when somebody signs in."""

import ipaddress

import pytest
from django.test import RequestFactory

from connections.api.throttling import client_address

PROXIES = [ipaddress.ip_network("10.0.0.0/8")]


@pytest.mark.parametrize(
    "remote,forwarded,trusted,found",
    [
        ("203.0.113.9", "", [], "203.0.113.9"),
        ("203.0.113.9", "198.51.100.1", [], "203.0.113.9"),
        ("203.0.113.9", "198.51.100.1", PROXIES, "203.0.113.9"),
        ("10.0.0.1", "198.51.100.1", PROXIES, "198.51.100.1"),
        ("10.0.0.1", "203.0.113.66, 198.51.100.1, 10.0.0.2", PROXIES, "198.51.100.1"),
        ("10.0.0.1", "10.0.0.3", PROXIES, "10.0.0.3"),
        ("10.0.0.1", " , ,", PROXIES, "10.0.0.1"),
        ("", "198.51.100.1", PROXIES, "unknown"),
    ],
)
def test_forwarded_addresses_count_as_far_as_trusted_proxies_wrote_them(settings, remote, forwarded, trusted, found):
    settings.TRUSTED_PROXIES = trusted
    request = RequestFactory().get("/", REMOTE_ADDR=remote, HTTP_X_FORWARDED_FOR=forwarded)
    assert client_address(request) == found


def test_address_that_a_proxy_made_up_is_taken_as_it_is(settings):
    settings.TRUSTED_PROXIES = PROXIES
    request = RequestFactory().get("/", REMOTE_ADDR="10.0.0.1", HTTP_X_FORWARDED_FOR="nonsense, nothing")
    assert client_address(request) == "nothing"
