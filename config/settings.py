"""All of Causeway's settings. Every variable is described in docs/reference/settings.md and in .env.example."""

import os
import secrets
import tomllib
from ipaddress import ip_network
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import environ

from config.environment import Environment, demo_secrets

BASE_DIR = Path(__file__).resolve().parent.parent
env = Environment(base_dir=BASE_DIR)
# Read by config.checks, which lists them all at once.
CONFIGURATION_PROBLEMS = env.problems

VERSION = tomllib.loads((BASE_DIR / "pyproject.toml").read_text())["project"]["version"]

# --- where this installation lives -----------------------------------------------------------------------------------
CAUSEWAY_HOME = Path(env.text("CAUSEWAY_HOME", str(BASE_DIR / ".causeway"))).absolute()
DEMO = env.flag("DEMO", default=True)
PORT = env.port("PORT", 8000)
BIND_ADDRESS = env.text("BIND_ADDRESS", "127.0.0.1")  # where the web server listens, whatever PUBLIC_URL says
SIMULATOR_PORT = env.port("SIMULATOR_PORT", 8100)
SIMULATOR_URL = f"http://127.0.0.1:{SIMULATOR_PORT}"
PUBLIC_URL = env.url("PUBLIC_URL", f"http://127.0.0.1:{PORT}")
IS_HTTPS = PUBLIC_URL.startswith("https://")
try:
    DEMO_SECRETS = demo_secrets(CAUSEWAY_HOME) if DEMO else {}
except OSError as error:
    CONFIGURATION_PROBLEMS.append(f"CAUSEWAY_HOME ({CAUSEWAY_HOME}) cannot be written: {error.strerror}.")
    DEMO_SECRETS = {}

DEBUG = False
SECRET_KEY = env.text("SECRET_KEY", DEMO_SECRETS.get("SECRET_KEY", ""))
if not SECRET_KEY:
    CONFIGURATION_PROBLEMS.append("SECRET_KEY is not set: it signs sessions. Use at least 50 random characters.")
    SECRET_KEY = secrets.token_urlsafe(64)  # lets the checks run and name everything else that is wrong
ENCRYPTION_KEYS = env.keyring("ENCRYPTION_KEYS", DEMO_SECRETS.get("ENCRYPTION_KEYS", ""))
if not ENCRYPTION_KEYS and not env.text("ENCRYPTION_KEYS"):
    CONFIGURATION_PROBLEMS.append(
        "ENCRYPTION_KEYS is not set: it encrypts credentials. Use id:base64 of 32 random bytes."
    )
JOBS_SECRET = env.text("JOBS_SECRET", DEMO_SECRETS.get("JOBS_SECRET", ""))

ALLOWED_HOSTS = sorted({urlsplit(PUBLIC_URL).hostname or "127.0.0.1", "127.0.0.1", "localhost", "[::1]"})
CSRF_TRUSTED_ORIGINS = [PUBLIC_URL]
TRUSTED_PROXIES = env.networks("TRUSTED_PROXIES")
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https") if TRUSTED_PROXIES else None
SECURE_SSL_REDIRECT = SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = IS_HTTPS
SECURE_REDIRECT_EXEMPT = [r"^healthz$", r"^readyz$"]
SECURE_HSTS_SECONDS = 31_536_000 if IS_HTTPS else 0
SECURE_HSTS_INCLUDE_SUBDOMAINS = SECURE_HSTS_PRELOAD = IS_HTTPS
SESSION_COOKIE_HTTPONLY = True
SESSION_ENGINE = "config.sessions"
X_FRAME_OPTIONS = "DENY"

