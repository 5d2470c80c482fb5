"""The bookings as a Django app. It has no tables: what a booking knows is its run."""

from django.apps import AppConfig


class BookingConfig(AppConfig):
    name = "examples.booking"
    label = "booking"
    verbose_name = "Booking"
