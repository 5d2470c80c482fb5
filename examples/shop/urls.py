"""The shop's pages."""

from django.urls import path

from examples.shop import views


app_name = "shop"
urlpatterns = [
    path("", views.place, name="place"),
    path("orders/", views.latest, name="latest"),
    path("orders/<uuid:run_id>/", views.order, name="order"),
    path("orders/<uuid:run_id>/mend/", views.mend, name="mend"),
    # Any text, so that whatever asks for JSON is refused in JSON.
    path("orders/<str:run_id>/status.json", views.status, name="status"),
]
