"""The tasks of `search_quality.py`: tables with known fronts, and the regret on them.

NAS-Bench-201's accuracies after 12 epochs against measured latencies, with two objectives
(accuracy, latency) and three (params too); FBNet's space, whose times on a phone are evaluated
against multiply-adds; and a chain of 20 genes. The fronts of the last two are computed exactly.
"""

import dataclasses
from collections.abc import Callable, Sequence
from functools import cached_property, lru_cache

import numpy as np
from numpy.typing import NDArray

from moga.contracts import Gene, Genomes, Problem, parse_objective
from moga.devices.catalog.fbnet import RESOLUTION, fbnet_table
from moga.pareto import hypervolume
from moga.spaces.cost import count_table
from moga.spaces.fbnet import OPERATIONS, FBNetSpace
from moga.spaces.nasbench201 import NASBench201, load_table

TUNED = (
    ("imagenet16", "2080ti_256"),
    ("cifar100", "gold_6226"),
    ("imagenet16", "fpga"),
    ("cifar10", "pixel3"),
    ("cifar10", "titanx_32"),
    ("cifar100", "raspi4"),
)
"""Pairs of data set and device that the searchers of moga were developed on."""

HELD_BACK = (("cifar100", "eyeriss"), ("imagenet16", "samsung_a50"))
"""Pairs that nothing was tuned to."""

THREE = (TUNED[1], TUNED[3], *HELD_BACK)
"""Pairs that have params as a third objective in another task."""


