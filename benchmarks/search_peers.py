"""What people use today, each at its defaults and population 20, for `search_quality.py`.

Each is a function of task, seed and a number of unique evaluations, and returns their costs.
Repeats are answered from memory and not counted.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from search_tasks import Task

POPULATION = 20
PROPOSALS = 6
"""A peer that repeats itself gives up after this many proposals a unique evaluation."""


class Counter:
    """Evaluates, remembers, and counts what is new."""

    def __init__(self, task: Task, evaluations: int) -> None:
        self.task, self.evaluations = task, evaluations
        self.known: dict[bytes, NDArray[np.float64]] = {}
        self.proposals = 0

    def __call__(self, genomes: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return the costs of (n, genes) genomes."""
        self.proposals += len(genomes)
        values = self.task.costs(genomes)
        for genome, value in zip(genomes, values, strict=True):
            self.known.setdefault(genome.tobytes(), value)
        return values

    @property
    def busy(self) -> bool:
        """Whether more must be evaluated."""
        few = len(self.known) < self.evaluations
        return few and self.proposals < PROPOSALS * self.evaluations

    @property
    def costs(self) -> NDArray[np.float64]:
        """Costs of the unique evaluations in order."""
        return np.array(list(self.known.values()))[: self.evaluations]


def random(task: Task, seed: int, evaluations: int) -> NDArray[np.float64]:
    """Draw uniformly without repeats."""
    counter, rng = Counter(task, evaluations), np.random.default_rng(seed)
    sizes = [len(gene) for gene in task.genes]
    while counter.busy:
        counter(rng.integers(0, sizes, (1, len(sizes))))
    return counter.costs


def pymoo(task: Task, seed: int, evaluations: int) -> NDArray[np.float64]:
    """Run pymoo's NSGA-II with the operators that its guide names for whole numbers."""
    return _pymoo(task, seed, evaluations, known=False)


def pymoo_known(task: Task, seed: int, evaluations: int) -> NDArray[np.float64]:
    """Run the same, but select each generation among four times as many by their known costs.

    A child's accuracy is taken to be that of the nearest genome evaluated so far.
    """
    return _pymoo(task, seed, evaluations, known=True)


def _pymoo(task: Task, seed: int, evaluations: int, *, known: bool) -> NDArray[np.float64]:
    from pymoo.algorithms.moo.nsga2 import NSGA2, RankAndCrowdingSurvival
    from pymoo.core.population import Population
    from pymoo.core.problem import Problem
    from pymoo.operators.crossover.sbx import SBX
    from pymoo.operators.mutation.pm import PM
    from pymoo.operators.repair.rounding import RoundingRepair
    from pymoo.operators.sampling.rnd import IntegerRandomSampling

    counter = Counter(task, evaluations)
    upper = np.array([len(gene) - 1 for gene in task.genes])
    problem = Problem(
        n_var=len(upper), n_obj=len(task.metrics), xl=np.zeros_like(upper), xu=upper, vtype=int
    )
    algorithm = NSGA2(
        pop_size=POPULATION,
        n_offsprings=POPULATION * (4 if known else 1),
        sampling=IntegerRandomSampling(),
        crossover=SBX(prob=1.0, eta=3.0, vtype=float, repair=RoundingRepair()),
        mutation=PM(prob=1.0, eta=3.0, vtype=float, repair=RoundingRepair()),
    )
    algorithm.setup(problem, termination=("n_gen", 10**9), seed=seed)
    while counter.busy:
        asked = algorithm.ask()
        genomes = asked.get("X").astype(np.int64)
        if known and len(genomes) > POPULATION:
            guess = _nearest(counter, genomes)
            pool = Population.new(X=genomes, F=guess)
            survivors = RankAndCrowdingSurvival().do(
                problem, pool, n_survive=POPULATION, random_state=algorithm.random_state
            )
            asked = Population.new(X=survivors.get("X"))
            genomes = asked.get("X").astype(np.int64)
        costs = counter(genomes)
        asked.set("F", costs)
        asked.apply(lambda individual: individual.evaluated.update({"F", "G", "H"}))
        algorithm.tell(infills=asked)
    return counter.costs


def _nearest(counter: Counter, genomes: NDArray[np.int64]) -> NDArray[np.float64]:
    stored = np.frombuffer(b"".join(counter.known), dtype=np.int64).reshape(-1, genomes.shape[1])
    accuracy = np.array(list(counter.known.values()))[:, 0]
    nearest = (genomes[:, None] != stored).sum(axis=2).argmin(axis=1)
    guess = counter.task.costs(genomes).copy()
    guess[:, 0] = accuracy[nearest]
    return guess


def optuna_nsga2(task: Task, seed: int, evaluations: int) -> NDArray[np.float64]:
    """Run Optuna's NSGA-II."""
    from optuna.samplers import NSGAIISampler

    return _optuna(task, NSGAIISampler(population_size=POPULATION, seed=seed), evaluations)


def optuna_tpe(task: Task, seed: int, evaluations: int) -> NDArray[np.float64]:
    """Run Optuna's tree of Parzen estimators: its proposals, found faster."""
    from search_tpe import OnceATrial

    return _optuna(task, OnceATrial(seed=seed), evaluations)


def _optuna(task: Task, sampler: Any, evaluations: int) -> NDArray[np.float64]:
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    counter = Counter(task, evaluations)
    study = optuna.create_study(directions=["minimize"] * len(task.metrics), sampler=sampler)
    while counter.busy:
        trial = study.ask()
        genome = [
            trial.suggest_categorical(gene.name, range(len(gene)))
            if gene.kind == "categorical"
            else trial.suggest_int(gene.name, 0, len(gene) - 1)
            for gene in task.genes
        ]
        study.tell(trial, counter(np.array([genome], dtype=np.int64))[0].tolist())
    return counter.costs


PEERS: dict[str, Callable[[Task, int, int], NDArray[np.float64]]] = {
    "random": random,
    "pymoo NSGA-II": pymoo,
    "pymoo NSGA-II, latency known": pymoo_known,
    "Optuna NSGA-II": optuna_nsga2,
    "Optuna TPE": optuna_tpe,
}
