"""All settings, in one file, from the environment. `docs/settings.md` lists every variable."""

import logging.config
import sys
from pathlib import Path
from urllib.parse import parse_qsl, quote, unquote, urlsplit

from django.templatetags.static import static
from django.urls import reverse_lazy

from gateway_site.env import (
    SettingError,
    envbool,
    envfloat,
    envint,
    envlist,
    envsecret,
    envsecrets,
    envstr,
    valkey_url,
)
from gateway_site.infra.logging import logging_config

BASE_DIR = Path(__file__).resolve().parent.parent
STATE_DIR = Path(envstr("TOLLGATE_STATE_DIR") or BASE_DIR / ".tollgate")

# --- Secrets -----------------------------------------------------------------------------------------------

DEBUG = envbool("DEBUG", False)
SECRET_KEY = envsecret("SECRET_KEY")
TOLLGATE_SECRETS_KEYS = envsecrets("TOLLGATE_SECRETS_KEY")  # several for rotation: the first one encrypts
TOLLGATE_KEY_PEPPERS = envsecrets("TOLLGATE_KEY_PEPPER")  # several for rotation: the first one hashes new keys

ALLOWED_HOSTS = envlist("ALLOWED_HOSTS", "*" if DEBUG else "localhost,127.0.0.1,[::1]")
CSRF_TRUSTED_ORIGINS = envlist("CSRF_TRUSTED_ORIGINS")

# --- Stores ------------------------------------------------------------------------------------------------


def statement_seconds(arguments: list[str]) -> int:
    """Return how long a statement may take: requests are not to wait long, tasks may, commands and migrations longer."""
    program, command = Path(arguments[0]), arguments[1:2]
    if program.name == "manage.py":
        return 15 if command in (["serve"], ["runserver"]) else 3600
    is_celery = "celery" in (program.name, program.parent.name)
    return 240 if is_celery else 15  # less than CELERY_TASK_TIME_LIMIT


def postgres_deadlines(seconds: int) -> dict[str, object]:
    """Return options for the driver that let nothing wait for ever: neither for a statement nor for a dead host."""
    # A host that vanished is noticed by unanswered probes; a transaction that is left open does not keep its locks.
    probes = {"keepalives_idle": 10, "keepalives_interval": 5, "keepalives_count": 3, "tcp_user_timeout": 25_000}
    limits = f"-c statement_timeout={seconds}s -c idle_in_transaction_session_timeout={seconds}s"
    return {
        "connect_timeout": envint("DATABASE_CONNECT_TIMEOUT", 5),
        **probes,
        **({"options": limits} if seconds else {}),
    }


def postgres_from_url(url: str) -> dict[str, object]:
    """Turn postgresql://user:password@host:port/name?option=value into Django's dictionary."""
    parts = urlsplit(url)
    if parts.scheme not in {"postgres", "postgresql"}:
        raise SettingError(f"DATABASE_URL must start with postgresql://, not {parts.scheme}://.")
    options = dict(parse_qsl(parts.query))
    host = options.pop("host", None)
    return {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": unquote(parts.path.lstrip("/")),
        "USER": unquote(parts.username or ""),
        "PASSWORD": unquote(parts.password or ""),
        "HOST": host or unquote(parts.hostname or ""),
        "PORT": str(parts.port or options.pop("port", "")),
        "CONN_MAX_AGE": 0,  # requests run in threads that come and go; a kept connection would leak with them
        "OPTIONS": {
            **postgres_deadlines(envint("DATABASE_STATEMENT_TIMEOUT", statement_seconds(sys.argv), minimum=0)),
            **options,
        },
    }


DATABASE_URL = envstr("DATABASE_URL", "postgresql://localhost/tollgate") or ""
VALKEY_URL = valkey_url() or "redis://127.0.0.1:6379/0"
DATABASES = {"default": postgres_from_url(DATABASE_URL)}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

# --- Applications ------------------------------------------------------------------------------------------

# Daphne serves `runserver` only: importing it elsewhere would load Twisted into every worker.
_RUNSERVER = ["daphne"] if len(sys.argv) > 1 and sys.argv[1] == "runserver" else []

INSTALLED_APPS = [
    *_RUNSERVER,
    "gateway_site.apps.GatewaySiteConfig",
    "tenants.apps.TenantsConfig",
    "providers.apps.ProvidersConfig",
    "routing.apps.RoutingConfig",
    "unfold.apps.BasicAppConfig",  # without a site of its own
    "unfold.contrib.filters",
    "gateway_site.apps.ConsoleConfig",  # Django's admin
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "django_prometheus",
    "channels",
    "ninja",  # the pages of the control plane's API, from here and from nobody else's servers
]

MIDDLEWARE = [
    "django_prometheus.middleware.PrometheusBeforeMiddleware",
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "tenants.middleware.give_standing",
    "gateway_site.middleware.name_actor",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "django_prometheus.middleware.PrometheusAfterMiddleware",
]

ROOT_URLCONF = "gateway_site.site_urls"
ASGI_APPLICATION = "gateway_site.asgi.application"
AUTH_USER_MODEL = "tenants.User"
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator", "OPTIONS": {"min_length": 12}},
    {"NAME": "django.contrib.auth.password_validation.UserAttributeSimilarityValidator"},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
]

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
            ],
        },
    },
]

