"""The admin: what an operator sees and does. Nothing here writes a state; the verbs do."""

from django.contrib import admin

from sagas.admin.runs import SagaRunAdmin, SagaRunAdminMixin
from sagas.models import SagaRun


__all__ = ["SagaRunAdmin", "SagaRunAdminMixin"]

admin.site.register(SagaRun, SagaRunAdmin)
