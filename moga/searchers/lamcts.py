"""LA-MCTS: Bayesian optimisation inside regions that a tree learns to be good.

    split: two clusters of the samples, good and bad, and a border between them; again in each
    -> select: from the root, the child of the larger upper confidence bound, down to a leaf
    -> sample: the candidate inside that region of most (log) expected improvement
    -> backpropagate: the samples and rewards of the regions on the path

Wang, Fonseca, Tian 2020, "Learning Search Space Partition for Black-box Optimization using Monte
Carlo Tree Search" (NeurIPS, arXiv 2007.00708), sections 3.1 and 3.2, written from the paper; with
Bayesian optimisation inside a latency stratum as in GPUNet (Wang et al. 2022, section 3.3).

Where it differs from the papers: rewards are ranks from 0 to 1, so that the exploration constant
has no unit; with several objectives a sample's reward falls with the number of samples that
dominate it (the dominance number, as in LaMOO, Zhao et al. 2022) and the improvement is that of the
hypervolume, where known costs are exact. The tree (`moga.searchers.regions`) is learned anew at
each ask, from at most `cap` samples. A batch believes in the mean of what it has chosen so far. The
process takes in every result, but its parameters are fitted anew, from the last ones on, only when
there is a tenth more of them.

The only door to BoTorch. It is loaded at the first ask that needs a model; its own log expected
improvement compiles a kernel for many seconds at its first call, so that function stands here.
"""

import dataclasses
import warnings
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy.special import erfcx

from moga.contracts import Costs, Gene, Genomes, Observations, Problem
from moga.errors import UsageError
from moga.pareto.dominance import nondominated, nondominated_ranks
from moga.searchers.arguments import check_integer, check_number
from moga.searchers.base import BaseSearcher, Opening
from moga.searchers.improvement import MOST_OBJECTIVES, expected_volume
from moga.searchers.regions import LEAST, Region, backpropagate, inside, select
from moga.spaces.base import mutate, sample_sobol, sample_uniform

__all__ = ["LAMCTS", "log_expected_improvement"]

_CANDIDATES: Final = 400
_DRAWS: Final = 4
"""How often candidates are drawn for a region before its parent's takes its place."""

_STEPS: Final = 20
"""Steps of L-BFGS a fit of the process."""

_GROWTH: Final = 1.1
"""Parameters of the process are fitted anew when there are so many times more results."""

_STRATUM_DRAWS: Final = 1 << 18
"""How many genomes are drawn at most to fill the pool of a stratum."""


