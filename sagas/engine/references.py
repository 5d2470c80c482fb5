"""Rows of a project that refer to ours: what their ``on_delete`` says happens when ours go.

Django's own delete would collect our rows too, which are many and go raw. So only the rows that refer
are collected, by Django's own handlers, each in the database where its model is.
"""

from collections.abc import Iterator, Sequence
from typing import Any
from uuid import UUID

from django.db import IntegrityError, models, router
from django.db.models import deletion

from sagas.models import SagaEvent, SagaRun, StepRun


AT_ONCE = 500
"""How many ids one query asks about."""

_OURS = (SagaRun, StepRun, SagaEvent)
_BY_DATABASE: Any = getattr(deletion, "DatabaseOnDelete", ())
"""What newer versions of Django leave to the database itself."""


def keeping(run_ids: Sequence[UUID]) -> set[UUID]:
    """Return those of these runs that a row refers to by ``PROTECT``."""
    kept: set[UUID] = set()
    for relation in _relations(SagaRun):
        if relation.on_delete is models.PROTECT:
            referring, _ = _referring(relation, run_ids)
            kept.update(referring.values_list(relation.field.attname, flat=True))
    return kept


def let_go(run_ids: Sequence[UUID], database: str) -> None:
    """Do to the rows that refer to these runs, their steps or their events what ``on_delete`` says.

    Raises:
        IntegrityError: some row forbids it. Nothing was changed.
    """
    collectors: dict[str, deletion.Collector] = {}
    for model in _OURS:
        relations, generic = list(_relations(model)), list(_generic_relations(model))
        if not relations and not generic:
            continue
        for ids in _chunks(_ids(model, run_ids, database)):
            for relation in relations:
                _collect(relation, ids, collectors)
            for field in generic:
                collector = _collector(collectors, router.db_for_write(field.related_model))
                rows = field.bulk_related_objects([model(pk=pk) for pk in ids], collector.using)
                collector.collect(rows, source=model, nullable=True, fail_on_restricted=False)
    for collector in collectors.values():
        _refuse_restricted(collector)
    for collector in collectors.values():
        collector.delete()


def _relations(model: type[models.Model]) -> Iterator[Any]:
    """Yield the foreign keys to a model of ours that are not ours; those of many-to-many tables too."""
    for relation in model._meta.get_fields(include_hidden=True):  # noqa: SLF001 documented by Django
        if not (relation.auto_created and (relation.one_to_one or relation.one_to_many)):
            continue
        known: Any = relation
        if known.concrete or known.related_model in _OURS:
            continue
        if known.on_delete is not models.DO_NOTHING and not isinstance(
            known.on_delete, _BY_DATABASE
        ):
            yield known


def _generic_relations(model: type[models.Model]) -> Iterator[Any]:
    for field in model._meta.private_fields:  # noqa: SLF001 documented by Django
        if hasattr(field, "bulk_related_objects"):
            yield field


def _ids(model: type[models.Model], run_ids: Sequence[UUID], database: str) -> Sequence[Any]:
    if model is SagaRun:
        return run_ids
    rows = model._default_manager.using(database).filter(run__in=run_ids)  # noqa: SLF001
    return list(rows.order_by().values_list("pk", flat=True))


def _collect(relation: Any, ids: Sequence[Any], collectors: dict[str, deletion.Collector]) -> None:
    referring, alias = _referring(relation, ids)
    if getattr(relation.on_delete, "lazy_sub_objs", False) or referring:
        collector = _collector(collectors, alias)
        relation.on_delete(collector, relation.field, referring, alias)


def _referring(relation: Any, ids: Sequence[Any]) -> tuple[Any, str]:
    alias = router.db_for_write(relation.related_model)
    rows = relation.related_model._base_manager.using(alias)  # noqa: SLF001 as Django's own delete
    return rows.filter(**{f"{relation.field.name}__in": ids}), alias


def _collector(collectors: dict[str, deletion.Collector], alias: str) -> deletion.Collector:
    return collectors.setdefault(alias, deletion.Collector(using=alias))


def _refuse_restricted(collector: Any) -> None:
    """As Django does at the end of a collection: ``RESTRICT`` allows what goes by another way as well."""
    for model, instances in collector.data.items():
        collector.clear_restricted_objects_from_set(model, instances)
    for rows in collector.fast_deletes:
        collector.clear_restricted_objects_from_queryset(rows.model, rows)
    if any(rows for fields in collector.restricted_objects.values() for rows in fields.values()):
        raise IntegrityError("rows refer to these runs by RESTRICT")


def _chunks(ids: Sequence[Any]) -> Iterator[Sequence[Any]]:
    for first in range(0, len(ids), AT_ONCE):
        yield ids[first : first + AT_ONCE]