# --- applications ----------------------------------------------------------------------------------------------------
INSTALLED_APPS = [
    "unfold",
    "unfold.contrib.filters",
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "whitenoise.runserver_nostatic",
    "django.contrib.staticfiles",
    "rest_framework",
    "drf_spectacular",
    "drf_spectacular_sidecar",
    "django_celery_beat",
    "config.apps.ConfigConfig",
    "connections.apps.ConnectionsConfig",
    "sync.apps.SyncConfig",
    "webhooks.apps.WebhooksConfig",
    "diagnostics.apps.DiagnosticsConfig",
]
MIDDLEWARE = [
    "config.correlation.CorrelationMiddleware",
    "connections.audit.OriginMiddleware",
    "config.problems.BodyLimitMiddleware",
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]
ROOT_URLCONF = "config.urls"
WSGI_APPLICATION = "config.wsgi.application"
APPEND_SLASH = False
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    }
]
AUTH_USER_MODEL = "connections.User"
PASSWORD_HASHERS = [
    "django.contrib.auth.hashers.Argon2PasswordHasher",
    "django.contrib.auth.hashers.PBKDF2PasswordHasher",
]
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": f"django.contrib.auth.password_validation.{name}"}
    for name in ("UserAttributeSimilarityValidator", "MinimumLengthValidator", "CommonPasswordValidator")
]
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
LANGUAGE_CODE, TIME_ZONE, USE_TZ, USE_I18N = "en", "UTC", True, False
STATIC_URL = "/static/"
STATICFILES_DIRS = [BASE_DIR / "static"]
WHITENOISE_USE_FINDERS = True  # served straight from the wheels: a start needs no collecting
DATA_UPLOAD_MAX_MEMORY_SIZE = 1024 * 1024  # the largest body any endpoint of ours needs, webhooks included
WEB_READ_TIMEOUT_S = env.seconds("WEB_READ_TIMEOUT_S", 10)  # for a whole request to arrive, and its answer to be taken

# --- PostgreSQL and Valkey: the embedded ones unless their URLs are set ----------------------------------------------
DATABASE_URL = env.text("DATABASE_URL")
REDIS_URL = env.url("REDIS_URL", "", schemes=("redis", "rediss", "unix", "redis+socket"))
IS_EMBEDDED_POSTGRES, IS_EMBEDDED_VALKEY = not DATABASE_URL, not env.text("REDIS_URL")
if IS_EMBEDDED_POSTGRES or IS_EMBEDDED_VALKEY:
    from config.embedded import Embedded

    EMBEDDED = Embedded(CAUSEWAY_HOME)


def _database(name: str, url: str) -> dict:
    try:
        found = environ.Env.db_url_config(url)
        if found.get("ENGINE") != "django.db.backends.postgresql" or not (found.get("NAME") and found.get("USER")):
            raise ValueError
        _ = urlsplit(url).port
    except Exception:  # noqa: BLE001 - whatever the parser dislikes is the same problem for the person who wrote it
        CONFIGURATION_PROBLEMS.append(f"{name} is not postgres://user:password@host:port/name.")
        return {"ENGINE": "django.db.backends.postgresql", "NAME": "unset", "USER": "unset"}
    # A socket's folder is written %2Fvar%2Frun, as libpq wants it.
    return found | {"HOST": unquote(found.get("HOST") or "")}


if IS_EMBEDDED_POSTGRES:
    _embedded = {"ENGINE": "django.db.backends.postgresql", "NAME": "causeway", "HOST": str(EMBEDDED.socket_dir)}
    _app, _owner = (_embedded | {"USER": "causeway_app"}, _embedded | {"USER": "causeway_owner"})
else:
    _app = _database("DATABASE_URL", DATABASE_URL)
    _owner_url = env.required("DATABASE_OWNER_URL", because="with DATABASE_URL it is the login that runs migrations.")
    _owner = _database("DATABASE_OWNER_URL", _owner_url) if _owner_url else dict(_app)
if _name := env.text("CAUSEWAY_DATABASE"):  # tests: every one of their processes has a database of its own
    _app["NAME"] = _owner["NAME"] = _name
