import dataclasses
import itertools
import subprocess
import sys

import numpy as np
import pytest

from moga import registry
from moga.contracts import Gene, Observations, Problem, parse_objective
from moga.errors import Exhausted, UnknownName, UsageError
from moga.searchers.mutation import Rates
from moga.searchers.nsga2 import NSGA2

GENES = tuple(Gene(f"g{i}", "all", "ordinal", tuple(range(6))) for i in range(8))


def known(genomes: np.ndarray) -> np.ndarray:
    return np.stack([np.full(len(genomes), np.nan), genomes.sum(axis=1).astype(float)], axis=1)


PROBLEM = Problem(
    GENES, (0,) * 8, (parse_objective("accuracy"), parse_objective("latency")), lambda g: g, known
)


def costs(genomes: np.ndarray) -> np.ndarray:
    """Leading genes give accuracy, every gene costs time."""
    accuracy = (genomes * [8, 4, 2, 1, 0, 0, 0, 0]).sum(axis=1)
    return np.stack([-accuracy, genomes.sum(axis=1)], axis=1).astype(float)


def told(genomes: np.ndarray) -> Observations:
    return Observations.exact(genomes, costs(genomes))


def searcher(seed: int = 0, problem: Problem = PROBLEM, **options) -> NSGA2:
    return NSGA2(problem, np.random.default_rng(seed), **{"population": 20, **options})


def test_survivors_improve_generation_by_generation() -> None:
    search, best = searcher(), []
    for _ in range(15):
        search.tell(told(search.ask(20)))
        front = search.survivors.rank == 0
        best.append((front.sum(), search.survivors.costs[:, 0].min()))
    assert len(search.survivors) == 20
    assert best[-1][0] > best[0][0]
    assert best[-1][1] < best[0][1]
    assert search.survivors.costs[:, 1].min() <= 1


@pytest.mark.parametrize(("offspring", "complete"), [(None, 50), (20, 40), (7, 48), (31, 20)])
def test_generations_end_however_results_are_grouped(offspring: int | None, complete: int) -> None:
    whole, pieces = searcher(offspring=offspring), searcher(offspring=offspring)
    genomes = np.random.default_rng(5).integers(0, 6, size=(50, 8))
    genomes = np.unique(genomes, axis=0)
    assert len(genomes) == 50
    whole.tell(told(genomes))
    for start in range(0, len(genomes), 7):
        pieces.tell(told(genomes[start : start + 7]))
    assert len(whole.survivors) == 20
    assert len(whole.waiting) == len(genomes) - complete
    assert whole.survivors.genomes.tolist() == pieces.survivors.genomes.tolist()
    assert whole.ask(9).tolist() == pieces.ask(9).tolist()


def test_asking_never_waits_before_the_first_result() -> None:
    search = searcher()
    batches = [search.ask(8) for _ in range(6)]
    assert [len(batch) for batch in batches] == [8] * 6
    for batch in batches[::-1]:
        search.tell(told(batch))
    assert len(search.survivors) == 20


def test_first_results_are_bred_before_the_population_is_full() -> None:
    search = searcher(rates={"mutation": 0.0}, crossover=1.0)
    first = search.ask(20)
    parents = first[:4] * 0 + [[5] * 8, [0] * 8, [4] * 8, [1] * 8]
    search.tell(told(parents))
    children = search.ask(6)
    crossed = [row for row in children.tolist() if len(set(row)) == 2]
    assert len(crossed) >= 3  # crossover of constant parents, gene by gene
    assert all(sum(a != b for a, b in itertools.pairwise(row)) > 1 for row in crossed)


def test_failed_and_bounded_results_never_survive() -> None:
    search = searcher(population=4)
    genomes = search.ask(8)
    values = costs(genomes)
    values[:2] = np.nan
    values[2] = -1e9
    observations = dataclasses.replace(
        Observations.exact(genomes, values), bounded=np.arange(8) == 2, fidelity=np.ones(8)
    )
    search.tell(observations)
    kept = {tuple(row) for row in search.survivors.genomes.tolist()}
    assert kept
    assert not kept & {tuple(row) for row in genomes[:3].tolist()}
    assert search.failures == 2
    assert np.isfinite(search.survivors.costs).all()


def test_search_goes_on_where_everything_fails() -> None:
    search = searcher()
    for _ in range(4):
        genomes = search.ask(20)
        assert len(genomes) == 20
        search.tell(Observations.exact(genomes, np.full((20, 2), np.nan)))
    assert search.failures == 80


def test_search_finds_its_way_into_the_limits() -> None:
    search = searcher()
    for _ in range(12):
        genomes = search.ask(20)
        values = costs(genomes)
        violations = np.maximum(values[:, 1] - 8, 0) / 8
        values[violations > 0, 0] = np.nan  # outside the limits nothing is evaluated
        search.tell(dataclasses.replace(Observations.exact(genomes, values), violations=violations))
    assert (search.survivors.violations == 0).all()
    assert search.failures == 0


def test_small_space_is_exhausted_without_a_repeat() -> None:
    small = dataclasses.replace(PROBLEM, genes=GENES[:2], reference=(0, 0))
    search = searcher(problem=small, population=4)
    seen = []
    for _ in range(8):
        genomes = search.ask(5)
        seen += genomes.tolist()
        search.tell(Observations.exact(genomes, genomes.astype(float)))
    assert len(seen) == len({tuple(row) for row in seen}) == 36
    with pytest.raises(Exhausted, match="after 36 genomes"):
        search.ask(5)


