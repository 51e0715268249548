"""Any of pymoo's algorithms as a searcher."""

import copy
import inspect
from collections.abc import Mapping
from importlib import import_module
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from moga.contracts import Genomes, Observations, Problem
from moga.errors import FormatError, UnknownName, UsageError
from moga.searchers.arguments import check_integer, check_word
from moga.searchers.base import BaseSearcher
from moga.spaces.base import sample_uniform

__all__ = ["ALGORITHMS", "Pymoo"]

ALGORITHMS: Final[Mapping[str, str]] = {
    "AGEMOEA": "moo.age",
    "AGEMOEA2": "moo.age2",
    "CTAEA": "moo.ctaea",
    "DE": "soo.nonconvex.de",
    "GA": "soo.nonconvex.ga",
    "MOEAD": "moo.moead",
    "NSGA2": "moo.nsga2",
    "NSGA3": "moo.nsga3",
    "PSO": "soo.nonconvex.pso",
    "RVEA": "moo.rvea",
    "SMSEMOA": "moo.sms",
    "SPEA2": "moo.spea2",
    "UNSGA3": "moo.unsga3",
}
"""Names of pymoo's algorithms that text may give, and where pymoo keeps them."""

_REPEATS: Final = 20
"""Generations without a new genome before random ones are asked for, and the base class helps."""

_REHEARSED: Final = 3
"""Generations of made-up costs that an algorithm must get through before it is used."""

_FAILED: Final = 1e6
"""The violation of what failed: above any other, finite because pymoo computes with it."""


