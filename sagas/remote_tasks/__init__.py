"""What comes back from a Celery task of another code base, by its two callbacks.

Both name the request by the id of the step and the fence of the attempt that asked. They may come
twice, late, or before the step waits; what they say is hostile text until it was checked.
"""

from sagas.remote_tasks.answers import task_failed, task_succeeded


__all__ = ["task_failed", "task_succeeded"]