LANGUAGE_CODE = "en"
TIME_ZONE = "UTC"
USE_I18N = False
USE_TZ = True
FORMAT_MODULE_PATH = ["gateway_site.formats"]

STATIC_URL = "/static/"
STATIC_ROOT = envstr("STATIC_ROOT")  # where `collectstatic` puts files; unset: they come from the packages
STATICFILES_DIRS = [BASE_DIR / "static"]
WHITENOISE_USE_FINDERS = STATIC_ROOT is None

# --- Transport security ------------------------------------------------------------------------------------

HTTPS = envbool("HTTPS", False)  # the console is reached over https (directly or through a proxy)
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = HTTPS
SESSION_COOKIE_HTTPONLY = True
SESSION_COOKIE_AGE = envint("SESSION_HOURS", 12) * 3600
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https") if HTTPS else None
SECURE_SSL_REDIRECT = False  # a redirect on the API host breaks clients; redirect in front of Tollgate
SECURE_HSTS_SECONDS = envint("HSTS_SECONDS", 0)
SECURE_REFERRER_POLICY = "same-origin"
X_FRAME_OPTIONS = "DENY"
# `check --deploy` asks for these only where https ends; HTTPS=1 turns them on.
SILENCED_SYSTEM_CHECKS = [
    "security.W008",
    *([] if HTTPS else ["security.W004", "security.W012", "security.W016"]),
]

# --- Data plane --------------------------------------------------------------------------------------------

USAGE_RETENTION_DAYS = envint("USAGE_RETENTION_DAYS", 90, minimum=0)  # of single records; sums stay for good
MAX_BODY_BYTES = envint("MAX_BODY_BYTES", 32 * 1024 * 1024, minimum=1024)
BODY_TIMEOUT = envfloat("BODY_TIMEOUT", 60.0, minimum=0.1)  # seconds for the whole body of a request to arrive
SHUTDOWN_TIMEOUT = envint("SHUTDOWN_TIMEOUT", 30, minimum=0)  # seconds that open streams may still take
_ALONE = 1  # `manage.py up` tells its children how many they are
WORKERS = envint("WORKERS", _ALONE, minimum=1)  # of this node: a worker's peers until Valkey tells of all
PRINCIPAL_CACHE_SIZE = envint("PRINCIPAL_CACHE_SIZE", 20_000, minimum=1)
PRINCIPAL_CACHE_SECONDS = envfloat("PRINCIPAL_CACHE_SECONDS", 30.0, minimum=0)
METRICS_TOKEN = envstr("METRICS_TOKEN")  # None: whoever reaches /metrics may read it

# --- Alerts ------------------------------------------------------------------------------------------------

EMAIL_HOST = envstr("EMAIL_HOST") or ""  # empty: no e-mails are sent, and alerts say so
EMAIL_PORT = envint("EMAIL_PORT", 25, minimum=1)
EMAIL_HOST_USER = envstr("EMAIL_HOST_USER") or ""
EMAIL_HOST_PASSWORD = envstr("EMAIL_HOST_PASSWORD") or ""
EMAIL_USE_TLS = envbool("EMAIL_USE_TLS", False)  # STARTTLS
EMAIL_USE_SSL = envbool("EMAIL_USE_SSL", False)  # TLS from the first byte
if EMAIL_USE_TLS and EMAIL_USE_SSL:
    raise SettingError("EMAIL_USE_TLS and EMAIL_USE_SSL exclude each other; set one of them.")
EMAIL_TIMEOUT = 10
DEFAULT_FROM_EMAIL = envstr("DEFAULT_FROM_EMAIL", "tollgate@localhost") or ""
ALERT_WEBHOOKS_MAY_BE_PRIVATE = envbool("ALERT_WEBHOOKS_MAY_BE_PRIVATE", False)

# --- Publishing --------------------------------------------------------------------------------------------

CONFIG_PUBLISHING = envstr("CONFIG_PUBLISHING", "automatic")
if CONFIG_PUBLISHING not in {"automatic", "manual", "four_eyes"}:
    raise SettingError(f"CONFIG_PUBLISHING must be automatic, manual or four_eyes, not {CONFIG_PUBLISHING!r}.")

# --- Celery ------------------------------------------------------------------------------------------------


def broker_url(url: str) -> str:
    """Return Valkey's URL as Celery spells it."""
    parts = urlsplit(url)
    if parts.scheme != "unix":
        return url
    login = parts.netloc.rpartition("@")[0]
    database = dict(parse_qsl(parts.query)).get("db", "0")
    return f"redis+socket://{login}{'@' if login else ''}{parts.path}?virtual_host={quote(database)}"


