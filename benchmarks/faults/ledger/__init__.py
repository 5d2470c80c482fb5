"""An outside service in the shape of a payment provider, and what is written in its books.

It is idempotent by key: the same key has one effect and gives the first result. An undo that comes
before its do leaves a tombstone, so that the late do has no effect. It is one process in memory with
an append-only log, and no fault is ever inflicted on it.
"""
