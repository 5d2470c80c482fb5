"""A project's own admin of sagas, on its own site."""

import pytest
from django.contrib import admin
from django.test import Client, override_settings
from django.urls import path, reverse

from sagas.admin import SagaRunAdminMixin
from sagas.admin.confirm import Subject
from sagas.models import SagaRun
from sagas.states import SagaState
from tests.factories import make_dead_letter


class BackOfficeAdmin(SagaRunAdminMixin, admin.ModelAdmin):  # type: ignore[type-arg]  # not at run time
    """One column less and one fieldset more."""

    list_display = ("badges", "key")
    fieldsets = (("Back office", {"fields": ("retry_count",)}),)


site = admin.AdminSite(name="backoffice")
site.register(SagaRun, BackOfficeAdmin)
urlpatterns = [path("admin/", admin.site.urls), path("backoffice/", site.urls)]


@pytest.mark.django_db
@override_settings(ROOT_URLCONF=__name__)
def test_the_pages_of_a_subclassed_admin_stay_on_its_site(admin_client: Client) -> None:
    run = make_dead_letter()
    listing = admin_client.get(reverse("backoffice:sagas_sagarun_changelist")).content.decode()
    assert "column-progress" not in listing

    page = admin_client.get(reverse("backoffice:sagas_sagarun_change", args=[run.pk]))
    assert "Back office" in page.content.decode()
    retry = reverse("backoffice:sagas_sagarun_retry", args=[run.pk])
    assert retry in page.content.decode()

    confirmation = admin_client.get(retry).content.decode()
    assert "/backoffice/sagas/" in confirmation
    assert 'href="/admin/sagas' not in confirmation

    subject = Subject(run, is_allowed=True)
    data = {"reason": "ticket 17", subject.token_name: subject.token}
    assert admin_client.post(retry, data)["Location"].startswith("/backoffice/")
    assert SagaRun.objects.get().state == SagaState.RUNNING
