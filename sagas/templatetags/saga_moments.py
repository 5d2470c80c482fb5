"""Moments in templates: in the zone of whoever looks, with ``USE_TZ = False`` too."""

from datetime import datetime

from django import template

from sagas.models import moments


register = template.Library()


@register.filter(expects_localtime=False)
def here(moment: datetime) -> datetime:
    """Return the moment in that zone, for Django's ``date`` filter."""
    return moments.shown(moment)