@dataclasses.dataclass(frozen=True)
class Task:
    """Costs of genomes, the first objective to be evaluated and the others known beforehand.

    Args:
        name: unique.
        genes: the decisions.
        metrics: the objectives as texts; the first is evaluated.
        costs: (n, genes) -> (n, objectives).
        front: all costs of the true front, shape (points, objectives).
        reference: accuracy 0 and the largest of each other cost.
        held_back: nothing was tuned to it.
        canonical: (n, genes) -> (n, genes), the same genome for the same network.
    """

    name: str
    genes: tuple[Gene, ...]
    metrics: tuple[str, ...]
    costs: Callable[[Genomes], NDArray[np.float64]]
    front: NDArray[np.float64]
    reference: NDArray[np.float64]
    held_back: bool = False
    canonical: Callable[[Genomes], Genomes] = np.asarray

    def problem(self, *, known: bool) -> Problem:
        """Return what a searcher may know; `known`: with the costs that tables give."""

        def known_costs(genomes: Genomes) -> NDArray[np.float64]:
            values = self.costs(genomes).copy()
            values[:, 0 if known else slice(None)] = np.nan
            return values

        return Problem(
            self.genes,
            tuple(len(gene) // 2 for gene in self.genes),
            tuple(parse_objective(metric) for metric in self.metrics),
            self.canonical,
            known_costs,
        )

    @cached_property
    def volume(self) -> float:
        """The hypervolume of the true front."""
        return hypervolume(self.front, self.reference)

    def regret(self, costs: NDArray[np.float64]) -> float:
        """Return 1 - hypervolume / true hypervolume of what was evaluated."""
        return 1 - hypervolume(costs, self.reference) / self.volume


def nasbench201(data: str, device: str, objectives: int, *, held_back: bool = False) -> Task:
    """Return NAS-Bench-201's validation accuracy after 12 epochs against latency (and params)."""
    table, space = load_table(), NASBench201(data)
    columns = [-space.accuracy("valid"), space.latency_ms(device), table[f"{data}_params"] / 1e6]
    everything = np.stack(columns[:objectives], axis=1)
    weights = 5 ** np.arange(len(space.genes))[::-1]
    return Task(
        f"{data}/{device}/{objectives}",
        space.genes,
        ("accuracy", "latency", "params")[:objectives],
        lambda genomes: everything[genomes @ weights],
        everything,
        np.array([0.0, *everything[:, 1:].max(axis=0)]),
        held_back,
    )


@lru_cache(maxsize=1)
def chain(genes: int = 20, values: int = 6) -> Task:
    """Return a task of 6**20 genomes whose front is known: neighbours in a chain act together.

    Accuracy is 90 (1 - exp(-u)), where u sums a term a gene and a term a pair of neighbours; the
    latency sums a whole number of ms a gene, which grows with its value as the gain does on the
    average. The best u of each latency follows by dynamic programming along the chain.
    """
    rng = np.random.default_rng(201)
    latency = np.sort(rng.integers(0, 30, (genes, values)), axis=1) + 1
    gain = np.sqrt(latency / 30) * rng.uniform(0.2, 1, (genes, 1)) * 2.4 / genes
    gain += rng.normal(0, 0.25 / genes, gain.shape)
    pair = rng.normal(0, 0.35 / genes, (genes - 1, values, values))

    def accuracy(u: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.asarray(90 * (1 - np.exp(-np.maximum(u + 0.2, 0))))

    def costs(genomes: Genomes) -> NDArray[np.float64]:
        places = np.arange(genes)
        u = gain[places, genomes].sum(axis=1)
        u += pair[places[:-1], genomes[:, :-1], genomes[:, 1:]].sum(axis=1)
        return np.stack([-accuracy(u), latency[places, genomes].sum(axis=1)], axis=1)

    first = [(0, value, latency[0, value], gain[0, value]) for value in range(values)]
    following = [
        [
            (before, after, latency[place, after], gain[place, after] + acting[before, after])
            for before in range(values)
            for after in range(values)
        ]
        for place, acting in enumerate(pair, start=1)
    ]
    spent, reached = best_sums([first, *following], values)
    return Task(
        "chain/2",
        tuple(Gene(f"g{i}", f"g{i}", "ordinal", tuple(range(values))) for i in range(genes)),
        ("accuracy", "latency"),
        costs,
        np.stack([-accuracy(reached), spent], axis=1),
        np.array([0.0, float(latency.max(axis=1).sum())]),
    )


@lru_cache(maxsize=1)
def fbnet(device: str = "pixel2") -> Task:
    """Return FBNet's space with its measured table: a phone's time against multiply-adds.

    The data have times, but no accuracies. So the time is what an evaluation tells, and the known
    objective is to compute much, as MoGA asks for many parameters. Times are the table's in
    hundredths of a millisecond, for sums of whole numbers have a front that is known exactly.
    """
    space = FBNetSpace(RESOLUTION, 100)
    skip, genes = OPERATIONS.index("skip"), len(space.genes)
    tables = (fbnet_table(device, space), count_table(space, "macs"))
    ms, macs = (
        np.array([t.arrays[n] for n, slot in enumerate(space.slots) if slot.genes]) for t in tables
    )
    time = np.maximum(np.rint(100 * ms).astype(np.int64), 0)
    # where the canonical form moves a skip behind its neighbour, only skips follow a skip
    lone = np.where(np.eye(genes, dtype=bool), skip, 0)
    moved = (space.canonical(lone) != lone).any(axis=1)
    steps = [
        [
            (skipped, int(value == skip and moved[place]), time[place, value], macs[place, value])
            for skipped in (0, 1)
            for value in range(len(OPERATIONS))
            if value == skip or not skipped
        ]
        for place in range(genes)
    ]

    def costs(genomes: Genomes) -> NDArray[np.float64]:
        genomes, places = space.canonical(genomes), np.arange(genes)
        sums = time[places, genomes].sum(axis=1) / 100, -macs[places, genomes].sum(axis=1) / 1e6
        return np.stack(sums, axis=1)

    spent, reached = best_sums(steps, 2)
    front = np.stack([spent / 100, -reached / 1e6], axis=1)
    worst = np.array([time.max(axis=1).sum() / 100, -macs.min(axis=1).sum() / 1e6])
    return Task(
        f"fbnet/{device}/2",
        space.genes,
        ("latency", "macs:max"),
        costs,
        front,
        worst,
        canonical=space.canonical,
    )


Step = tuple[int, int, int, float]
"""State before, state after, cost, gain: one value of one gene."""


def best_sums(
    steps: Sequence[Sequence[Step]], states: int
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return the costs that sums can reach, and the largest gain at each: dynamic programming.

    Args:
        steps: what can be done at each gene, one after another from state 0.
        states: how many there are.
    """
    best = np.full((sum(int(max(step[2] for step in each)) for each in steps) + 1, states), -np.inf)
    best[0, 0] = 0.0
    for each in steps:
        following = np.full_like(best, -np.inf)
        for before, after, cost, gain in each:
            reached = best[: len(best) - cost, before] + gain
            following[cost:, after] = np.maximum(following[cost:, after], reached)
        best = following
    gains = best.max(axis=1)
    costs = np.flatnonzero(np.isfinite(gains))
    return costs, gains[costs]


def all_tasks(*, quick: bool) -> list[Task]:
    """Return the tasks, two of them where it must be quick."""
    if quick:
        return [nasbench201(*TUNED[0], 2), nasbench201(*HELD_BACK[0], 3, held_back=True)]
    tasks = [
        nasbench201(*pair, objectives, held_back=pair in HELD_BACK)
        for pair in TUNED + HELD_BACK
        for objectives in ((2, 3) if pair in THREE else (2,))
    ]
    return [*tasks, fbnet(), chain()]