# Row-level security rests on three roles: the owner migrates, the application logs in, and a request on behalf of a
# workspace switches to the tenant role (docs/explanation/row-security.md).
DATABASE_ROLES = {"owner": _owner["USER"], "app": _app["USER"], "tenant": f"{_app['USER']}_tenant"}
IS_WEB = os.environ.get("CAUSEWAY_PROCESS") == "web"
DATABASES: dict[str, dict[str, Any]] = {
    "default": {
        **_app,
        "ATOMIC_REQUESTS": False,
        "CONN_MAX_AGE": 0 if IS_WEB else 300,
        "CONN_HEALTH_CHECKS": True,
        "OPTIONS": {
            "connect_timeout": 5,
            # Who is connected, and which key it encrypts with: `rotate_keys` asks PostgreSQL for both.
            "application_name": f"causeway-{os.environ.get('CAUSEWAY_PROCESS', 'command')}"
            f" key {next(iter(ENCRYPTION_KEYS), '-')}",
        },
    },
    "owner": {**_owner, "ATOMIC_REQUESTS": False, "OPTIONS": {"connect_timeout": 5}},
}
# Celery closes pooled connections at every task boundary, so only the web process has a pool.
if IS_WEB:
    from config.pool import reset_connection

    DATABASES["default"]["OPTIONS"]["pool"] = {"min_size": 1, "max_size": 16, "timeout": 10, "reset": reset_connection}

REDIS_URL = REDIS_URL or (f"unix://{EMBEDDED.valkey_socket}" if IS_EMBEDDED_VALKEY else "")
CACHES = {
    "default": {
        "BACKEND": "django.core.cache.backends.redis.RedisCache",
        "LOCATION": REDIS_URL,
        "KEY_PREFIX": "causeway",
        "OPTIONS": {"socket_timeout": 2, "socket_connect_timeout": 0.5},
    }
}

# --- Celery ----------------------------------------------------------------------------------------------------------
CELERY_BROKER_URL = REDIS_URL  # kombu has its own words for a unix socket and the number of the database behind it
if REDIS_URL.startswith("unix://"):
    CELERY_BROKER_URL = REDIS_URL.replace("unix://", "redis+socket://", 1).replace("?db=", "?virtual_host=", 1)
CELERY_TASK_ACKS_LATE = CELERY_TASK_REJECT_ON_WORKER_LOST = CELERY_TASK_IGNORE_RESULT = True
CELERY_WORKER_PREFETCH_MULTIPLIER = 1
CELERY_TASK_TIME_LIMIT, CELERY_TASK_SOFT_TIME_LIMIT = 900, 840
CELERY_BROKER_TRANSPORT_OPTIONS = {
    "visibility_timeout": 3600,  # above the task time limit, or a task would be handed out twice
    "socket_keepalive": True,
    "health_check_interval": 25,
    "global_keyprefix": "causeway:",
}
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
CELERY_BROKER_CONNECTION_MAX_RETRIES = None
CELERY_WORKER_SOFT_SHUTDOWN_TIMEOUT = 6
CELERY_WORKER_ENABLE_SOFT_SHUTDOWN_ON_IDLE = False  # work is rows: an idle worker has nothing to give back
CELERY_WORKER_CANCEL_LONG_RUNNING_TASKS_ON_CONNECTION_LOSS = True
CELERY_WORKER_HIJACK_ROOT_LOGGER = False
CELERY_ACCEPT_CONTENT = ["json"]
CELERY_TIMEZONE = "UTC"
CELERY_TASK_DEFAULT_QUEUE = "sync"
CELERY_BEAT_SCHEDULER = "config.beat:Scheduler"
CELERY_BEAT_MAX_LOOP_INTERVAL = 2
DJANGO_CELERY_BEAT_TZ_AWARE = True

