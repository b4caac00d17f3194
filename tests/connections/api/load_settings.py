"""The real settings with two endpoints more: see load_urls."""

from config.settings import *  # noqa: F403

ROOT_URLCONF = "tests.connections.api.load_urls"