def test_one_gene_cannot_cross_but_is_searched() -> None:
    single = dataclasses.replace(PROBLEM, genes=GENES[:1], reference=(0,))
    search = searcher(problem=single, population=4)
    first = search.ask(4)
    search.tell(Observations.exact(first, np.repeat(first, 2, axis=1).astype(float)))
    assert len(search.ask(2)) == 2


@pytest.mark.parametrize("asked", [1, 3, 12])
def test_state_continues_where_it_was(asked: int) -> None:
    first, second = searcher(), searcher(7)
    waiting = [first.ask(6) for _ in range(asked)]
    for batch in waiting[: asked - 1]:
        first.tell(told(batch))
    second.load_state_dict(first.state_dict())
    for search in (first, second):
        search.tell(told(waiting[-1]))
    for _ in range(6):
        a, b = first.ask(9), second.ask(9)
        assert a.tolist() == b.tolist()
        first.tell(told(a))
        second.tell(told(b))


def test_same_seed_same_search() -> None:
    runs = []
    for _ in range(2):
        search = searcher(3)
        for _ in range(5):
            asked = search.ask(20)
            search.tell(told(asked))
        runs.append(asked.tolist())
    assert runs[0] == runs[1]


def test_registry_builds_it_from_text() -> None:
    rng = np.random.default_rng(0)
    built = registry.create("searcher", "nsga2(population=12)", problem=PROBLEM, rng=rng, seed=1)
    assert isinstance(built, NSGA2)
    assert built.population == 12
    shares = "nsga2(rates={'random': 1, 'reinforced': 0, 'prior': 0}, start=uniform)"
    built = registry.create("searcher", shares, problem=PROBLEM, rng=rng)
    assert built.mutation.rates == Rates(random=1, reinforced=0, prior=0)
    assert built.population == 70


def test_impossible_options_are_refused() -> None:
    with pytest.raises(UsageError, match="population is 3; give an integer of 4 or more"):
        searcher(population=3)
    with pytest.raises(UsageError, match="offspring is 0; give an integer of 1 or more"):
        searcher(offspring=0)
    with pytest.raises(UsageError, match=r"crossover is 1\.1; give a number from 0 to 1"):
        searcher(crossover=1.1)
    for step in (-1, float("nan"), "abc"):
        with pytest.raises(UsageError, match=rf"step is {step!r}; give a number of 0 or more"):
            searcher(step=step)
    with pytest.raises(UsageError, match=r"rates are 0\.4; give a mapping of mutation, random"):
        searcher(rates=0.4)
    with pytest.raises(UnknownName, match=r"unknown rate 'mutations'. Did you mean 'mutation'"):
        searcher(rates={"mutations": 0.4})
    with pytest.raises(UsageError, match="start is 'lhs'; give 'sobol' or 'uniform'"):
        searcher(start="lhs")
    with pytest.raises(UsageError, match="mode is 'fast'; give 'generational' or 'steady'"):
        searcher(mode="fast")


def test_importing_it_does_not_load_pymoo() -> None:
    code = "import sys, moga.searchers; sys.exit('pymoo' in sys.modules or 'torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_steady_state_takes_up_every_result_at_once() -> None:
    search = searcher(mode="steady")
    first = search.ask(20)
    search.tell(told(first))
    perfect = np.array([[5, 5, 5, 5, 0, 0, 0, 0]])
    search.tell(told(perfect))
    assert len(search.survivors) == 20
    assert perfect[0].tolist() in search.survivors.genomes.tolist()
    waiting = searcher()
    waiting.tell(told(first))
    waiting.tell(told(perfect))
    assert perfect[0].tolist() not in waiting.survivors.genomes.tolist()


def test_warm_start_asks_given_genomes_first() -> None:
    given = [[5] * 8, [0] * 8]
    text = f"nsga2(population=6, start={given})"
    built = registry.create("searcher", text, problem=PROBLEM, rng=np.random.default_rng(0))
    asked = built.ask(6)
    assert asked[:2].tolist() == given
    assert len(np.unique(asked, axis=0)) == 6


def test_survivors_are_those_of_pymoo() -> None:
    """Sets are equal where no tie is left to chance; pymoo normalises within the front: so one."""
    from pymoo.core.population import Population
    from pymoo.operators.survival.rank_and_crowding import RankAndCrowding

    class Free:
        def has_constraints(self):
            return False

    from moga.searchers.crowding import survive

    for seed in range(20):
        rng = np.random.default_rng(seed)
        values = rng.random((60, 2))
        sizes = np.bincount(survive(values, np.zeros(60), np.ones(2), 60, rng)[1])
        whole = int(np.cumsum(sizes)[3])  # whole fronts: nothing depends on crowding
        ours, *_ = survive(values, np.zeros(60), np.ones(2), whole, rng)
        theirs = RankAndCrowding().do(
            Free(), Population.new(F=values), n_survive=whole, random_state=rng, return_indices=True
        )
        assert set(ours.tolist()) == {int(row) for row in theirs}