# --- work: leases, ticks, back-offs, budgets -------------------------------------------------------------------------
LEASE_S = env.seconds("LEASE_S", 60)
TICK_S = env.seconds("TICK_S", 2)
OFFER_S = env.seconds("OFFER_S", 30)  # how long handed-out work is left to the broker before it is offered again
SYNC_TASK_S = env.seconds("SYNC_TASK_S", 120)  # a sync task stops voluntarily after this and offers the rest again
SYNC_LARGE_PAGES = env.integer("SYNC_LARGE_PAGES", 20)  # an update that already has this many pages is large
SYNC_MAX_RESTARTS = env.integer("SYNC_MAX_RESTARTS", 5)
SYNC_RESTART_JITTER_S = env.seconds("SYNC_RESTART_JITTER_S", 1)
BACKOFF_BASE_S = env.seconds("BACKOFF_BASE_S", 30)
BACKOFF_MAX_S = env.seconds("BACKOFF_MAX_S", 6 * 3600)
BACKOFF_OUTAGE_MAX_S = env.seconds("BACKOFF_OUTAGE_MAX_S", 3600)  # the longest wait for a provider that is away
RATE_LIMIT_WAIT_S = env.seconds("RATE_LIMIT_WAIT_S", 60)
AUDIT_SEAL_S = env.seconds("AUDIT_SEAL_S", 5)  # how often security events are linked into their chains
EVENT_BACKOFF_S = env.seconds("EVENT_BACKOFF_S", 5)  # the first wait after a handler of an event failed
EVENT_ATTEMPTS = env.integer("EVENT_ATTEMPTS", 8, at_least=1)  # so often an event is tried, then parked
EVENT_DAYS = env.integer("EVENT_DAYS", 30, at_least=1)  # how long events that everybody has are kept
PLAID_POLL_S = env.seconds(
    "PLAID_POLL_S", 60 if DEMO else 24 * 3600
)  # every active Item is synced so often by the clock
FLOW_POLL_S = env.seconds("FLOW_POLL_S", 300 if DEMO else 900)  # an active flow is read so often, news or not
FLOW_RECONCILE_S = env.seconds("FLOW_RECONCILE_S", 24 * 3600)  # and all ids of its source are compared so often
SAFETY_NET_S = env.seconds("SAFETY_NET_S", 24 * 3600)  # one without webhook and sync for this long is looked at
RESTART_BASE_S = env.seconds("RESTART_BASE_S", 1)  # `manage.py up` starts again what crashed, each time twice as late
RESTART_MAX_S = env.seconds("RESTART_MAX_S", 30)
PLAID_RECURRING_S = env.seconds("PLAID_RECURRING_S", 300 if DEMO else 24 * 3600)  # the longest subscriptions go unread
WEBHOOK_RETENTION_DAYS = env.integer("WEBHOOK_RETENTION_DAYS", 30, at_least=1)
WEBHOOK_REFUSALS_ALERT = env.integer(
    "WEBHOOK_REFUSALS_ALERT", 20
)  # so many a provider and hour alert operators; 0: none
VERIFICATION_DAYS = env.integer("VERIFICATION_DAYS", 30, at_least=1)  # the latest of each version is kept for good
CLEANUP_IDLE_S = env.seconds("CLEANUP_IDLE_S", 90 * 24 * 3600)  # unused for so long, a bank gets notice
CLEANUP_GRACE_S = env.seconds("CLEANUP_GRACE_S", 14 * 24 * 3600)  # and so long after, it is removed
HOUSEKEEPING_S = env.seconds("HOUSEKEEPING_S", 15)
LINK_POLL_S = env.seconds("LINK_POLL_S", 2)  # how often an open Hosted Link session is asked for its result
PLAID_SYNC_PER_ITEM_MINUTE = env.integer("PLAID_SYNC_PER_ITEM_MINUTE", 50, at_least=1)
PLAID_SYNC_PER_CLIENT_MINUTE = env.integer("PLAID_SYNC_PER_CLIENT_MINUTE", 2500, at_least=1)
PLAID_ACCOUNTS_PER_ITEM_MINUTE = env.integer("PLAID_ACCOUNTS_PER_ITEM_MINUTE", 15, at_least=1)
QUICKBOOKS_PER_MINUTE = env.integer("QUICKBOOKS_PER_MINUTE", 400, at_least=1)  # of a company; Intuit allows 500
QUICKBOOKS_BATCHES_PER_MINUTE = env.integer("QUICKBOOKS_BATCHES_PER_MINUTE", 38, at_least=1)  # 40
QUICKBOOKS_PER_SECOND = env.integer("QUICKBOOKS_PER_SECOND", 8, at_least=1)  # 10
QUICKBOOKS_PARALLEL = env.integer("QUICKBOOKS_PARALLEL", 4, at_least=1)
BUDGET_NAMESPACE = env.text("BUDGET_NAMESPACE", "main")  # apart for each test worker on one server
PLAID_TIMEOUT_S = env.seconds("PLAID_TIMEOUT_S", 60)
TOKEN_REFRESH_S = env.seconds("TOKEN_REFRESH_S", 300)  # how often the clock looks for OAuth tokens that end
TOKEN_REFRESH_AHEAD_S = env.seconds("TOKEN_REFRESH_AHEAD_S", 600)  # those that end within this are renewed
OAUTH_TIMEOUT_S = env.seconds("OAUTH_TIMEOUT_S", 30)  # for one answer of a provider's token endpoint

