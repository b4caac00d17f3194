"""The web process. It says so before settings load, since only it pools its database connections."""

import os

os.environ["CAUSEWAY_PROCESS"] = "web"
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")

from django.core.wsgi import get_wsgi_application

application = get_wsgi_application()

from config.checks import refuse_bad_configuration

refuse_bad_configuration()

import config.urls  # noqa: F401 - here, where workers still share it: the first request of each would load it otherwise
