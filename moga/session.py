"""Session: an open run. Its directory, journal, tables, searcher, executor, and what came back.

`Search` drives it; the words are those of `moga.search`. A run that is continued goes through the
very same calls: what the journal holds is taken from there, not asked or evaluated again.
"""

import dataclasses
import json
import math
import time
from collections import Counter, deque
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, Literal, NoReturn

import numpy as np

from moga import registry
from moga.contracts import (
    Evaluator,
    Executor,
    Failed,
    Genomes,
    Measured,
    Observations,
    Outcome,
    Progress,
    Searcher,
    Ticket,
)
from moga.endtoend import measure_front
from moga.errors import Exhausted, InvalidGenome, RunMismatch, TooManyFailures, UsageError
from moga.files import atomic_path, atomic_write
from moga.network import Network
from moga.plan import Plan
from moga.report.book import BOOKKEEPING, Book
from moga.report.text import column
from moga.result import Result
from moga.runtime.guard import one_thread
from moga.runtime.ledger import Answer, Ledger, Stop
from moga.runtime.rundir import (
    JOURNAL,
    MEASURED,
    how_to_continue,
    read_configuration,
    read_measured,
    write_configuration,
)
from moga.spaces.base import Decoder

__all__ = ["Batch", "Session", "Settings"]

_FAILURES_IN_A_ROW: Final = 40
_PROPOSALS_AN_EVALUATION: Final = 50
_DERIVED: Final = ("evaluations.parquet", "front.csv", MEASURED, "family.json", "report.html")


@dataclasses.dataclass(frozen=True)
class Settings:
    """How a search is carried out; the arguments of `Search` of the same names.

    Raises:
        UsageError: a searcher that is neither text nor can be called.
    """

    searcher: Any
    evaluations: int
    hours: float | None
    seed: int
    executor: Any
    executor_options: dict[str, Any]
    in_flight: int
    batch: int
    order: Literal["asked", "completion"]
    family: Any

    def __post_init__(self) -> None:
        if not isinstance(self.searcher, str) and not callable(self.searcher):
            raise UsageError(
                f"the searcher is {self.searcher!r}; give a name such as 'nsga2', or a factory "
                "(problem, rng) -> Searcher, such as the class of a Searcher"
            )


@dataclasses.dataclass(eq=False)
class Batch:
    """Genomes that were asked together, and what has come back of them.

    Args:
        number: counts the batches of a run.
        genomes: shape (n, genes).
        networks: of those genomes that need an evaluation, by row.
        outcomes: by row; None until it is known, or where limits forbid the genome.
    """

    number: int
    genomes: Genomes
    networks: dict[int, Network]
    outcomes: list[Outcome | None]
    recorded: bool = False

    @property
    def complete(self) -> bool:
        """Whether every network has its outcome."""
        return all(self.outcomes[row] is not None for row in self.networks)


