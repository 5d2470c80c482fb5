"""The admin, what outside parties answer, and the shop at the root."""

from django.contrib import admin
from django.urls import include, path


urlpatterns = [
    path("admin/", admin.site.urls),
    path("sagas/", include("sagas.urls")),
    path("", include("examples.shop.urls")),
]