class LAMCTS(BaseSearcher):
    """A tree of regions by UCB, and a BoTorch Gaussian process with log EI inside the chosen one.

    What an ask costs is bounded: tree and process learn from at most `cap` samples, half of them
    the best, half the latest.

    Args:
        problem: what is searched.
        rng: consumed.
        initial: how many genomes are asked before anything is modelled; default: two a gene, at
            most 20.
        start: "sobol", "uniform", or a list of genomes; with a stratum, its pool fills up.
        leaf: a region of fewer samples is not split (the paper's theta).
        exploration: the constant of the bound (the paper's C_p), for rewards from 0 to 1.
        cap: most samples that are learned from.
        metric: the objective that cuts the stratum, known beforehand, such as "latency"; "": none.
        lower: the stratum begins here, in the metric's unit; without, with the smallest value.
        upper: it ends before this; without, with the largest value. With a stratum, the one
            objective that is not known counts, and nothing outside is proposed until its pool and
            the pool's mutants are used up.
        pool: genomes of the stratum that are drawn by Sobol's sequence at the start.

    Raises:
        UsageError: numbers that make no search, a metric that is no known objective, no genome in
            the stratum, more than three objectives (with a stratum: than one that is not known).
        InvalidGenome: genomes in `start` that are out of range.
    """

    def __init__(
        self,
        problem: Problem,
        rng: np.random.Generator,
        *,
        initial: int | None = None,
        start: str | Sequence[Sequence[int]] | Genomes = "sobol",
        leaf: int = 20,
        exploration: float = 0.1,
        cap: int = 150,
        metric: str = "",
        lower: float = -np.inf,
        upper: float = np.inf,
        pool: int = 2000,
    ) -> None:
        initial = min(2 * len(problem.genes), 20) if initial is None else initial
        check_integer("initial", initial)
        check_integer("leaf", leaf, 2 * LEAST)
        check_integer("cap", cap, 10)
        check_integer("pool", pool)
        check_number("exploration", exploration, 0)
        super().__init__(problem, rng)
        self.leaf, self.exploration, self.cap = leaf, exploration, cap
        self.opening = Opening.of(problem, start, initial, rng)
        known = problem.known(self.opening.genomes)
        self.known = np.asarray(~np.isnan(known).any(axis=0))
        self.stratum = _Stratum.of(problem, self.known, metric, lower, upper)
        self.columns = np.arange(len(problem.objectives))
        self.pool = self._stack([])
        if self.stratum is not None:
            self.columns = np.flatnonzero(~self.known)
            self.pool = self._drawn(self.stratum, pool)
            given = self.opening.genomes[: self.opening.given]
            filling = self.pool[: max(initial - len(given), 0)]
            self.opening = Opening(np.concatenate([given, filling]), len(given))
        if len(self.columns) > (1 if self.stratum else MOST_OBJECTIVES) or not len(self.columns):
            allowed = "one objective that is not known" if self.stratum else "1 to 3 objectives"
            raise UsageError(f"lamcts works on {allowed}; here it has {len(self.columns)}")
        self.genomes = self._stack([])
        self.costs = np.empty((0, len(problem.objectives)))
        self.feasible = np.empty(0, dtype=bool)
        self.fitted = 0
        self.parameters: dict[int, NDArray[np.float64]] = {}

    def _ask(self, n: int, attempt: int) -> Genomes:
        if len(first := self.opening.take(n, self.foreign)):
            return first
        if len(self.costs) < LEAST or attempt:
            return self._anything(n)
        rows = self._kept()
        rewards = self._rewards(rows)
        tree = self._split(rows, rewards)
        belief = self._belief(rows)
        chosen: list[NDArray[np.int64]] = []
        for _ in range(n):
            path = select(tree, self.exploration)
            if (genome := self._sampled(path, belief, chosen)) is None:
                break
            chosen.append(genome)
            backpropagate(path, belief.reward(self._proxy(rows), rewards))
        return self._stack(chosen) if chosen else self._anything(n)

    def _anything(self, n: int) -> Genomes:
        """Return unseen genomes; where there are none, seen ones: the base then looks further."""
        drawn = self._candidates(self._stack([]))[:n]
        return drawn if len(drawn) else sample_uniform(self.sizes, n, self.rng)

    def _tell(self, observations: Observations) -> None:
        whole = ~observations.failed
        self.genomes = np.concatenate([self.genomes, observations.genomes[whole]])
        self.costs = np.concatenate([self.costs, observations.costs[whole]])
        feasible = observations.violations[whole] == 0
        if self.stratum is not None:
            feasible &= self.stratum.holds(observations.costs[whole])
        self.feasible = np.concatenate([self.feasible, feasible])

    def _kept(self) -> NDArray[np.int64]:
        """Return the rows to learn from: the best half, then the latest."""
        n = len(self.costs)
        if n <= self.cap:
            return np.arange(n)
        ranks = nondominated_ranks(self.costs[:, self.columns]) + n * ~self.feasible
        best = np.argsort(ranks, kind="stable")[: self.cap // 2]
        return np.sort(
            np.array(
                list(dict.fromkeys([*best, *range(n - 1, -1, -1)]))[: self.cap], dtype=np.int64
            )
        )

    def _proxy(self, rows: NDArray[np.int64]) -> Costs:
        return self.costs[rows][:, self.columns]

    def _rewards(self, rows: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return rewards from 0 to 1: few dominate it, and it keeps the limits."""
        numbers = dominance_numbers(self._proxy(rows)).astype(float)
        numbers[~self.feasible[rows]] = len(rows)
        return np.asarray(1 - numbers / max(len(rows), 1))

    def _split(self, rows: NDArray[np.int64], rewards: NDArray[np.float64]) -> "Region":
        features = _features(self.problem.genes, self.genomes[rows])
        return Region.learned(features, rewards, self.leaf, self.rng)

    def _belief(self, rows: NDArray[np.int64]) -> "_Belief":
        usable = self.feasible[rows] if self.feasible[rows].any() else np.ones(len(rows), bool)
        costs = self._proxy(rows)
        if grown := len(self.costs) >= _GROWTH * self.fitted:
            self.fitted = len(self.costs)
        models = {}
        for place, column in enumerate(self.columns):
            if not self.known[column]:
                last = self.parameters.get(place)
                model = _Model(self.problem.genes, self.genomes[rows], costs[:, place], last, grown)
                models[place] = model
                self.parameters[place] = model.parameters
        return _Belief(models, costs[usable], self.costs[:, self.columns].max(axis=0))

    def _sampled(
        self, path: list[Region], belief: "_Belief", chosen: list[NDArray[np.int64]]
    ) -> NDArray[np.int64] | None:
        """Return the best candidate in the last region of a path, or in one that holds it."""
        taken = set(self._keys(self._stack(chosen)))
        for depth in range(len(path), 0, -1):
            members = self.genomes[self._kept()][path[depth - 1].rows]
            for _ in range(_DRAWS if depth > 1 else 1):
                drawn = self._candidates(members)
                new = [key not in taken for key in self._keys(drawn)]
                here = inside(path[:depth], _features(self.problem.genes, drawn))
                drawn = drawn[here & np.array(new, dtype=bool)][:_CANDIDATES]
                if len(drawn):
                    known = self.problem.known(drawn)[:, self.columns]
                    return np.asarray(drawn[belief.choose(drawn, known)])
        return None

    def _candidates(self, members: Genomes) -> Genomes:
        """Draw unseen genomes: mutants of a region's members, and some from everywhere."""
        far = self.pool[self.rng.permutation(len(self.pool))[: 2 * _CANDIDATES]]
        if self.stratum is None:
            far = sample_uniform(self.sizes, 2 * _CANDIDATES, self.rng)
        base = members if len(members) else far
        near = base[self.rng.integers(len(base), size=_CANDIDATES)]
        near = mutate(near, self.sizes, self.rng)
        genomes = np.unique(self.problem.canonical(np.concatenate([far, near])), axis=0)
        new = np.array([key not in self._seen for key in self._keys(genomes)], dtype=bool)
        if self.stratum is not None:
            new &= self.stratum.holds(self.problem.known(genomes))
        genomes = genomes[new]
        return np.asarray(genomes[self.rng.permutation(len(genomes))])

    def _drawn(self, stratum: "_Stratum", pool: int) -> Genomes:
        """Return genomes of the stratum, from a Sobol sequence, at most `pool`."""
        drawn = sample_sobol(self.sizes, _STRATUM_DRAWS, self.rng)
        found = drawn[stratum.holds(self.problem.known(drawn))][:pool]
        if not len(found):
            raise UsageError(
                f"no genome of {_STRATUM_DRAWS} drawn lies in the stratum {stratum}; give "
                "another lower or upper"
            )
        return np.asarray(found, dtype=np.int64)

    def state_dict(self) -> dict[str, Any]:
        """Return all state as JSON values and numpy arrays."""
        return {
            **super().state_dict(),
            "opening": self.opening.state_dict(),
            "pool": self.pool,
            "genomes": self.genomes,
            "costs": self.costs,
            "feasible": self.feasible,
            "fitted": self.fitted,
            "places": list(self.parameters),
            "parameters": [list(values) for values in self.parameters.values()],
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over what `state_dict` gave; the next `ask` is as it would have been there.

        Raises:
            FormatError: the state of a searcher over other genes.
        """
        super().load_state_dict(state)
        self.opening.load_state_dict(state["opening"])
        for name in ("pool", "genomes"):
            setattr(self, name, np.array(state[name], dtype=np.int64).reshape(-1, len(self.sizes)))
        shape = (-1, len(self.problem.objectives))
        self.costs = np.array(state["costs"], dtype=np.float64).reshape(shape)
        self.feasible = np.array(state["feasible"], dtype=bool)
        self.fitted = int(state["fitted"])
        pairs = zip(state["places"], state["parameters"], strict=True)
        self.parameters = {int(place): np.array(values) for place, values in pairs}


def dominance_numbers(costs: Costs) -> NDArray[np.int64]:
    """Return by how many others each row is dominated, shape (n,)."""
    below = (costs[:, None] <= costs[None]).all(axis=2) & (costs[:, None] < costs[None]).any(axis=2)
    return np.asarray(below.sum(axis=0))


def _features(genes: Sequence[Gene], genomes: Genomes) -> NDArray[np.float64]:
    """Return genomes as columns: one a value of a categorical gene, one from 0 to 1 otherwise."""
    parts = []
    for column, gene in enumerate(genes):
        if gene.kind == "categorical":
            parts.append(np.eye(len(gene))[genomes[:, column]] / np.sqrt(2))
        else:
            parts.append(genomes[:, column, None] / max(len(gene) - 1, 1))
    return np.concatenate(parts, axis=1)


def log_expected_improvement(
    best: float, mean: NDArray[np.float64], deviation: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return log E[max(best - f, 0)] of normal f, finite however small (Ament et al. 2023, 3)."""
    z = (best - mean) / deviation
    density = -0.5 * z * z - 0.5 * np.log(2 * np.pi)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        near = np.log(1 + z * np.sqrt(np.pi / 2) * erfcx(-z / np.sqrt(2)))
    far = -2 * np.log(np.maximum(np.abs(z), 1.0))
    # 1 - |z| sqrt(pi/2) erfcx(|z| / sqrt 2) loses its digits beyond; 1 / z^2 is its limit. For
    # large positive z, erfcx overflows where the improvement is the gap itself
    log_h = np.where(z < -200, density + far, density + near)
    return np.asarray(np.where(z > 25, np.log(np.maximum(z, 1)), log_h) + np.log(deviation))


@dataclasses.dataclass(frozen=True)
class _Stratum:
    """A half-open range of one known objective."""

    column: int
    sign: int
    lower: float
    upper: float

    @classmethod
    def of(
        cls, problem: Problem, known: NDArray[np.bool_], metric: str, lower: float, upper: float
    ) -> "_Stratum | None":
        if not metric:
            if (lower, upper) != (-np.inf, np.inf):
                raise UsageError("lower and upper cut a stratum; say of which metric")
            return None
        names = [objective.name for objective in problem.objectives]
        if metric not in names or not known[names.index(metric)]:
            can = ", ".join(name for name, k in zip(names, known, strict=True) if k) or "none"
            raise UsageError(f"metric is {metric!r}; objectives that are known beforehand: {can}")
        numbers = isinstance(lower, int | float) and isinstance(upper, int | float)
        if not numbers or not lower < upper:
            raise UsageError(f"nothing lies from {lower!r} to {upper!r}; give numbers that rise")
        column = names.index(metric)
        return cls(column, problem.objectives[column].sign, lower, upper)

    def holds(self, costs: Costs) -> NDArray[np.bool_]:
        values = self.sign * costs[:, self.column]
        return np.asarray((values >= self.lower) & (values < self.upper))

    def __str__(self) -> str:
        return f"[{self.lower}, {self.upper})"


class _Belief:
    """Processes on the unknown costs, and the results so far with what is believed of the batch.

    Args:
        models: column -> its process.
        costs: shape (n, objectives).
        worst: shape (objectives,): the reference point.
    """

    def __init__(
        self, models: "dict[int, _Model]", costs: Costs, worst: NDArray[np.float64]
    ) -> None:
        self.models, self.costs = models, costs
        margin = 0.01 * (worst - costs.min(axis=0))
        self.reference = worst + margin
        self.last = costs[0]

    def choose(self, genomes: Genomes, known: Costs) -> int:
        """Return the row of most expected improvement, and believe in its mean."""
        mean, deviation = np.array(known), np.zeros(known.shape)
        for column, model in self.models.items():
            mean[:, column], deviation[:, column] = model.predict(genomes)
        if mean.shape[1] == 1 and self.models:
            best = float(self.costs.min())
            value = log_expected_improvement(best, mean[:, 0], deviation[:, 0])
        else:
            front = self.costs[nondominated(self.costs)]
            value = expected_volume(mean, deviation, front, self.reference)
        row = int(np.argmax(value))
        for column, model in self.models.items():
            model.believe(genomes[row], float(mean[row, column]))
        self.last = mean[row]
        self.costs = np.concatenate([self.costs, mean[row : row + 1]])
        return row

    def reward(self, costs: Costs, rewards: NDArray[np.float64]) -> float:
        """Return the reward of the last choice: as of a sample with its mean."""
        dominating = (costs <= self.last).all(axis=1) & (costs < self.last).any(axis=1)
        return float(1 - dominating.sum() / max(len(rewards), 1))


class _Model:
    """BoTorch's process for integers and categories, fitted by at most 20 steps.

    Categories correlate by Hamming distance, integers (as shares of their range) by Matern 5/2;
    both together by BoTorch's sum and product of the two (Ru et al. 2020).

    Args:
        genes: n of them.
        genomes: samples, shape (n, genes).
        costs: theirs, shape (n,).
        start: parameters to begin with; None: BoTorch's.
        fitted: whether they are fitted, or taken as they are.

    Attributes:
        parameters: what came of it.
    """

    def __init__(
        self,
        genes: Sequence[Gene],
        genomes: Genomes,
        costs: NDArray[np.float64],
        start: NDArray[np.float64] | None,
        fitted: bool,
    ) -> None:
        with warnings.catch_warnings():
            # torch.jit.script is deprecated where linear_operator uses it at import; and BoTorch
            # warns of unscaled categories and of fits that end at their last step
            warnings.simplefilter("ignore")
            import torch
            from botorch.models.gp_regression import SingleTaskGP
            from botorch.models.gp_regression_mixed import MixedSingleTaskGP
            from botorch.optim.fit import fit_gpytorch_mll_scipy
            from gpytorch.mlls import ExactMarginalLogLikelihood

            self.torch: Any = torch
            self.scale_of = np.array(
                [1 if gene.kind == "categorical" else max(len(gene) - 1, 1) for gene in genes]
            )
            self.centre, self.scale = float(costs.mean()), float(costs.std()) or 1.0
            categories = [i for i, gene in enumerate(genes) if gene.kind == "categorical"]
            x, y = self._tensor(genomes), torch.tensor((costs - self.centre) / self.scale)[:, None]
            self.model: Any
            if categories:
                self.model = MixedSingleTaskGP(x, y, cat_dims=categories, outcome_transform=None)
            else:
                self.model = SingleTaskGP(x, y, outcome_transform=None)
            values = list(self.model.parameters())
            if start is not None:
                torch.nn.utils.vector_to_parameters(torch.tensor(start), values)
            if fitted:
                self.model.train()
                likelihood = ExactMarginalLogLikelihood(self.model.likelihood, self.model)
                fit_gpytorch_mll_scipy(likelihood, options={"maxiter": _STEPS})
            vector = torch.nn.utils.parameters_to_vector(values)
            self.parameters: NDArray[np.float64] = vector.detach().numpy().copy()
            self.model.eval()
        self.x: Any = x
        self.y: Any = y[:, 0]

    def predict(self, genomes: Genomes) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return mean and deviation of n genomes, each (n,), in the unit of the costs."""
        with self.torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            posterior = self.model(self._tensor(genomes))
            mean, variance = posterior.mean.numpy(), posterior.variance.numpy()
        deviation = np.sqrt(np.maximum(variance, 1e-10)) * self.scale
        return self.centre + self.scale * mean, deviation

    def believe(self, genome: NDArray[np.int64], cost: float) -> None:
        """Add a sample, with the parameters as they are."""
        self.x = self.torch.cat([self.x, self._tensor(genome[None])])
        value = self.torch.tensor([(cost - self.centre) / self.scale], dtype=self.x.dtype)
        self.y = self.torch.cat([self.y, value])
        self.model.set_train_data(self.x, self.y, strict=False)

    def _tensor(self, genomes: Genomes) -> Any:
        return self.torch.tensor(genomes / self.scale_of, dtype=self.torch.float64)