# --- providers -------------------------------------------------------------------------------------------------------
PLAID_CLIENT_ID = env.text("PLAID_CLIENT_ID", DEMO_SECRETS.get("PLAID_CLIENT_ID", ""))
PLAID_SECRET = env.text("PLAID_SECRET", DEMO_SECRETS.get("PLAID_SECRET", ""))
PLAID_WEBHOOK_SECRET = env.text("PLAID_WEBHOOK_SECRET")
PLAID_SANDBOX_URL = env.url("PLAID_SANDBOX_URL", f"{SIMULATOR_URL}/plaid" if DEMO else "https://sandbox.plaid.com")
PLAID_PRODUCTION_URL = env.url(
    "PLAID_PRODUCTION_URL", f"{SIMULATOR_URL}/plaid" if DEMO else "https://production.plaid.com"
)
PLAID_OWN_WEBHOOKS = env.flag(
    "PLAID_OWN_WEBHOOKS", default=True
)  # Items whose webhooks go elsewhere are told our address
PLAID_CLIENT_NAME = env.text("PLAID_CLIENT_NAME", "Causeway")
PLAID_LANGUAGE = env.text("PLAID_LANGUAGE", "en")
PLAID_COUNTRY_CODES = env.text("PLAID_COUNTRY_CODES", "US,CA,GB,DE,FR,ES,NL,IE").split(",")
PLAID_DAYS_REQUESTED = env.integer("PLAID_DAYS_REQUESTED", 730, at_least=1)

