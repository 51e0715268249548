"""Search: the page to read first. `__init__` wires, `step` is one round, `run` is the loop.

    ask -> cheap costs (tables) -> limits -> executor (accuracy) -> journal -> archive -> tell

By default results reach the searcher in the order of the asks, and how many are in flight is part
of the configuration: with one seed, the local executor, Ray, and a run that was killed and
continued give the same archive.
"""

import contextlib
import dataclasses
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

from moga import registry
from moga._version import __version__
from moga.contracts import Evaluator, Executor, Objective, Outcome, Progress, Silent
from moga.devices.base import Device
from moga.errors import Exhausted, UsageError
from moga.plan import Plan
from moga.report.book import read_stop
from moga.report.progress import auto
from moga.result import Result
from moga.runtime.environment import describe_host
from moga.runtime.guard import Retries, checked
from moga.runtime.journal import RunLock
from moga.runtime.rundir import (
    ASKING,
    check_same,
    how_to_continue,
    new_run_dir,
    read_configuration,
    write_configuration,
)
from moga.session import Batch, Session, Settings
from moga.spaces.base import Space

__all__ = ["Search", "continued"]


class Search:
    """A search for fast, accurate networks. `run` carries it out and returns a `Result`.

    Args:
        space: a name, text such as ``"moga(resolution=32)"``, or a `Space`.
        device: where latency counts: a name, text, a `Device`, or a list of them.
        objectives: texts ``metric[:min|max][*weight][<=limit][>=limit]`` or `Objective`s; None: the
            space's own.
        constraints: limits on what is no objective, such as ``"macs<=3e8"``.
        searcher: a name or text; or a `Searcher` class's factory ``(problem, rng) -> Searcher``.
        data: a folder of class folders; None: the bundled photographs, where images are needed.
        evaluator: where accuracy comes from: text or an `Evaluator`, or several (such as
            ``["supernet", "latency"]``, which measures each candidate); None: the space's own (for
            ``moga``, a supernet that is trained on `data`, or taken from the cache).
        evaluations: how many genomes are evaluated at most.
        hours: a time limit over all sessions of the run; None: no limit.
        seed: of everything random.
        executor: "ray", "local", or an `Executor`.
        workers: evaluating processes of Ray's executor; None: one a CPU.
        in_flight: how many genomes are evaluated, or wait for it, at any time.
        batch: how many genomes are asked for, sent and journalled together.
        order: "asked", or "completion": results reach the searcher as they come, which suits uneven
            workers; the archive then depends on the machines' timing.
        storage: the run's directory; an existing run there is continued. None: a new one in runs/.
        retries: how often what failed is tried again.
        time_limit: seconds for one evaluation; over it, it counts as failed.
        family: the recipe that selects the networks at the end; None: none.
        progress: True: how far the run is goes to standard error, live in a terminal, as lines
            elsewhere (`moga.report.progress.auto`); an object: it is told; None: nothing is shown.

    Raises:
        UsageError: and its kinds, for anything that cannot work; before any work is done.

    Example:
        >>> import tempfile
        >>> search = Search(
        ...     "nasbench201",
        ...     "pixel3",
        ...     evaluations=20,
        ...     executor="local",
        ...     family=None,
        ...     storage=tempfile.mkdtemp(),
        ... )
        >>> len(search.run().evaluations)
        20
    """

    def __init__(
        self,
        space: Space | str = "moga",
        device: Device | str | Sequence[Device | str] = "cpu",
        objectives: Sequence[Objective | str] | None = None,
        *,
        constraints: Sequence[Objective | str] = (),
        searcher: Any = "nsga2",
        data: str | Path | None = None,
        evaluator: Evaluator | str | Sequence[Evaluator | str] | None = None,
        evaluations: int = 1000,
        hours: float | None = None,
        seed: int = 0,
        executor: Executor | str = "ray",
        workers: int | None = None,
        in_flight: int = 16,
        batch: int = 4,
        order: Literal["asked", "completion"] = "asked",
        storage: str | Path | None = None,
        retries: Retries | None = None,
        time_limit: float | None = None,
        family: Any = "moga",
        progress: Progress | bool | None = None,
    ) -> None:
        _check_numbers(
            evaluations=evaluations,
            hours=hours,
            seed=seed,
            in_flight=in_flight,
            batch=batch,
            order=order,
            workers=workers,
        )
        self.plan = Plan.make(
            space, device, objectives, constraints=constraints, data=data, evaluator=evaluator
        )
        for kind, spec in (("executor", executor), ("family", family)):
            if isinstance(spec, str):
                registry.parameters(kind, spec)
        if isinstance(searcher, str):
            self.plan.check_searcher(searcher)
        self.settings = Settings(
            searcher=searcher,
            evaluations=evaluations,
            hours=hours,
            seed=seed,
            executor=executor,
            executor_options={"workers": workers, "retries": retries, "time_limit": time_limit},
            in_flight=in_flight,
            batch=batch,
            order=order,
            family=family,
        )
        self.storage = None if storage is None else Path(storage)
        self._display = auto() if progress is True else None
        self.progress = self._display or _checked_progress(progress)
        self._session: Session | None = None

    @classmethod
    def resume(
        cls,
        run_dir: str | Path,
        *,
        executor: Executor | str | None = None,
        workers: int | None = None,
        progress: Progress | bool | None = None,
    ) -> "Search":
        """Return the search that a run directory holds; its `run` continues it.

        Raises:
            UsageError: no run there, or one that was started with Python objects, which a file
                cannot describe: continue it with the same `Search(..., storage=run_dir)`. Where it
                has ended, `Result.read` reads it.
        """
        directory = Path(run_dir)
        recorded = _recorded(directory)
        if recorded["call"] is None:
            raise UsageError(
                f"the run in {directory} was started from Python with objects that a file cannot "
                f"describe; {how_to_continue(directory, recorded)}"
            )
        call = dict(recorded["call"])
        if executor is not None:
            call["executor"] = executor
        retries = call.pop("retries")
        return cls(
            **call,
            workers=workers,
            storage=directory,
            progress=progress,
            retries=None if retries is None else Retries(**retries),
        )

    def run(self) -> Result:
        """Search until the evaluations, the hours or the space are used up; then select a family.

        A finished run is read, and nothing is changed.

        Raises:
            RunInUse: another process has the run's directory.
            RunMismatch: the directory holds a run with other settings.
            TooManyFailures: 40 evaluations in a row failed, or all; they are journalled.
        """
        with self.session() as session:
            while self.step():
                pass
            return session.finish()

    def step(self) -> bool:
        """Do one round: fill the window with asks, wait for a batch, tell. False: it is over."""
        session = self._active()
        batch = self.settings.batch
        while len(session.outstanding) * batch < self.settings.in_flight and session.ask(batch):
            pass
        if not session.outstanding:
            return False
        session.deliver(session.wait())
        return True

    def ask(self, n: int) -> Batch:
        """Ask by hand, inside ``with search.session():``; the batch is journalled.

        Raises:
            Exhausted: nothing is left to ask for.
        """
        session = self._active()
        if not session.ask(n, submit=False):
            raise Exhausted("the searcher waits for results, or the evaluations are used up")
        return session.outstanding[-1]

    def tell(self, batch: Batch, outcomes: Sequence[Outcome]) -> None:
        """Tell by hand what became of `batch.networks`, in their order.

        An outcome that lacks a metric, or holds a value that is not finite, counts as failed, as
        an evaluator's does.

        Raises:
            UsageError: another number of outcomes than networks, what is no outcome, or a batch
                told already.
        """
        session = self._active()
        if batch not in session.outstanding:
            raise UsageError(f"batch {batch.number} is not outstanding; it was told already")
        if len(outcomes) != len(batch.networks):
            raise UsageError(f"expected {len(batch.networks)} outcomes, got {len(outcomes)}")
        for outcome in outcomes:
            if not isinstance(outcome, Outcome):
                raise UsageError(f"expected Measured, Bounded or Failed; got {outcome!r}")
        session.answer(batch, [checked(outcome, self.plan.evaluated) for outcome in outcomes])
        session.deliver(batch)

    @contextlib.contextmanager
    def session(self) -> Iterator[Session]:
        """Open the run's directory, replay its journal, and close everything at the end.

        Raises:
            RunInUse: another process has the directory.
            RunMismatch: it holds a run with other settings.
        """
        if self._session is not None:
            raise UsageError("this search has a session open already")
        directory = self._directory()
        with contextlib.ExitStack() as stack:
            stack.enter_context(RunLock(directory))
            if self._display is not None:
                stack.enter_context(self._display)
            recorded = read_configuration(directory)
            if recorded is None and any(p.name != "lock" for p in directory.iterdir()):
                raise UsageError(
                    f"{directory} holds no run (there is no run.json) and is not empty; choose "
                    "another storage directory"
                )
            wanted = self.configuration()
            if recorded is not None:
                check_same(directory, recorded, wanted)
            else:
                write_configuration(directory, wanted)
            self._session = session = Session(self.plan, self.settings, directory, self.progress)
            stack.callback(session.close)
            if recorded is not None and not session.finished:
                may_change = ("evaluations", "hours", "call", "evaluated", *ASKING)
                changed = {key: wanted[key] for key in may_change}
                write_configuration(directory, {**recorded, **changed})
            try:
                yield session
            finally:
                self._session = None

    def _directory(self) -> Path:
        """Return the run's directory, a new one in runs/ where none was named; make it."""
        if self.storage is None:
            names = "-".join(device.name for device in self.plan.devices)
            name = re.sub(r"[^\w.@-]+", "-", f"{self.plan.space.name}-{names}").strip("-")
            self.storage = new_run_dir(name)
        try:
            self.storage.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UsageError(
                f"cannot make the run's directory {self.storage}: {error.strerror}; choose another "
                "storage directory"
            ) from error
        return self.storage

    def configuration(self) -> dict[str, Any]:
        """Return all that ``run.json`` records of this search."""
        settings = self.settings
        return {
            "moga": __version__,
            **self.plan.configuration(),
            "searcher": _name_of(settings.searcher),
            "seed": settings.seed,
            "evaluations": settings.evaluations,
            "hours": settings.hours,
            "in_flight": settings.in_flight,
            "batch": settings.batch,
            "order": settings.order,
            "executor": _name_of(settings.executor),
            "family": _name_of(settings.family),
            "call": self._call(),
            **describe_host(),
        }

    def _call(self) -> dict[str, Any] | None:
        """Return the arguments that build this search again; None where one is an object."""
        plan, settings = self.plan, self.settings
        options = settings.executor_options
        evaluators = plan.evaluator if isinstance(plan.evaluator, list) else [plan.evaluator]
        specs = (settings.searcher, settings.executor, settings.family, *evaluators)
        if None in plan.texts or not all(spec is None or isinstance(spec, str) for spec in specs):
            return None
        retries = options["retries"]
        return {
            "space": plan.texts[0],
            "device": list(plan.texts[1:]),
            "objectives": [str(objective) for objective in plan.objectives],
            "constraints": [str(objective) for objective in plan.constraints],
            "searcher": settings.searcher,
            "data": None if plan.data is None else str(Path(plan.data).absolute()),
            "evaluator": plan.evaluator,
            "evaluations": settings.evaluations,
            "hours": settings.hours,
            "seed": settings.seed,
            "executor": settings.executor,
            "in_flight": settings.in_flight,
            "batch": settings.batch,
            "order": settings.order,
            "time_limit": options["time_limit"],
            "retries": None if retries is None else dataclasses.asdict(retries),
            "family": settings.family,
        }

    def _active(self) -> Session:
        if self._session is None:
            raise UsageError("no session is open; use run(), or `with search.session():`")
        return self._session


