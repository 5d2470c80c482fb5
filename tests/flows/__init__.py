"""A Django app whose sagas do in real workers what a test's script says."""
