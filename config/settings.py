"""Settings of the example project, by environment.

With no environment at all everything is embedded: SQLite and a queue folder under ``var/``.
``DATABASE_URL`` and ``SAGAS_BROKER_URL`` switch to PostgreSQL, Redis or RabbitMQ.
"""

import os
from pathlib import Path

from django.core.exceptions import ImproperlyConfigured

from config.environment import (
    broker_transport_options,
    database,
    flag,
    names,
    number,
    queue_type,
    task_queues,
)


BASE_DIR = Path(__file__).resolve().parent.parent
DATA_DIR = Path(os.environ.get("SAGAS_DATA_DIR") or BASE_DIR / "var").resolve()
DATA_DIR.mkdir(parents=True, exist_ok=True)

DEBUG = flag("DJANGO_DEBUG", default=True)
SECRET_KEY = os.environ.get("DJANGO_SECRET_KEY", "only-for-development" if DEBUG else "")
if not SECRET_KEY:
    raise ImproperlyConfigured("Set DJANGO_SECRET_KEY, or DJANGO_DEBUG=1 for development.")
ALLOWED_HOSTS = names("DJANGO_ALLOWED_HOSTS", default=["localhost", "127.0.0.1", "[::1]"])
CSRF_TRUSTED_ORIGINS = names("DJANGO_CSRF_TRUSTED_ORIGINS", default=[])

# Django

INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "django_celery_results",
    "sagas",
    "examples.shop",
    "examples.booking",
]
MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]
ROOT_URLCONF = "config.urls"
WSGI_APPLICATION = "config.wsgi.application"
ASGI_APPLICATION = "config.asgi.application"
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
# For workers whose handlers run as threads or greenlets (-P threads, -P gevent): SAGAS_DB_POOL=20.
DB_POOL = number("SAGAS_DB_POOL")
DATABASES = {
    "default": database(
        os.environ.get("DATABASE_URL") or f"sqlite:///{DATA_DIR / 'sagas.sqlite3'}",
        pool=DB_POOL,
    ),
}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
STATIC_URL = "static/"
STATIC_ROOT = DATA_DIR / "static"
LANGUAGE_CODE = "en"
TIME_ZONE = "UTC"
USE_TZ = True

if not DEBUG:
    SECURE_SSL_REDIRECT = flag("DJANGO_SSL_REDIRECT", default=True)
    SECURE_HSTS_SECONDS = 31_536_000
    SECURE_HSTS_INCLUDE_SUBDOMAINS = True
    SECURE_HSTS_PRELOAD = True
    SESSION_COOKIE_SECURE = True
    CSRF_COOKIE_SECURE = True

# Celery

CELERY_BROKER_URL = os.environ.get("SAGAS_BROKER_URL") or "filesystem://localhost/"
CELERY_BROKER_TRANSPORT_OPTIONS = broker_transport_options(CELERY_BROKER_URL, DATA_DIR)
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
# None: a worker outlives any outage of the broker, not only the first hundred retries.
CELERY_BROKER_CONNECTION_MAX_RETRIES = None

# A message is a hint to look at the row, so nothing but JSON has a reason to travel.
CELERY_ACCEPT_CONTENT = ["json"]
CELERY_TASK_SERIALIZER = "json"
CELERY_RESULT_SERIALIZER = "json"
CELERY_RESULT_ACCEPT_CONTENT = ["json"]

# Results are for whoever inspects tasks. Nothing reads them to decide, and the engine's own tasks
# leave none behind.
CELERY_RESULT_BACKEND = "django-db"
CELERY_RESULT_EXTENDED = True

# A worker takes one message per process and gives it back when it dies.
CELERY_TASK_ACKS_LATE = True
CELERY_WORKER_PREFETCH_MULTIPLIER = 1
# On, it would silence link_error for a killed process; the lease covers redelivery.
CELERY_TASK_REJECT_ON_WORKER_LOST = False
# What a deploy leaves the running steps before they are lost and done again.
CELERY_WORKER_SOFT_SHUTDOWN_TIMEOUT = 10.0
# Celery's default closes the connection around every task, which costs more than the work; where a
# pool takes it, that costs nothing.
CELERY_DB_REUSE_MAX = None if DB_POOL else 1_000
CELERY_WORKER_SEND_TASK_EVENTS = flag("SAGAS_TASK_EVENTS", default=False)
CELERY_WORKER_HIJACK_ROOT_LOGGER = False

# A plain `celery -A config worker` consumes all of them; -Q chooses. A queue named by a step and
# not listed here is created when it is used, and then needs a worker of its own.
CELERY_TASK_DEFAULT_QUEUE = "celery"
CELERY_TASK_CREATE_MISSING_QUEUES = True
CELERY_TASK_CREATE_MISSING_QUEUE_TYPE = queue_type(CELERY_BROKER_URL)
CELERY_TASK_DEFAULT_QUEUE_TYPE = queue_type(CELERY_BROKER_URL)
CELERY_TASK_QUEUES = task_queues(
    (
        "celery",
        "saga.coordinator",
        "saga.steps",
        "saga.compensate",
        "inventory",
        "payments",
        "shipping",
        "notifications",
    ),
    queue_type(CELERY_BROKER_URL),
)

# Sagas

SAGAS: dict[str, object] = {}

# Logging

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {
        "line": {
            "format": "{asctime} {levelname:<7} {name} [{saga_id} {saga_step}]: {message}",
            "style": "{",
        },
    },
    "filters": {"saga": {"()": "sagas.logs.SagaContextFilter"}},
    "handlers": {
        "console": {"class": "logging.StreamHandler", "formatter": "line", "filters": ["saga"]},
    },
    "root": {"handlers": ["console"], "level": "WARNING"},
    "loggers": {
        "sagas": {"level": os.environ.get("SAGAS_LOG_LEVEL", "INFO")},
        "examples": {"level": "INFO"},
        "celery": {"level": "INFO"},
        "django": {"level": "INFO"},
    },
}
