"""What Celery loads: the tasks, and what a worker process starts and stops."""
