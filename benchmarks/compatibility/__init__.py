"""Which versions of Python, Django and Celery it runs with: tried, each in an environment of its own."""
