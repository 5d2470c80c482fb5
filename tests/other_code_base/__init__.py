"""Another code base, by processes that have Celery and Redis and nothing else."""
