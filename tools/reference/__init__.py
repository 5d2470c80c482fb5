"""The pages of ``docs/reference``: each is written from the code that it describes, by ``make reference``.

A module for each page has ``page()``, which returns its text; ``tests/unit/test_reference.py``
compares the texts with the files.
"""
