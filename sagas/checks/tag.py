"""What all checks of the package are registered under: ``manage.py check --tag sagas``."""

TAG = "sagas"
