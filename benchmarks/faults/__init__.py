"""Kill, stop and cut everything while sagas run, and check afterwards that each told the truth.

:mod:`~benchmarks.faults.soak` is the long run on this product, :mod:`~benchmarks.faults.compare` puts
plain Celery and the ``celery-saga`` package through the same faults. What the handlers do is kept by
a service outside of all of them (:mod:`~benchmarks.faults.ledger`); :mod:`~benchmarks.faults.judge`
compares that with what the sagas say of themselves.
"""