# QuickBooks Online: the installation has an app of its own at Intuit.
QUICKBOOKS_CLIENT_ID = env.text("QUICKBOOKS_CLIENT_ID", DEMO_SECRETS.get("QUICKBOOKS_CLIENT_ID", ""))
QUICKBOOKS_CLIENT_SECRET = env.text("QUICKBOOKS_CLIENT_SECRET", DEMO_SECRETS.get("QUICKBOOKS_CLIENT_SECRET", ""))
QUICKBOOKS_WEBHOOK_VERIFIER = env.text(
    "QUICKBOOKS_WEBHOOK_VERIFIER", DEMO_SECRETS.get("QUICKBOOKS_WEBHOOK_VERIFIER", "")
)
_intuit = f"{SIMULATOR_URL}/quickbooks" if DEMO else ""
QUICKBOOKS_PRODUCTION_URL = env.url(
    "QUICKBOOKS_PRODUCTION_URL", f"{_intuit}/production" if DEMO else "https://quickbooks.api.intuit.com"
)
QUICKBOOKS_SANDBOX_URL = env.url("QUICKBOOKS_SANDBOX_URL", _intuit or "https://sandbox-quickbooks.api.intuit.com")
INTUIT_AUTHORIZE_URL = env.url(
    "INTUIT_AUTHORIZE_URL", f"{_intuit}/oauth2/authorize" if DEMO else "https://appcenter.intuit.com/connect/oauth2"
)
INTUIT_TOKEN_URL = env.url(
    "INTUIT_TOKEN_URL",
    f"{_intuit}/oauth2/tokens" if DEMO else "https://oauth.platform.intuit.com/oauth2/v1/tokens/bearer",
)
INTUIT_REVOKE_URL = env.url(
    "INTUIT_REVOKE_URL",
    f"{_intuit}/oauth2/revoke" if DEMO else "https://developer.api.intuit.com/v2/oauth2/tokens/revoke",
)
METRICS_TOKEN = env.text("METRICS_TOKEN")
DIAGNOSTICS_BUCKET = env.text("DIAGNOSTICS_BUCKET")
ALERT_URLS = env.text("ALERT_URLS").replace(",", " ").split()  # where operators are told; checked in diagnostics.checks
ALERT_BACKOFF_S = env.seconds("ALERT_BACKOFF_S", 15)  # the first wait after a channel did not take an alert
# Mail to the owners of connections; without EMAIL_URL there is none.
globals().update(env.mail("EMAIL_URL"))
EMAIL_IS_SET = bool(env.text("EMAIL_URL"))
EMAIL_TIMEOUT = 10  # of one answer; a message has to be through before another notifier tries it
DEFAULT_FROM_EMAIL = SERVER_EMAIL = env.text("EMAIL_FROM")
if EMAIL_IS_SET and "@" not in DEFAULT_FROM_EMAIL:
    CONFIGURATION_PROBLEMS.append("EMAIL_FROM is not an address: with EMAIL_URL it is whom mails are from.")
STAFF_OTP = env.choice("STAFF_OTP", "optional" if DEMO else "required", ("required", "optional"))
ALLOW_PRIVATE_NETWORKS = env.networks("ALLOW_PRIVATE_NETWORKS")
if DEMO:  # its simulators are there
    ALLOW_PRIVATE_NETWORKS = [*ALLOW_PRIVATE_NETWORKS, *map(ip_network, ("127.0.0.0/8", "::1/128"))]
SIMULATOR_DATABASE_URL = env.url("SIMULATOR_DATABASE_URL", "", schemes=("postgres", "postgresql"))
# Where the simulated Supabase keeps its projects, each in a database of its own; "": nowhere, and it says so.
SIMULATOR_DATABASE = SIMULATOR_DATABASE_URL or (EMBEDDED.superuser_dsn() if IS_EMBEDDED_POSTGRES else "")

# --- API -------------------------------------------------------------------------------------------------------------
THROTTLE_USER = env.integer("THROTTLE_USER", 0 if DEMO else 1200)  # requests a minute and user, 0 = off
THROTTLE_LOGIN = env.integer("THROTTLE_LOGIN", 10)  # sign-ins a minute and address, 0 = off
TOKEN_DAYS = env.integer("TOKEN_DAYS", 30, at_least=1)
REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": ["connections.api.authentication.BearerAuthentication"],
    "DEFAULT_PERMISSION_CLASSES": ["rest_framework.permissions.IsAuthenticated"],
    "DEFAULT_RENDERER_CLASSES": ["config.rendering.JSONRenderer"],
    "DEFAULT_PARSER_CLASSES": ["config.rendering.JSONParser"],
    "DEFAULT_SCHEMA_CLASS": "config.openapi.AutoSchema",
    "DEFAULT_THROTTLE_CLASSES": ["connections.api.throttling.UserThrottle"],
    "EXCEPTION_HANDLER": "config.problems.exception_handler",
    "URL_FORMAT_OVERRIDE": None,
    "COERCE_DECIMAL_TO_STRING": True,
    "UNAUTHENTICATED_USER": None,
}
SPECTACULAR_SETTINGS = {
    "TITLE": "Causeway",
    "DESCRIPTION": "A self-hosted hub for financial and commerce connections.",
    "VERSION": "1",
    "SERVE_INCLUDE_SCHEMA": False,
    "SERVE_PERMISSIONS": [],
    "SERVE_AUTHENTICATION": [],
    "SCHEMA_PATH_PREFIX": r"/api/v1",
    "PREPROCESSING_HOOKS": ["config.openapi.only_v1"],
    "POSTPROCESSING_HOOKS": ["drf_spectacular.hooks.postprocess_schema_enums", "config.openapi.describe_problems"],
    "SWAGGER_UI_DIST": "SIDECAR",
    "SWAGGER_UI_FAVICON_HREF": "SIDECAR",
    "REDOC_DIST": "SIDECAR",
    "COMPONENT_SPLIT_REQUEST": True,
    "ENUM_NAME_OVERRIDES": {
        "ConnectionStatus": "connections.models.connection.Status",
        "AccountStatus": "connections.models.account.Account.Status",
        "FlowEntity": "sync.flows.pairs.ENTITIES",
        "FlowStatus": "sync.api.flow_serializers.SHOWN_CHOICES",
        "RunStatus": "sync.models.run.RunStatus",
        "SubscriptionStatus": "sync.models.subscription.Subscription.Status",
        "WebhookStatus": "webhooks.models.WebhookEvent.Status",
    },
}