class Session:
    """The state of an open run; see `moga.search.Search.step` for the order of calls.

    Args:
        plan: what is searched.
        settings: how.
        directory: the run's directory, locked by the caller.
        progress: is told how far the run is.

    Raises:
        UsageError: a factory that returns no searcher.
    """

    def __init__(self, plan: Plan, settings: Settings, directory: Path, progress: Progress) -> None:
        self.plan, self.settings, self.directory = plan, settings, directory
        self.progress = progress
        self.ledger = Ledger(directory / JOURNAL)
        if self.ledger.torn_bytes:
            progress.note(
                f"the journal's last record was torn by a crash ({self.ledger.torn_bytes} bytes) "
                "and is dropped; all that was recorded before it is kept"
            )
        self.tables = plan.build_tables(directory / "tables", progress)
        self.problem = plan.problem(self.tables)
        self._decode = Decoder(plan.space)
        rng = np.random.default_rng(settings.seed)
        self.searcher: Searcher = (
            registry.create("searcher", settings.searcher, problem=self.problem, rng=rng)
            if isinstance(settings.searcher, str)
            else settings.searcher(self.problem, rng)
        )
        if not isinstance(self.searcher, Searcher):
            raise UsageError(
                f"the searcher's factory {settings.searcher!r} returned {self.searcher!r}; it must "
                "return a moga.contracts.Searcher"
            )
        self.book = Book(plan.objectives, plan.constraints, plan.evaluated, self.tables)
        self.outstanding: list[Batch] = []
        self._batches = self._evaluations = self._proposals = self._repeats = 0
        self._done: dict[bytes, Outcome] = {}
        self._owed: dict[bytes, int] = {}  # genomes under way: how often each was proposed
        self._reason = "evaluations"
        self._replayed = self._differing = 0
        self._failures: deque[Failed] = deque(maxlen=_FAILURES_IN_A_ROW)
        self._began = time.monotonic() - self.ledger.seconds
        self._executor: Executor | None = None
        self._evaluator: Evaluator | None = None
        self._tickets: dict[Ticket, Batch] = {}
        self._phase = ""

    @property
    def finished(self) -> bool:
        """Whether the journal says that the run ended, and no more is wanted since."""
        stop, wanted = self.ledger.stop, self.settings
        if stop is None:
            return False
        if stop.reason == "evaluations":
            return wanted.evaluations <= stop.evaluations
        if stop.reason == "hours":
            return wanted.hours is not None and wanted.hours <= (stop.hours or math.inf)
        return True

    def ask(self, n: int, *, submit: bool = True) -> bool:
        """Ask the searcher for up to n genomes, record them and send them off. False: not now.

        What was proposed before is not evaluated again, and has no second row: its result is told
        again, at once or when it comes.

        Raises:
            InvalidGenome: a proposal that is none.
            UsageError: an empty proposal where no result is under way.
        """
        number = self._batches
        recorded = self.ledger.asked[number] if number < len(self.ledger.asked) else None
        if recorded is None:
            self._end_replay()
        if recorded is None and (self.finished or self._used_up()):
            return False
        n = (
            min(n, self.settings.evaluations - self._evaluations)
            if recorded is None
            else recorded.wanted
        )
        try:
            with one_thread():  # small matrices: two threads take longer, and what others need
                asked = self.searcher.ask(n)
            genomes = self._checked(asked, n)
        except Exhausted:
            if recorded is None:
                self._reason = "exhausted"
                return False
            genomes = recorded.genomes
        genomes = self._not_under_way(genomes)
        if not len(genomes) and self.outstanding:
            return False  # as it was when the journal was written: it waits for results
        if not len(genomes) and recorded is None:
            raise UsageError(
                f"the searcher {self._searcher_name} proposed nothing though no result is under "
                "way: an empty ask means that it waits for one. Return genomes, or raise "
                "moga.errors.Exhausted where nothing is left to propose"
            )
        if recorded is None:
            self._remove_derived()
            self.ledger.record_asked(genomes, n)
        else:
            genomes = self._recorded_genomes(genomes, recorded.genomes)
        for genome in genomes:
            self._owed.setdefault(genome.tobytes(), 1)
            self._repeats += genome.tobytes() in self.book.entered
        batch = self._batch(number, genomes)
        self._batches += 1
        self._proposals += len(genomes)
        self._evaluations += len(batch.networks)
        self.outstanding.append(batch)
        if not batch.recorded and batch.networks and submit:
            self._submit(batch)
        return True

    def _checked(self, genomes: Any, n: int) -> Genomes:
        """Return what the searcher proposed, where it is what it should be.

        Raises:
            InvalidGenome: a genome out of range or of the wrong length, or more than n of them.
        """
        name, genes = self._searcher_name, len(self.plan.space.genes)
        try:
            if len(genomes):
                checked = self.plan.space.validate(genomes)
            else:
                checked = np.empty((0, genes), dtype=np.int64)
        except (InvalidGenome, TypeError, ValueError) as error:
            got = error if isinstance(error, InvalidGenome) else f"it returned {genomes!r}"
            raise InvalidGenome(
                f"the searcher {name} proposed what is no genome: {got}. Its ask({n}) must return "
                f"an int64 array of shape (m, {genes}), m <= {n}"
            ) from error
        if len(checked) > n:
            raise InvalidGenome(
                f"the searcher {name} proposed {len(checked)} genomes; it was asked for {n}"
            )
        return checked

    @property
    def _searcher_name(self) -> str:
        searcher = self.settings.searcher
        return searcher if isinstance(searcher, str) else type(self.searcher).__qualname__

    def _not_under_way(self, genomes: Genomes) -> Genomes:
        """Return what is not under way, each genome once; note how often the rest is to be told."""
        new = {}
        for row, genome in enumerate(genomes):
            key = genome.tobytes()
            if key in self._owed:
                self._owed[key] += 1
            else:
                self._owed[key] = 1
                new[key] = row
        return genomes[list(new.values())]

    def _used_up(self) -> bool:
        settings = self.settings
        if self._evaluations >= settings.evaluations:
            self._reason = "evaluations"
        elif settings.hours is not None and self.seconds >= 3600 * settings.hours:
            self._reason = "hours"
        elif self._proposals >= _PROPOSALS_AN_EVALUATION * settings.evaluations:
            self._reason = "repeats" if 2 * self._repeats > self._proposals else "limits"
        else:
            return False
        return True

    def _recorded_genomes(self, asked: Genomes, recorded: Genomes) -> Genomes:
        """Return what was journalled, which wins over what the searcher would ask today."""
        self._replayed += 1
        if not np.array_equal(asked, recorded):
            self._differing += 1
            for genome in asked:
                self._owed.pop(genome.tobytes(), None)
        return recorded

    def _end_replay(self) -> None:
        """Say once how often the searcher differed from the journal."""
        if self._differing:
            self.progress.note(
                f"in {self._differing} of {self._replayed} batches, the searcher "
                f"{self._searcher_name} would now ask for other genomes than the journal holds; "
                "the journal wins. This is as it should be with members that think on their own "
                "(portfolio(remote=true)), for their asks depend on timing; else another version "
                "of moga or of a library may be the cause"
            )
        self._replayed = self._differing = 0

    def _batch(self, number: int, genomes: Genomes) -> Batch:
        """Decide what of a batch needs an evaluation, and take the rest from limits and journal."""
        n = len(genomes)
        violations = self.book.violations(genomes)
        outcomes: list[Outcome | None] = [None] * n
        evaluated, rows = bool(self.plan.evaluated), []
        for row in range(n):
            if violations[row] > 0:
                continue
            if (done := self._done.get(genomes[row].tobytes())) is not None:
                outcomes[row] = done
                continue
            rows.append(row)
            if not evaluated:
                outcomes[row] = Measured({})
        networks = dict(zip(rows, self._decode(genomes[rows]), strict=True)) if rows else {}
        batch = Batch(number, genomes, networks, outcomes)
        answer = self.ledger.answers.get(number)
        if answer is not None:
            batch.recorded = True
            for row in networks:
                batch.outcomes[row] = answer.outcomes[row]
        return batch

    def _submit(self, batch: Batch) -> None:
        if self.plan.evaluated:
            evaluator = self.evaluator
            if self._executor is None:
                self._executor = self._start_executor()
            ticket = self._executor.submit(evaluator, list(batch.networks.values()))
            self._tickets[ticket] = batch

    def _start_executor(self) -> Executor:
        settings = self.settings
        executor: Executor = registry.create(
            "executor", settings.executor, **settings.executor_options
        )
        self._enter_phase("search")
        return executor

    def _enter_phase(self, name: str) -> None:
        if name != self._phase:
            self.progress.phase(name, self.settings.evaluations, "evaluations")
            self._phase = name

    @property
    def evaluator(self) -> Evaluator:
        """The source of accuracy; made (trained, loaded) when it is first needed."""
        if self._evaluator is None:
            built = self.plan.build_evaluator(self.settings.seed, self.directory, self.progress)
            assert built is not None  # noqa: S101 - only asked for where something is evaluated
            self._record_evaluator(built)
            self._evaluator = built
        return self._evaluator

    def _record_evaluator(self, evaluator: Evaluator) -> None:
        """Write what is known of the evaluator into ``run.json``, or check that it is the same."""
        describe = getattr(evaluator, "describe", None)
        details = describe() if describe else {}
        configuration = read_configuration(self.directory) or {}
        recorded = (configuration.get("evaluator") or {}).get("details")
        if recorded and recorded.get("digest") != details.get("digest"):
            raise RunMismatch(
                f"{self.directory} was evaluated with weights {recorded.get('digest')}; the "
                f"evaluator now has {details.get('digest')}. Their accuracies must not stand on "
                "one front: restore the supernet's checkpoint, or start a new run"
            )
        configuration["evaluator"] = {**(configuration.get("evaluator") or {}), "details": details}
        write_configuration(self.directory, configuration)

    def wait(self) -> Batch:
        """Return the next batch to tell: the oldest or, in order of completion, the first there."""
        while True:
            if (batch := self._next()) is not None:
                return batch
            assert self._executor is not None  # noqa: S101 - something was submitted
            ticket, outcomes = next(iter(self._executor.completed()))
            self.answer(self._tickets.pop(ticket), outcomes)

    def _next(self) -> Batch | None:
        if self.settings.order == "asked":
            return self.outstanding[0] if self.outstanding[0].complete else None
        ranks = {number: rank for rank, number in enumerate(self.ledger.answers)}
        complete = [batch for batch in self.outstanding if batch.complete]
        return min(complete, key=lambda b: ranks.get(b.number, -1), default=None)

    def answer(self, batch: Batch, outcomes: Sequence[Outcome]) -> None:
        """Record what came back for the networks of a batch."""
        for row, outcome in zip(batch.networks, outcomes, strict=True):
            batch.outcomes[row] = outcome
        kept = tuple(
            batch.outcomes[r] if r in batch.networks else None for r in range(len(batch.genomes))
        )
        self.ledger.record_answer(batch.number, Answer(kept, self.seconds))

    @property
    def seconds(self) -> float:
        """How long the run has been going, over all its sessions."""
        return time.monotonic() - self._began

    def deliver(self, batch: Batch) -> None:
        """Enter a complete batch into the archive and tell the searcher."""
        self.outstanding.remove(batch)
        for row in batch.networks:
            outcome = batch.outcomes[row]
            if outcome is not None:
                self._done[batch.genomes[row].tobytes()] = outcome
        observations = self.book.enter(batch.number, batch.genomes, batch.outcomes)
        with one_thread():
            self.searcher.tell(self._as_often_as_proposed(observations))
        self._watch_failures(batch)
        self._enter_phase("read the journal" if batch.recorded else "search")
        book = self.book
        figures: dict[str, float | str] = {"front": len(book.archive.front)}
        if not math.isnan(book.hypervolume):
            figures["hypervolume"] = round(book.hypervolume, 4)
        self.progress.advance(self._evaluations - self._waiting(), **figures)

    def _as_often_as_proposed(self, observations: Observations) -> Observations:
        """Return a row for each time that the searcher proposed a genome."""
        owed = [self._owed.pop(genome.tobytes(), 1) for genome in observations.genomes]
        if sum(owed) == len(owed):
            return observations
        fields = dataclasses.fields(observations)
        return Observations(
            **{f.name: getattr(observations, f.name).repeat(owed, 0) for f in fields}
        )

    def _waiting(self) -> int:
        return sum(len(batch.networks) for batch in self.outstanding)

    def _watch_failures(self, batch: Batch) -> None:
        """Stop a run in which nothing works; what earlier sessions recorded does not count."""
        if batch.recorded:
            return
        for row in batch.networks:
            outcome = batch.outcomes[row]
            if isinstance(outcome, Failed):
                self._failures.append(outcome)
            else:
                self._failures.clear()
        if len(self._failures) == _FAILURES_IN_A_ROW:
            self._give_up(
                f"{_FAILURES_IN_A_ROW} evaluations in a row failed",
                [failure.reason for failure in self._failures],
                how_to_continue(self.directory, read_configuration(self.directory) or {}),
            )

    def _check_that_one_worked(self) -> None:
        """Refuse to end a run of which nothing came, however short it was."""
        evaluated = [row for row in self.book.rows if row["status"] != "skipped"]
        if evaluated and all(row["status"] == "failed" for row in evaluated):
            self._give_up(
                f"all {len(evaluated)} evaluations failed",
                [row["reason"] for row in evaluated],
                "ask for more evaluations, or start a new run",
            )

    def _give_up(self, what: str, reasons: Sequence[str], cure: str) -> NoReturn:
        (reason, times), *_ = Counter(reasons).most_common(1)
        raise TooManyFailures(
            f"{what}, {times} of them with: {reason}. All are recorded in {self.directory}; mend "
            f"the cause and {cure}"
        )

    def _remove_derived(self) -> None:
        """Remove what was made from fewer evaluations, so that what is there is never stale."""
        for name in _DERIVED:
            (self.directory / name).unlink(missing_ok=True)

    def finish(self) -> Result:
        """Record the end; then make what is missing: frames, measured front, family, report.

        Raises:
            TooManyFailures: every evaluation failed; no end is recorded.
        """
        if not (ended := self.finished):
            self._check_that_one_worked()
            stop = Stop(self._reason, self._evaluations, self.settings.hours)
            self.ledger.record_stop(stop)
            if stop.reason == "repeats":
                self.progress.note(
                    f"the search ended early: of {self._proposals} genomes that the searcher "
                    f"{self._searcher_name} proposed, {len(self.book.entered)} were new"
                )
        missing = [name for name in _DERIVED if not (self.directory / name).exists()]
        stale = "report.html" in missing or not ended  # one of the run before its end, if any
        if "evaluations.parquet" in missing or "front.csv" in missing:
            self._write_frames(self.result())
            stale = True
        family = self._family()
        if family is not None and "family.json" in missing:
            family(self, self.result())
            stale = True
        self.measure_front()
        if stale:
            self.progress.phase("report")
            self.result().report()
        return self.result()

    def measure_front(self, first: Sequence[Sequence[int]] = ()) -> dict[str, Any] | None:
        """Time the front end to end where a device can; see `moga.endtoend.measure_front`."""
        front = self.result().front
        genomes = front["genome"].tolist() if len(front) else []
        evaluated = {
            metric: dict(zip(map(tuple, genomes), front[column(metric)].tolist(), strict=True))
            for metric in self.plan.evaluated
            if genomes and metric.partition("@")[0] == "latency"
        }
        return measure_front(
            self.plan,
            self.tables,
            genomes,
            self.directory,
            self.progress,
            first=first,
            evaluated=evaluated,
        )

    def _family(self) -> Any:
        spec = self.settings.family
        if spec is None or not len(self.book.archive):
            return None
        return registry.create("family", spec)

    def _write_frames(self, result: Result) -> None:
        with atomic_path(self.directory / "evaluations.parquet") as path:
            result.evaluations.to_parquet(path, index=False)
        front = result.front.drop(columns=[name for name in BOOKKEEPING if name in result.front])
        front["genome"] = [" ".join(map(str, genome)) for genome in front["genome"]]
        atomic_write(self.directory / "front.csv", front.to_csv(index=False))

    def result(self) -> Result:
        """Return what is known so far."""
        self.book.mark_front()
        path = self.directory / "family.json"
        return Result(
            run_dir=self.directory,
            space=self.plan.space,
            objectives=self.plan.objectives,
            archive=self.book.archive,
            rows=self.book.rows,
            hypervolume=self.book.hypervolume,
            constraints=self.plan.constraints,
            family=json.loads(path.read_text(encoding="utf-8")) if path.exists() else None,
            measured=read_measured(self.directory),
            stopped=self.ledger.stop.reason if self.ledger.stop else "",
        )

    def close(self) -> None:
        """Release workers and close the journal."""
        if self._executor is not None:
            self._executor.close()
        self.ledger.close()
