"""Conditions of constraints that cost little when they are checked."""

from collections.abc import Mapping, Sequence
from typing import Any

from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models import BooleanField, F, Func, Q
from django.db.models.sql.compiler import SQLCompiler
from django.utils.deconstruct import deconstructible


@deconstructible(path="sagas.models.one_of.OneOf")
class OneOf(Func):
    """Whether a column holds one of some words, as ``Q(column__in=words)`` says it.

    PostgreSQL reads a table's constraints from their stored form whenever a statement writes to it.
    Ten words are stored in 2,500 characters as ``IN``, and in 950 as one array.
    """

    output_field = BooleanField()
    conditional = True

    def __init__(self, column: str, words: Sequence[str]) -> None:
        """``words`` are plain: no commas, quotes or braces."""
        super().__init__(F(column))
        self.words = [str(word) for word in words]

    def as_sql(
        self,
        compiler: SQLCompiler,
        connection: BaseDatabaseWrapper,  # noqa: ARG002 Django's signature
        *_: Any,
        **__: Any,
    ) -> tuple[str, tuple[str | int, ...]]:
        """Say it as ``IN``."""
        column, values = compiler.compile(self.get_source_expressions()[0])
        places = ", ".join(["%s"] * len(self.words))
        return f"({column} IN ({places}))", (*values, *self.words)

    def as_postgresql(
        self, compiler: SQLCompiler, *_: Any, **__: Any
    ) -> tuple[str, tuple[str | int, ...]]:
        """Say it with an array."""
        column, values = compiler.compile(self.get_source_expressions()[0])
        words = ",".join(word or '""' for word in self.words)
        return f"({column} = ANY(%s))", (*values, f"{{{words}}}")


@deconstructible(path="sagas.models.one_of.ByWord")
class ByWord(Func):
    """The condition for the word that a column holds, as ``Case`` has it, which names the column each time."""

    output_field = BooleanField()
    conditional = True

    def __init__(self, column: str, conditions: Mapping[str, Q], otherwise: Q) -> None:
        """``conditions`` by their words; ``otherwise`` is that for every other word."""
        super().__init__(F(column), *conditions.values(), otherwise)
        self.words = [str(word) for word in conditions]

    def as_sql(
        self,
        compiler: SQLCompiler,
        connection: BaseDatabaseWrapper,  # noqa: ARG002 Django's signature
        *_: Any,
        **__: Any,
    ) -> tuple[str, tuple[str | int, ...]]:
        """Say it."""
        compiled = [compiler.compile(source) for source in self.get_source_expressions()]
        (column, values), *conditions, (otherwise, last) = compiled
        whens = " ".join(f"WHEN %s THEN {condition}" for condition, _ in conditions)
        parameters = (
            each
            for word, (_, of_condition) in zip(self.words, conditions, strict=True)
            for each in (word, *of_condition)
        )
        return f"(CASE {column} {whens} ELSE {otherwise} END)", (*values, *parameters, *last)
