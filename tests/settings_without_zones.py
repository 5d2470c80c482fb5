"""The tests' settings for a project that has no time zones, five hours or four behind UTC."""

from tests.settings import *  # noqa: F403


USE_TZ = False
TIME_ZONE = "America/New_York"