# --- logs ------------------------------------------------------------------------------------------------------------
LOG_FORMAT = env.choice("LOG_FORMAT", "text" if DEMO else "json", ("text", "json"))
LOG_LEVEL = env.choice("LOG_LEVEL", "INFO", ("DEBUG", "INFO", "WARNING", "ERROR"))
from config.logs import configuration, keep_secret

LOGGING = configuration(level=LOG_LEVEL, form=LOG_FORMAT)
_secrets = (SECRET_KEY, JOBS_SECRET, PLAID_SECRET, PLAID_WEBHOOK_SECRET, QUICKBOOKS_CLIENT_SECRET, METRICS_TOKEN)
_urls = (
    DATABASE_URL,
    env.text("DATABASE_OWNER_URL"),
    REDIS_URL,
    SIMULATOR_DATABASE_URL,
    env.text("EMAIL_URL"),
    *ALERT_URLS,
)
_keys = [pair.partition(":")[2].strip() for pair in env.text("ENCRYPTION_KEYS").split(",")]
keep_secret(
    [*_secrets, QUICKBOOKS_WEBHOOK_VERIFIER, *DEMO_SECRETS.values(), *_keys]
    + [unquote(urlsplit(url).password or "") for url in _urls]
)

# --- console ---------------------------------------------------------------------------------------------------------
UNFOLD = {
    "SITE_TITLE": "Causeway",
    "SITE_HEADER": "Causeway",
    "SITE_SUBHEADER": "Operations console",
    "SITE_SYMBOL": "hub",
    "SITE_URL": None,
    "SHOW_HISTORY": True,
    "SHOW_VIEW_ON_SITE": False,
    "ENVIRONMENT": "config.console.environment",
    "DASHBOARD_CALLBACK": "diagnostics.home.context",
    "SITE_FAVICONS": [{"rel": "icon", "type": "image/svg+xml", "href": "config.console.favicon"}],
    "STYLES": ["config.console.stylesheet"],
    "SCRIPTS": ["config.console.script"],
    "SIDEBAR": {"show_search": False, "show_all_applications": False, "navigation": "config.console.navigation"},
    "COLORS": {  # one accent, a calm indigo; red, amber, green, blue and violet mean states
        "primary": {
            "50": "oklch(96.2% .018 272.314)",
            "100": "oklch(93% .034 272.788)",
            "200": "oklch(87% .065 274.039)",
            "300": "oklch(78.5% .115 274.713)",
            "400": "oklch(67.3% .182 276.935)",
            "500": "oklch(58.5% .233 277.117)",
            "600": "oklch(51.1% .262 276.966)",
            "700": "oklch(45.7% .24 277.023)",
            "800": "oklch(39.8% .195 277.366)",
            "900": "oklch(35.9% .144 278.697)",
            "950": "oklch(25.7% .09 281.288)",
        },
    },
}
