"""All settings, in one file, from the environment. `docs/settings.md` lists every variable."""

import logging.config
import sys
from pathlib import Path
from urllib.parse import parse_qsl, quote, unquote, urlsplit

from django.templatetags.static import static

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
    # Postgres' own guess is of rotating disks: it would read a day of everybody rather than jump to the rows of one.
    limits += " -c random_page_cost=1.1"
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
CACHES = {
    "default": {
        "BACKEND": "gateway_site.infra.cache.ForgivingCache",
        "LOCATION": VALKEY_URL,
        "KEY_PREFIX": "tollgate:cache",
    }
}
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
    "allauth",  # signing in
    "allauth.account",
    "allauth.mfa",
    "allauth.usersessions",  # which sessions somebody has
    "allauth.socialaccount",  # without its providers: ours loads `requests` when somebody comes that way
    "ninja",  # the pages of the control plane's API, from here and from nobody else's servers
]

MIDDLEWARE = [
    "django_prometheus.middleware.PrometheusBeforeMiddleware",
    "django.middleware.security.SecurityMiddleware",
    "gateway_site.content_policy.set_content_policy",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "tenants.middleware.give_standing",
    "gateway_site.sign_in.rules.keep_sign_in_rules",
    "gateway_site.middleware.name_actor",
    "django.contrib.messages.middleware.MessageMiddleware",
    "allauth.account.middleware.AccountMiddleware",
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
        "OPTIONS": {
            "loaders": [
                (
                    "django.template.loaders.cached.Loader",
                    ["django.template.loaders.filesystem.Loader", "gateway_site.console.unfold_edits.Loader"],
                )
            ],
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
                "gateway_site.sign_in.rules.console_around",
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
    "security.W008",  # redirects belong in front of Tollgate: on the API host they break clients
    "security.W005",  # what other hosts below this one speak
    "security.W021",  # and lists of browsers' makers: not for us to promise
    *([] if HTTPS else ["security.W004", "security.W012", "security.W016"]),
]

# --- Signing in --------------------------------------------------------------------------------------------

SESSION_COOKIE_NAME = "__Host-tollgate" if HTTPS else "tollgate_session"  # __Host-: no other host can set it
SESSION_COOKIE_SAMESITE = CSRF_COOKIE_SAMESITE = "Lax"  # Strict would lose who comes back from single sign-on
SESSION_IDLE_SECONDS = envint("SESSION_IDLE_MINUTES", 120, minimum=1) * 60
SECURE_CROSS_ORIGIN_OPENER_POLICY = "same-origin"
CONSOLE_REQUIRES_TWO_FACTOR = envbool("CONSOLE_REQUIRES_TWO_FACTOR", False)

AUTHENTICATION_BACKENDS = ["allauth.account.auth_backends.AuthenticationBackend"]  # a kind of ModelBackend
LOGIN_URL = "account_login"
LOGIN_REDIRECT_URL = "admin:index"
LOGOUT_REDIRECT_URL = ACCOUNT_LOGOUT_REDIRECT_URL = "account_login"
ACCOUNT_ADAPTER = "gateway_site.sign_in.adapters.AccountAdapter"
ACCOUNT_FORMS = {"login": "gateway_site.sign_in.pages.LoginForm"}
MFA_FORMS = {
    "add_webauthn": "gateway_site.sign_in.pages.PasskeyForm",
    "authenticate_webauthn": "gateway_site.sign_in.pages.PasskeySecondForm",
    "login_webauthn": "gateway_site.sign_in.pages.PasskeyLoginForm",
    "reauthenticate_webauthn": "gateway_site.sign_in.pages.PasskeyAgainForm",
}
ACCOUNT_LOGIN_METHODS = {"username", "email"}
ACCOUNT_SIGNUP_FIELDS = ["username*", "email", "password1*"]  # nobody signs up; allauth's checks want it to fit
ACCOUNT_EMAIL_VERIFICATION = "none"  # operators, invitations and single sign-on vouch for addresses
ACCOUNT_SESSION_REMEMBER = True
ACCOUNT_EMAIL_SUBJECT_PREFIX = ""
ACCOUNT_PREVENT_ENUMERATION = True
ACCOUNT_EMAIL_UNKNOWN_ACCOUNTS = False
ACCOUNT_DEFAULT_HTTP_PROTOCOL = "https" if HTTPS else "http"
MFA_ADAPTER = "gateway_site.sign_in.adapters.SecondFactorAdapter"
MFA_SUPPORTED_TYPES = ["totp", "webauthn", "recovery_codes"]
MFA_PASSKEY_LOGIN_ENABLED = True
MFA_ALLOW_UNVERIFIED_EMAIL = True
MFA_TOTP_ISSUER = "Tollgate"
MFA_TOTP_TOLERANCE = 1  # clocks of phones are off by a few seconds
MFA_WEBAUTHN_ALLOW_INSECURE_ORIGIN = DEBUG  # browsers allow passkeys over https, and on localhost

OIDC_ISSUER = (envstr("OIDC_ISSUER") or "").rstrip("/")  # empty: no single sign-on
OIDC_CLIENT_ID = envstr("OIDC_CLIENT_ID") or ""
OIDC_CLIENT_SECRET = envstr("OIDC_CLIENT_SECRET") or ""
OIDC_NAME = envstr("OIDC_NAME", "single sign-on")
OIDC_ALLOWED_DOMAINS = [domain.lower() for domain in envlist("OIDC_ALLOWED_DOMAINS")]
if OIDC_ISSUER and not (OIDC_CLIENT_ID and OIDC_CLIENT_SECRET):
    raise SettingError("OIDC_ISSUER needs OIDC_CLIENT_ID and OIDC_CLIENT_SECRET.")
SOCIALACCOUNT_ADAPTER = "gateway_site.sign_in.adapters.SingleSignOnAdapter"
SOCIALACCOUNT_PROVIDERS = {"openid_connect": {"OAUTH_PKCE_ENABLED": True}}
SOCIALACCOUNT_EMAIL_VERIFICATION = "none"
SOCIALACCOUNT_STORE_TOKENS = False

# --- Data plane --------------------------------------------------------------------------------------------

USAGE_RETENTION_DAYS = envint("USAGE_RETENTION_DAYS", 90, minimum=0)  # of single records; sums stay for good
AUDIT_RETENTION_DAYS = envint("AUDIT_RETENTION_DAYS", 400, minimum=0)  # of the audit trail; 0: for good
if 0 < AUDIT_RETENTION_DAYS < 30:
    raise SettingError("AUDIT_RETENTION_DAYS must be 0 or at least 30: the database keeps the trail's last 30 days.")
ALERT_RETENTION_DAYS = envint("ALERT_RETENTION_DAYS", 400, minimum=0)  # of incidents that are over; 0: for good
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


UNFOLD = {
    "SITE_TITLE": "Tollgate",
    "DASHBOARD_CALLBACK": "gateway_site.console.home.home",
    "SITE_HEADER": "Tollgate",
    "SITE_SUBHEADER": "gateway_site.console.navigation.whose_console",
    "SITE_ICON": lambda request: static("img/logo.svg"),
    "SITE_URL": None,
    "ACCOUNT": {"navigation": [{"title": "Security", "link": "/admin/security/"}]},
    "COMMAND": {"search_callback": "gateway_site.console.palette.find"},
    "SCRIPTS": [
        lambda request: static("js/export_link.js"),
        lambda request: static("js/names.js"),
        lambda request: static("js/sidebar.js"),
    ],
    "STYLES": [
        lambda request: static("css/console.css"),
        lambda request: static("css/upstreams.css"),
        lambda request: static("css/corner.css"),
        lambda request: static("css/alerts.css"),
    ],
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
        "navigation": "gateway_site.console.navigation.navigation",
    },
}
