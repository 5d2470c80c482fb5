"""The soak's figures, for the terminal and for the page."""

from typing import TYPE_CHECKING

from benchmarks.faults import judge
from benchmarks.faults.inflict import DECK, KINDS
from benchmarks.plant.report import machine, seconds, table, write_section


if TYPE_CHECKING:
    from benchmarks.faults.plant import Plant
    from benchmarks.faults.recovery import Recovery
    from benchmarks.faults.soak import Result


RECOVERY = """\
Recovery: from the fault to the next claim of a step of the same saga, or its end. Hit are the sagas
whose step a killed or stopped process held, whose message was in a queue that was flushed, that were
ready when the broker died, or running when the connections were cut. With fewer than a hundred sagas
hit, p99 is the longest time that was seen."""


def parts(plant: "Plant") -> str:
    """Name the servers that ran."""
    import redis  # noqa: PLC0415 the module's name is a field elsewhere

    postgres = plant.query("SHOW server_version")[0][0].split()[0]
    with redis.Redis.from_url(plant.redis.url) as broker:
        server = broker.info("server")["redis_version"]
    return f"PostgreSQL {postgres} (fsync off), Redis {server}"


def text(result: "Result") -> str:
    """Return the section: what was run, what came of it, how long it took to recover."""
    together = result.options.phases[0]
    command = f"make soak N={together.sagas}` (seed {result.options.seed})"
    heads = ["fault", "times", "sagas hit", "p50", "p99", "longest"]
    sections = [
        "## Soak",
        f"`{command} · {machine()}, {result.parts}.",
        _setting(result),
        table(["", "sagas"], _outcome(result)),
        str(result.longest),
        RECOVERY,
        "Each kind on its own, eight sagas under way, one fault every five seconds or so:",
        table(heads, _recovery(result.alone)),
        "All together: the wait in a queue of hundreds and the faults in between are in these times.",
        table(heads, _recovery(result.recoveries)),
    ]
    if not result.alone:
        del sections[6:8]
    return "\n\n".join(sections)


def write(result: "Result") -> None:
    """Write the section into the page."""
    if result.options.report is not None:
        write_section(result.options.report, "soak", text(result))


def _setting(result: "Result") -> str:
    together = result.options.phases[0]
    low, high = together.every
    deck = ", ".join(f"{KINDS[kind]} {times}" for kind, times in DECK.items())
    return (
        f"{together.sagas:,} sagas with all kinds of fault together, the others with one kind at a "
        "time. Five steps each, a fifth of the sagas made to fail; two workers of two processes, at "
        f"most {together.at_a_time} sagas under way; {result.faults} faults, one every {low:g} to "
        f"{high:g} s. Of each {sum(DECK.values())} faults: {deck}. What hits everybody comes seldom, "
        "because with a flush every ten seconds little else would happen. The engine's settings are "
        "the defaults."
    )


def _outcome(result: "Result") -> list[tuple[str, str]]:
    verdict = result.verdict
    ends = sorted(verdict.states.items())
    return [
        ("run", f"{verdict.sagas:,}"),
        *((f"ended as {state or 'nothing'}", f"{n:,}") for state, n in ends),
        ("**lost** (no final state)", f"**{verdict.count(judge.LOST)}**"),
        ("**wrongly called compensated**", f"**{verdict.count(judge.FALSELY_COMPENSATED)}**"),
        ("**wrongly called completed**", f"**{verdict.count(judge.FALSELY_COMPLETED)}**"),
        ("**undone out of order**", f"**{verdict.count(judge.DISORDER)}**"),
        ("**an effect twice**", f"**{verdict.count(judge.DOUBLED)}**"),
        ("rolled back because of faults alone", f"{verdict.without_cause:,}"),
        ("*effects made*", f"{verdict.effects:,}"),
        ("*handler calls repeated for a key, without effect*", f"{verdict.repeats:,}"),
        ("*late outcomes recorded*", f"{result.rows.get('step_late', 0):,}"),
        ("*`start_saga()` called again after a cut connection*", f"{result.started_again:,}"),
        ("*sagas per second, all faults together*", f"{result.rate:.1f}"),
        ("*longest life of a saga*", seconds(result.longest.life)),
    ]


def _recovery(found: "list[Recovery]") -> list[tuple[object, ...]]:
    return [
        (
            KINDS[of_kind.kind],
            of_kind.faults,
            len(of_kind.seconds) + of_kind.never,
            seconds(of_kind.percentile(0.5)),
            seconds(of_kind.percentile(0.99)),
            "never" if of_kind.never else seconds(of_kind.percentile(1.0)),
        )
        for of_kind in found
    ]