CELERY_APP = "gateway_site.celery"  # where the app is: see gateway_site.infra.tasks
CELERY_BROKER_URL = broker_url(VALKEY_URL)
# Asking for a task while Valkey is away fails at once; the beat makes up for it. The worker waits for its return.
CELERY_BROKER_CONNECTION_MAX_RETRIES = None
CELERY_BROKER_TRANSPORT_OPTIONS = {
    "max_retries": 1,
    "interval_start": 0,
    "interval_step": 0.1,
    "interval_max": 0.1,
    "socket_connect_timeout": 2,
    "socket_timeout": 5,  # longer than the second that a worker waits for tasks
    "socket_keepalive": True,
    "health_check_interval": 10,
}
CELERY_TASK_IGNORE_RESULT = True
CELERY_TASK_DEFAULT_QUEUE = "tollgate"
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
CELERY_WORKER_HIJACK_ROOT_LOGGER = False
CELERY_WORKER_MAX_TASKS_PER_CHILD = None
CELERY_TASK_TIME_LIMIT = 300
CELERY_TIMEZONE = "UTC"

# --- Logs --------------------------------------------------------------------------------------------------

LOG_FORMAT = envstr("LOG_FORMAT", "text") or "text"
LOG_LEVEL = (envstr("LOG_LEVEL", "INFO") or "INFO").upper()
LOGGING_CONFIG = None
logging.config.dictConfig(logging_config(log_format=LOG_FORMAT, level=LOG_LEVEL))

# --- Public pages ------------------------------------------------------------------------------------------

STATUS_NAMES_PROVIDERS = envbool("STATUS_NAMES_PROVIDERS", False)  # /status tells how each provider is, by name

# --- Console -----------------------------------------------------------------------------------------------


def _link(title: str, icon: str, name: str) -> dict[str, object]:
    app, model = name.rsplit("_", 1)
    return {
        "title": title,
        "icon": icon,
        "link": reverse_lazy(f"admin:{name}_changelist"),
        "permission": lambda request: request.user.has_perm(f"{app}.view_{model}"),
    }


UNFOLD = {
    "SITE_TITLE": "Tollgate",
    "DASHBOARD_CALLBACK": "gateway_site.home.home",
    "SITE_HEADER": "Tollgate",
    "SITE_SUBHEADER": "LLM gateway",
    "SITE_ICON": lambda request: static("img/logo.svg"),
    "SITE_URL": None,
    "STYLES": [lambda request: static("css/console.css")],
    "SITE_FAVICONS": [{"rel": "icon", "type": "image/svg+xml", "href": lambda request: static("img/favicon.svg")}],
    "SHOW_HISTORY": True,
    "SHOW_VIEW_ON_SITE": False,
    "BORDER_RADIUS": "6px",
    "COLORS": {
        "primary": {  # Tailwind's indigo: white text on 600 has a contrast of 6 to 1
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
    "SIDEBAR": {
        "show_search": True,
        "show_all_applications": False,
        "navigation": [
            {
                "title": "Upstreams",
                "items": [
                    _link("Providers", "cloud", "providers_provider"),
                    _link("Deployments", "deployed_code", "providers_deployment"),
                    _link("Prices", "sell", "providers_modelprice"),
                    {
                        "title": "Queues",
                        "icon": "hourglass_top",
                        "link": reverse_lazy("queue"),
                        "permission": lambda request: request.user.has_perm("providers.view_provider"),
                    },
                ],
            },
            {
                "title": "Routing",
                "items": [
                    _link("Routes", "alt_route", "routing_route"),
                    _link("Model aliases", "label", "routing_modelalias"),
                    _link("Revisions", "history", "routing_configrevision"),
                    _link("Health events", "monitor_heart", "routing_healthevent"),
                    {
                        "title": "Dry run",
                        "icon": "conversion_path",
                        "link": reverse_lazy("dry_run"),
                        "permission": lambda request: request.user.has_perms(
                            ("routing.view_route", "tenants.view_apikey")
                        ),
                    },
                ],
            },
            {
                "title": "Tenants",
                "items": [
                    _link("Tenants", "apartment", "tenants_tenant"),
                    _link("Projects", "folder", "tenants_project"),
                    _link("API keys", "key", "tenants_apikey"),
                    _link("Rate limits", "speed", "tenants_ratelimit"),
                    _link("Budgets", "savings", "tenants_budget"),
                    _link("Alerts", "notifications", "tenants_budgetalert"),
                    _link("Members", "group", "tenants_member"),
                ],
            },
            {
                "title": "Usage",
                "items": [
                    {
                        "title": "Usage report",
                        "icon": "monitoring",
                        "link": reverse_lazy("usage"),
                        "permission": lambda request: request.user.has_perm("tenants.view_usageday"),
                    },
                    _link("Usage records", "receipt_long", "tenants_usagerecord"),
                    _link("Hourly usage", "schedule", "tenants_usagehour"),
                    _link("Daily usage", "calendar_month", "tenants_usageday"),
                    _link("Usage of end users", "groups", "tenants_usageenduserday"),
                    _link("Stored responses", "inventory_2", "routing_storedresponse"),
                ],
            },
            {
                "title": "System",
                "items": [
                    _link("Users", "person", "tenants_user"),
                    _link("Groups", "shield_person", "auth_group"),
                    _link("Terms and privacy", "gavel", "tenants_legaldocument"),
                    _link("Acceptances", "task_alt", "tenants_legalacceptance"),
                ],
            },
        ],
    },
}
