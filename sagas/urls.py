"""The addresses for outside parties: ``path("sagas/", include("sagas.urls"))`` in the project's urls."""

from django.urls import path

from sagas.api.answers import answer
from sagas.api.approvals import approval


app_name = "sagas"
urlpatterns = [
    path("hooks/<str:token>/", answer, name="answer"),
    path("approvals/<str:token>/", approval, name="approval"),
]