class Pymoo(BaseSearcher):
    """Asks and tells an algorithm of pymoo (Blank and Deb 2020), a generation at a time.

    Genes are variables from 0 to size - 1, rounded. Genetic algorithms get pymoo's operators for
    integers (SBX and PM with rounding), algorithms with reference directions those of Das and
    Dennis 1998, as many as fit into the population. Those that must know beforehand when they end,
    such as RVEA, are told `generations`. Those for one objective are found out by a rehearsal, for
    few of them say so before they have results of several. A generation ends when all of it was
    told, so `ask` may return fewer genomes than wanted, or none: tell more first.
    What an algorithm proposes again is answered from memory and not offered.

    Limits are one constraint: the sum of violations. A failed evaluation counts as a violation
    above all others, for pymoo ranks nan among the best; so there is a constraint where the user
    set no limit, too. Results that others asked for are
    remembered, so that they are never offered; the algorithm sees them when it proposes them.

    pymoo's algorithms have no state that could be written as numbers, so `state_dict` holds what
    they were told, and loading tells it again: the time of that grows with history.

    Args:
        problem: what is searched.
        rng: consumed.
        algorithm: a key of `ALGORITHMS`, any of pymoo's classes, or an object made from one (whose
            operators and population are then its own).
        population: members; where there are reference directions, at most that many of those.
        options: further arguments of the algorithm's class.
        limits: "constraint", or "penalty", which adds violations to all costs; "auto": a penalty
            for algorithms that refuse constraints, such as MOEAD, a constraint for all others.
        generations: how many the algorithm is to plan for; it goes on after them. None: no end.

    Raises:
        UnknownName: no such algorithm.
        UsageError: options that the algorithm does not take, a problem that it cannot solve, an
            algorithm for one objective where there are more, or one that needs a library which is
            not installed.

    Example:
        ``Search(..., searcher="pymoo(algorithm=NSGA3, population=40)")``
    """

    def __init__(
        self,
        problem: Problem,
        rng: np.random.Generator,
        *,
        algorithm: Any = "NSGA2",
        population: int = 40,
        options: Mapping[str, Any] | None = None,
        limits: str = "auto",
        generations: int | None = None,
    ) -> None:
        check_integer("population", population, 4)
        check_word("limits", limits, ("auto", "constraint", "penalty"))
        if generations is not None:
            check_integer("generations", generations)
        super().__init__(problem, rng)
        self.generations = generations
        self._fresh = _algorithm(algorithm, len(problem.objectives), population, options or {})
        self._seed = int(rng.integers(2**31))
        self.limits = self._workable(limits)
        self._restart()

    def _workable(self, limits: str) -> str:
        """Return how limits are passed on, after a rehearsal.

        Raises:
            UsageError: an algorithm for one objective, or one that does not take this problem.
        """
        name, objectives = type(self._fresh).__name__, len(self.problem.objectives)
        fault: Exception | None = None
        for way in ("constraint", "penalty") if limits == "auto" else (limits,):
            found = self._rehearse(way, objectives)
            if found is None:
                return way
            fault = found
        if objectives > 1 and self._rehearse("penalty", 1) is None:
            raise UsageError(
                f"pymoo's {name} is for one objective; the search has {objectives}. Use an "
                "algorithm for several, such as NSGA2"
            ) from fault
        raise UsageError(
            f"pymoo's {name} does not take this problem of {objectives} objective"
            f"{'s' * (objectives > 1)}: {fault}. Use another algorithm, such as "
            + ("NSGA2" if objectives > 1 else "GA")
            + (", or say limits=penalty" if limits == "constraint" else "")
            + (", or say generations=..., which it plans for" if "n_gen" in str(fault) else "")
        ) from fault

    def _rehearse(self, limits: str, objectives: int) -> Exception | None:
        """Let a copy live through generations of made-up costs; return what went wrong."""
        draws = np.random.default_rng(0)
        try:
            variables, algorithm = self._set_up(limits, objectives)
            for _ in range(_REHEARSED):
                if (waiting := algorithm.ask()) is None:
                    break
                members = len(np.atleast_2d(waiting.get("X")))
                costs = draws.random((members, objectives))
                _evaluate(variables, waiting, costs, np.zeros((members, 1)))
                algorithm.tell(infills=waiting)
        except Exception as error:  # pymoo asserts and raises many kinds
            return error
        return None

    def _set_up(self, limits: str, objectives: int) -> tuple[Any, Any]:
        """Return pymoo's problem and a fresh algorithm that is ready to be asked."""
        from pymoo.core.problem import Problem as Variables
        from pymoo.core.termination import NoTermination
        from pymoo.termination.max_gen import MaximumGenerationTermination

        variables = Variables(
            n_var=len(self.sizes),
            n_obj=objectives,
            n_ieq_constr=int(limits == "constraint"),
            xl=np.zeros(len(self.sizes)),
            xu=(self.sizes - 1).astype(float),
        )
        algorithm = copy.deepcopy(self._fresh)
        planned = self.generations
        end = NoTermination() if planned is None else MaximumGenerationTermination(planned)
        algorithm.setup(variables, termination=end, seed=self._seed, verbose=False)
        return variables, algorithm

    def _restart(self) -> None:
        self._results: dict[bytes, tuple[NDArray[np.float64], float]] = {}
        self._history: list[NDArray[np.float64]] = []
        self._waiting: Any = None  # the generation under way, pymoo's population
        self._variables, self._algorithm = self._set_up(self.limits, len(self.problem.objectives))

    def _ask(self, n: int, attempt: int) -> Genomes:
        for _ in range(1 if attempt else _REPEATS):
            if self._waiting is None:
                self._waiting = self._algorithm.ask()
            if self._waiting is None:  # it finds nothing that is new to it, and has ended
                break
            genomes = self._genomes()
            new = self.unseen(genomes)
            if len(new):
                return new[:n]
            if not self._complete(genomes):
                return self._stack([])
        return sample_uniform(self.sizes, n, self.rng)

    def _genomes(self) -> Genomes:
        """Return the generation under way as canonical genomes, shape (members, genes)."""
        rounded = np.rint(np.atleast_2d(self._waiting.get("X")).astype(float))
        rounded = np.clip(rounded, 0, self.sizes - 1).astype(np.int64)
        return np.asarray(self.problem.canonical(rounded), dtype=np.int64)

    def _complete(self, genomes: Genomes) -> bool:
        """Tell the algorithm of the generation, where all of it is known; say whether it was."""
        keys = self._keys(genomes)
        if any(key not in self._results for key in keys):
            return False
        costs = np.array([self._results[key][0] for key in keys])
        violations = np.array([self._results[key][1] for key in keys])
        self._advance(np.column_stack([costs, violations]))
        return True

    def _advance(self, told: NDArray[np.float64]) -> None:
        self._history.append(told)
        costs, violations = told[:, :-1].copy(), told[:, -1:]
        finite = np.isfinite(costs).all(axis=1)
        worst = costs[finite].max(axis=0) if finite.any() else np.zeros(costs.shape[1])
        costs[~finite] = worst
        if self.limits == "penalty":
            costs = costs + violations
        _evaluate(self._variables, self._waiting, costs, violations)
        self._algorithm.tell(infills=self._waiting)
        self._waiting = None

    def tell(self, observations: Observations) -> None:
        """Learn what became of genomes; one that failed ends its wait as well.

        Raises:
            InvalidGenome: genomes or costs of another shape than the problem's.
        """
        super().tell(observations)
        nothing = np.full(len(self.problem.objectives), np.nan)
        for key in self._keys(self.problem.canonical(observations.genomes)):
            self._results.setdefault(key, (nothing, _FAILED))

    def _tell(self, observations: Observations) -> None:
        rows = zip(
            self._keys(observations.genomes),
            observations.costs,
            observations.violations.tolist(),
            strict=True,
        )
        for key, costs, violation in rows:
            self._results[key] = (costs, violation)

    def state_dict(self) -> dict[str, Any]:
        """Return all state as JSON values and numpy arrays."""
        results = list(self._results.values())
        objectives = len(self.problem.objectives)
        return {
            **super().state_dict(),
            "seed": self._seed,
            "asked": self._waiting is not None,
            "generations": [len(told) for told in self._history],
            "history": np.concatenate([*self._history, np.empty((0, objectives + 1))]),
            "genomes": self._unpack(b"".join(self._results)),
            "costs": np.array([costs for costs, _ in results]).reshape(-1, objectives),
            "violations": np.array([violation for _, violation in results]),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over what `state_dict` gave; the next `ask` is as it would have been there.

        Raises:
            FormatError: the state of a searcher over other genes, or of another algorithm.
        """
        super().load_state_dict(state)
        self._seed = int(state["seed"])
        self._restart()
        ends = np.cumsum(state["generations"], dtype=np.int64)[:-1]
        parts = np.split(np.asarray(state["history"]), ends) if len(state["generations"]) else []
        for told in parts:
            self._waiting = self._algorithm.ask()
            if len(self._genomes()) != len(told):
                raise FormatError(
                    f"the state holds a generation of {len(told)}; this algorithm asks for "
                    f"{len(self._genomes())}"
                )
            self._advance(told)
        if state["asked"]:
            self._waiting = self._algorithm.ask()
        keys = self._keys(np.asarray(state["genomes"], dtype=np.int64))
        costs = np.array(state["costs"], dtype=np.float64)
        violations = np.asarray(state["violations"]).tolist()
        self._results = dict(zip(keys, zip(costs, violations, strict=True), strict=True))


def _evaluate(
    variables: Any, waiting: Any, costs: NDArray[np.float64], violations: NDArray[np.float64]
) -> None:
    """Enter costs, and violations where they are a constraint, into a generation of pymoo's."""
    from pymoo.core.evaluator import Evaluator
    from pymoo.problems.static import StaticProblem

    values = {"F": costs, "G": violations} if variables.has_constraints() else {"F": costs}
    Evaluator().eval(StaticProblem(variables, **values), waiting)


def _algorithm(algorithm: Any, objectives: int, population: int, options: Mapping[str, Any]) -> Any:
    """Make an algorithm from a name or a class; return an object as it is."""
    from pymoo.core.algorithm import Algorithm

    if isinstance(algorithm, str):
        if algorithm not in ALGORITHMS:
            raise UnknownName("algorithm of pymoo", algorithm, ALGORITHMS)
        try:
            module = import_module(f"pymoo.algorithms.{ALGORITHMS[algorithm]}")
        except Exception as error:  # pymoo raises Exception itself where numba is absent
            raise UsageError(
                f"pymoo's {algorithm} cannot be loaded here: {error}. Install what it asks for, or "
                "use another algorithm, such as NSGA2"
            ) from error
        algorithm = getattr(module, algorithm)
    if isinstance(algorithm, Algorithm):
        return algorithm
    if not (inspect.isclass(algorithm) and issubclass(algorithm, Algorithm)):
        raise UsageError(f"{algorithm!r} is no algorithm of pymoo: give a name, class or object")
    taken = {
        name
        for base in inspect.getmro(algorithm)[:-1]
        for name, parameter in inspect.signature(base).parameters.items()
        if parameter.kind is parameter.POSITIONAL_OR_KEYWORD
    }
    for name in options:  # pymoo passes on what it does not know, and ignores it
        if name not in taken:
            raise UnknownName(f"option of pymoo's {algorithm.__name__}", name, taken)
    arguments = {**_defaults(algorithm, objectives, population), **options}
    try:
        return algorithm(**arguments)
    except Exception as error:  # pymoo asserts and raises many kinds
        raise UsageError(
            f"pymoo's {algorithm.__name__} cannot be made with {sorted(arguments)}: {error}. Give "
            "what it needs in options={...}, or the object itself"
        ) from error


def _defaults(algorithm: Any, objectives: int, population: int) -> dict[str, Any]:
    """Return what suits integers, of those arguments that the class itself names."""
    from pymoo.operators.crossover.sbx import SBX
    from pymoo.operators.mutation.pm import PM
    from pymoo.operators.repair.rounding import RoundingRepair
    from pymoo.operators.sampling.rnd import IntegerRandomSampling
    from pymoo.util.ref_dirs import get_reference_directions

    taken = inspect.signature(algorithm.__init__).parameters
    found: dict[str, Any] = {}
    if "sampling" in taken:
        found["sampling"] = IntegerRandomSampling()
    if "crossover" in taken:
        found["crossover"] = SBX(prob=1.0, eta=3.0, vtype=float, repair=RoundingRepair())
    if "mutation" in taken:
        found["mutation"] = PM(prob=1.0, eta=3.0, vtype=float, repair=RoundingRepair())
    if "ref_dirs" in taken:
        partitions = 1
        while _directions(objectives, partitions + 1) <= population and objectives > 1:
            partitions += 1
        found["ref_dirs"] = get_reference_directions(
            "das-dennis", objectives, n_partitions=partitions
        )
    if "pop_size" in taken and "ref_dirs" not in taken:
        found["pop_size"] = population
    return found


def _directions(objectives: int, partitions: int) -> int:
    from math import comb

    return comb(partitions + objectives - 1, partitions)
