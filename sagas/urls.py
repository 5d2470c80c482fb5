"""The addresses for outside parties: ``path("sagas/", include("sagas.urls"))`` in the project's urls."""

from django.urls import path

from sagas.api.answers import answer


app_name = "sagas"
urlpatterns = [
    path("hooks/<str:token>/", answer, name="answer"),
]
