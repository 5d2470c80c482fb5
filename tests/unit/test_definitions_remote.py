"""What ``@remote`` may declare (R85, R117)."""

from dataclasses import dataclass
from typing import Any

import pytest

from sagas import Saga, remote, step
from sagas.definitions import RemoteTask
from sagas.exceptions import SagaDefinitionError


@dataclass(frozen=True)
class Order:
    """The input."""

    id: int


@dataclass(frozen=True)
class Arguments:
    """By name."""

    order: int


def declared(returns: Any, **options: Any) -> type[Saga[Order]]:
    """Return a saga of one remote step whose method says that it returns this."""

    def charge(self: Any) -> Any:
        return None

    charge.__annotations__["return"] = returns
    options.setdefault("queue", "payments")
    made = remote("payments.charge", **options)(charge)

    class Made(Saga[Order]):
        class Meta:
            abstract = True

        charge = made
        charge.no_compensation("tried")

    return Made


class TestOptions:
    @pytest.mark.parametrize(
        ("option", "value"),
        [
            ("atomic", True),
            ("atomic", False),
            ("rate_limit", "5/s"),
            ("soft_time_limit", 3),
            ("heartbeat_timeout", 3),
        ],
    )
    def test_one_that_means_nothing_is_refused_with_the_reason(
        self, option: str, value: object
    ) -> None:
        with pytest.raises(SagaDefinitionError, match=f"{option} is not for a remote task: "):
            declared(dict[str, int], **{option: value})

    def test_one_that_means_nothing_is_refused_for_a_compensation_too(self) -> None:
        with pytest.raises(SagaDefinitionError, match="undo: atomic is not for a remote task"):

            class Local(Saga[Order]):
                @step
                def act(self) -> int:
                    return 1

                @act.remote_compensation("undo", queue="q", atomic=True)  # type: ignore[call-arg]
                def undo(self, result: int | None) -> None: ...

    @pytest.mark.parametrize("queue", [None, "", " ", 7])
    def test_the_queue_is_required(self, queue: object) -> None:
        with pytest.raises(SagaDefinitionError, match="queue must be a non-empty string"):
            declared(dict[str, int], queue=queue)

    @pytest.mark.parametrize("name", ["", " ", None])
    def test_a_task_has_a_name(self, name: Any) -> None:
        with pytest.raises(SagaDefinitionError, match="the name of the task must be"):
            remote(name, queue="q")(lambda_of_a_method)

    def test_an_unknown_one_is_refused(self) -> None:
        with pytest.raises(SagaDefinitionError, match="unknown option 'max_retry'"):
            declared(dict[str, int], max_retry=3)

    def test_defaults_of_the_saga_that_mean_nothing_do_not_reach_it(self) -> None:
        class Defaults(Saga[Order]):
            class Meta:
                abstract = True
                step_defaults = {
                    "atomic": True,
                    "rate_limit": "5/s",
                    "queue": "ours",
                    "owner": "we",
                }

            @remote("any name: ünïcode/…", queue="theirs", priority=3)
            def act(self) -> list[int]:
                return [1]

            act.no_compensation("tried")

        (act,) = Defaults.definition.steps
        assert (act.atomic, act.options.rate_limit, act.options.queue) == (False, None, "ours")
        assert act.owner == "we"
        assert act.remote_task is not None
        assert (act.remote_task.name, act.remote_task.queue) == ("any name: ünïcode/…", "theirs")
        assert act.remote_task.priority == 3

    def test_inputs_are_refused_for_the_method_says_them(self) -> None:
        with pytest.raises(SagaDefinitionError, match="returns the arguments itself"):

            class Twice(Saga[Order]):
                @remote("t", queue="q")
                def act(self) -> list[int]:
                    return [1]

                @act.inputs
                def other(self) -> list[int]:
                    return [2]

    def test_a_method_of_another_form_is_refused(self) -> None:
        with pytest.raises(SagaDefinitionError, match=r"takes exactly \(self\)"):

            class Wide(Saga[Order]):
                @remote("t", queue="q")  # type: ignore[arg-type]
                def act(self, order: int) -> list[int]:
                    return [order]


def lambda_of_a_method(self: Any) -> list[int]:
    return []


class TestArguments:
    @pytest.mark.parametrize(
        ("returns", "value", "sent"),
        [
            (dict[str, int], {"order": 1}, ([], {"order": 1})),
            (Arguments, Arguments(1), ([], {"order": 1})),
            (list[int], [1, 2], ([1, 2], {})),
            (tuple[int, str], (1, "a"), ([1, "a"], {})),
            (None, None, ([], {})),
            (Arguments | None, None, ([], {})),
        ],
    )
    def test_are_named_or_by_position(self, returns: Any, value: object, sent: object) -> None:
        definition = declared(returns).definition
        assert not definition.problems()
        (charge,) = definition.steps
        assert isinstance(charge.remote_task, RemoteTask)
        assert charge.remote_task.arguments(value) == sent

    @pytest.mark.parametrize("returns", [int, str, bool, float, str | None, list[int] | int])
    def test_neither_by_name_nor_by_position_are_an_error(self, returns: Any) -> None:
        found = declared(returns).definition.problems()
        assert "sagas.E006" in {problem.id for problem in found}
        assert any("return the arguments of the task" in problem.message for problem in found)

    def test_without_an_annotation_are_an_error(self) -> None:
        class Bare(Saga[Order]):
            class Meta:
                abstract = True

            @remote("t", queue="q")
            def act(self):  # type: ignore[no-untyped-def]  # noqa: ANN202
                return {}

            act.no_compensation("tried")

        assert "sagas.E006" in {problem.id for problem in Bare.definition.problems()}

    def test_of_a_compensation_are_checked_too(self) -> None:
        class Undo(Saga[Order]):
            class Meta:
                abstract = True

            @remote("t", queue="q")
            def act(self) -> list[int]:
                return [1]

            @act.remote_compensation("u", queue="q")
            def undo(self, _: None) -> int:
                return 1

        assert "sagas.E006" in {problem.id for problem in Undo.definition.problems()}


class TestInheritance:
    def test_a_subclass_overrides_the_arguments_of_a_compensation(self) -> None:
        class Base(Saga[Order]):
            class Meta:
                abstract = True

            @remote("t", queue="q", result=int)
            def act(self) -> list[int]:
                return [1]

            @act.remote_compensation("u", queue="q")
            def undo(self, result: int | None) -> list[int]:
                return [1]

        class Other(Base):
            class Meta:
                abstract = True

            def undo(self, result: int | None) -> list[int]:
                return [2]

        undo = Other.definition.steps[0].compensation
        assert undo is not None
        assert undo.remote_task is not None
        assert undo.remote_task.method(Other(Order(1)), 1) == [2]

    def test_a_compensation_of_another_type_is_an_error(self) -> None:
        class Wrong(Saga[Order]):
            class Meta:
                abstract = True

            @remote("t", queue="q", result=int)
            def act(self) -> list[int]:
                return [1]

            @act.remote_compensation("u", queue="q")  # type: ignore[arg-type]
            def undo(self, result: str | None) -> list[int]:
                return [1]

        assert "sagas.E007" in {problem.id for problem in Wrong.definition.problems()}