def continued(
    run_dir: str | Path,
    *,
    executor: Executor | str | None = None,
    workers: int | None = None,
    progress: Progress | bool | None = None,
) -> Result:
    """Continue a run that was interrupted, and return its result; one that has ended is read.

    Raises:
        UsageError: no run there, or one that has not ended and was started with Python objects.
        RunInUse: another process has the run's directory.
        TooManyFailures: as `Search.run` says.
    """
    directory = Path(run_dir)
    if _recorded(directory)["call"] is None and read_stop(directory):
        return Result.read(directory)
    return Search.resume(directory, executor=executor, workers=workers, progress=progress).run()


def _recorded(directory: Path) -> dict[str, Any]:
    recorded = read_configuration(directory)
    if recorded is None:
        raise UsageError(
            f"{directory} holds no run (there is no run.json); give a directory that "
            "`moga search` wrote"
        )
    return recorded


def _checked_progress(progress: Progress | bool | None) -> Progress:
    if progress is None or isinstance(progress, bool):
        return Silent()
    for name in ("phase", "advance", "note"):
        if not callable(getattr(progress, name, None)):
            raise UsageError(
                f"progress is {progress!r}, which has no {name}(); give True for what the command "
                "line shows, an object as moga.contracts.Progress describes, or None"
            )
    return progress


def _name_of(spec: Any) -> str | None:
    if spec is None or isinstance(spec, str):
        return spec
    return str(getattr(spec, "__qualname__", type(spec).__qualname__))


def _check_numbers(
    *,
    evaluations: int,
    hours: float | None,
    seed: int,
    in_flight: int,
    batch: int,
    order: str,
    workers: int | None,
) -> None:
    counts = {"evaluations": evaluations, "in_flight": in_flight, "batch": batch}
    if workers is not None:
        counts["workers"] = workers
    for name, value in counts.items():
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise UsageError(f"{name} is {value!r}; give an integer of 1 or more")
    if isinstance(seed, bool) or not isinstance(seed, int) or seed < 0:
        raise UsageError(f"seed is {seed!r}; give an integer of 0 or more")
    if hours is not None and not hours > 0:
        raise UsageError(f"hours is {hours!r}; give a number above 0, or None for no limit")
    if order not in ("asked", "completion"):
        raise UsageError(f"order is {order!r}; give 'asked' or 'completion'")
