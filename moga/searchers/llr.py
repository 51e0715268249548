"""LLR: GENet's local linear regression around a MasterNet, as a searcher."""

import dataclasses
import itertools
import math
from collections.abc import Mapping, Sequence
from functools import cached_property
from operator import itemgetter
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from moga.contracts import Costs, Genome, Genomes, Observations, Problem
from moga.errors import UsageError
from moga.pareto.dominance import nondominated
from moga.searchers.arguments import check_integer, check_word
from moga.searchers.base import BaseSearcher, Opening
from moga.searchers.combine import added_area, best_combinations, undominated
from moga.searchers.superblocks import Fit, Moments, Regression, super_blocks
from moga.spaces.base import sample_uniform

__all__ = ["LLR", "Winner"]

_ENUMERABLE: Final = 1 << 16
"""Spaces up to this size are predicted whole."""

_NORMAL_95: Final = 1.96


@dataclasses.dataclass(frozen=True)
class Winner:
    """The best predicted network within a budget, at one resolution.

    Args:
        budget: the largest cost allowed.
        resolution: index of the value of the gene "resolution"; None where there is no such gene.
        genome: the network.
        costs: predicted, or known; shape (objectives,).
        low: where the 95 % intervals of the expected costs begin; equal to `costs` where known.
        high: where they end.
    """

    budget: float
    resolution: int | None
    genome: Genome
    costs: Costs
    low: Costs
    high: Costs


class LLR(BaseSearcher):
    """Lin et al. 2020, GENet (arXiv 2006.14090), section 4.2.

        the reference -> n variants of one super-block at a time -> evaluation elsewhere
        -> pseudo-gradients by linear regression -> combinations of best predicted accuracy
        within each latency budget -> evaluation elsewhere -> regression again

    The paper models A(S) - A* as the sum over super-blocks i of <g(i, type), (d - d*, c - c*)>,
    depth and width, one pseudo-gradient g for each super-block and type, by least squares over
    that super-block's samples; `regression="paper"` does that, with all ordinal genes of the group
    in the place of d and c. But nine samples do not carry twelve types, and a change of type alone
    counts for nothing. So the default is ours: one ridge regression over all results, with an
    offset for each type (and each value of each categorical gene), a slope for each ordinal gene
    and the penalty of greatest evidence.

    The paper draws many structures at random and takes the best predicted within the budget;
    `combine="random"` does that. The default, "dynamic", combines super-blocks exactly under every
    budget at once (`moga.searchers.combine`). It takes known costs to add up over super-blocks:
    each choice adds what it adds to the reference at that resolution. Where that is not so
    (super-blocks share the width between them), combinations are *approximately* the best; so
    their known costs are looked up in full before any is compared, kept or offered, and none is
    offered that breaks a limit. "enumerate" predicts the whole space; "auto" does so up to 65,536
    genomes.

    Ours besides: results of winners, and of other searchers, enter the ridge, so it does not stay
    local (and others' results take the place of the last perturbations); "thompson" draws
    weights from the posterior before each ask, so that what is uncertain is tried; and what has
    been told bounds what is worth asking: winners must, in prediction, be dominated by no result.
    Costs that are unknown before an evaluation, latency as well, are regressed alike. With three
    and more objectives, the score is a sum of all but the budget's cost, in units of their spread
    over the space, with weights drawn anew for each ask.

    Args:
        problem: what is searched. Genes of one group are a super-block; a gene "resolution" is
            compared across budgets, and `winners` answers for each of its values.
        rng: consumed.
        variants: perturbations of each super-block (the paper's N, 9).
        regression: "ridge" or "paper".
        combine: "auto", "dynamic", "enumerate" or "random".
        explore: "thompson", or "none" as in the paper.
        budgets: largest values of the budget's cost (latency where it is an objective), above 0
            unless that is maximised (its cost is then its negative). One that nothing keeps has no
            winner; where none is kept in prediction, what comes closest is asked for. None: every
            budget at which another combination becomes the best.
        draws: random structures an ask, for "random".
        choices: most choices of one super-block that are considered; of more, this many spread
            evenly.
        kept: most combinations that dynamic programming keeps after each super-block.

    Raises:
        UsageError: an option out of range; the paper's regression where no super-block has an
            ordinal gene; budgets for a single objective, or of a known cost and all below it.
    """

    def __init__(
        self,
        problem: Problem,
        rng: np.random.Generator,
        *,
        variants: int = 9,
        regression: Regression = "ridge",
        combine: str = "auto",
        explore: str = "thompson",
        budgets: Sequence[float] | None = None,
        draws: int = 10_000,
        choices: int = 4096,
        kept: int = 512,
    ) -> None:
        for name, value in (
            *(("variants", variants), ("draws", draws)),
            *(("choices", choices), ("kept", kept)),
        ):
            check_integer(name, value)
        check_word("regression", regression, ("ridge", "paper"))
        check_word("combine", combine, ("auto", "dynamic", "enumerate", "random"))
        check_word("explore", explore, ("thompson", "none"))
        super().__init__(problem, rng)
        self.regression: Regression = regression
        self.variants, self.explore, self.draws, self.kept = variants, explore, draws, kept
        size = math.prod(self.sizes.tolist())
        small = "enumerate" if size <= _ENUMERABLE else "dynamic"
        self.combine = small if combine == "auto" else combine
        if self.combine == "enumerate" and size > _ENUMERABLE:
            raise UsageError(f"{size} genomes are too many to enumerate; give combine='dynamic'")
        self.reference = np.asarray(problem.reference, dtype=np.int64)
        listed = _ENUMERABLE if self.combine == "enumerate" else choices
        self.blocks = super_blocks(problem, regression, listed)
        ends = np.cumsum([block.width for block in self.blocks])
        self._columns = {
            block.name: slice(int(end) - block.width, int(end))
            for block, end in zip(self.blocks, ends, strict=True)
        }
        if regression == "paper" and not any(block.width for block in self.blocks):
            raise UsageError(
                "the paper's regression needs ordinal genes (depth, width); this space has none: "
                "give regression='ridge'"
            )
        names = [gene.name for gene in problem.genes]
        self._resolution = names.index("resolution") if "resolution" in names else None
        known = problem.known(self.reference[None])[0]
        self.unknown = np.flatnonzero(np.isnan(known))
        self.budgeted = _budgeted(problem, known)
        self.budgets = self._checked_budgets(budgets)
        self.moments = Moments(sum(block.width for block in self.blocks), len(self.unknown))
        self.anchor = np.full(len(known), np.nan)
        self.front = np.empty((0, len(known)))
        self.plan = self._stack([])
        self._asked = -1
        self._origins: dict[bytes, Genomes] = {}
        self._sums = np.zeros((3, len(known)))
        self._parts: dict[int | None, list[Costs]] = {}
        if self.budgets and self.budgeted not in self.unknown:
            self._check_reach()

    def _ask(self, n: int, attempt: int) -> Genomes:  # noqa: ARG002 - a new draw, new winners
        if self._asked < 0:
            self._start(self._perturbations(), 0)
        foreign = self.foreign if self.regression == "ridge" else 0
        first = Opening(self.plan[self._asked :]).take(n, foreign)
        if len(first):
            self._asked += len(first)
            return first
        if not self._fitted:
            return sample_uniform(self.sizes, n, self.rng)
        return self._offer(n)

    def _tell(self, observations: Observations) -> None:
        whole = ~observations.failed
        genomes, costs = observations.genomes[whole], observations.costs[whole]
        own = [self._origins.get(key) for key in self._keys(genomes)]
        for row, origin in enumerate(own):
            if origin is not None:
                genomes[row] = origin
        at_reference = (genomes == self.reference).all(axis=1)
        if at_reference.any():
            self.anchor = costs[at_reference][0]
        rows = self._local(genomes) if self.regression == "paper" else np.ones(len(costs), bool)
        self.moments.add(self._features(genomes[rows]), costs[rows][:, self.unknown])
        self._sums += np.stack(
            [np.full(costs.shape[1], len(costs)), costs.sum(0), (costs**2).sum(0)]
        )
        good = np.concatenate([self.front, costs[observations.violations[whole] == 0]])
        self.front = np.unique(good[nondominated(good)], axis=0) if len(good) else good

    def _perturbations(self) -> Genomes:
        """Return the reference, then a variant of each super-block in turn, again and again."""
        rows = [(0, self.reference)]
        for block in self.blocks:
            if self.regression == "paper" and self._resolution in block.positions:
                continue
            for number, values in enumerate(block.variants(self.variants, self.rng)):
                genome = self.reference.copy()
                genome[block.positions] = values
                rows.append((number, genome))
        return self._stack([genome for _, genome in sorted(rows, key=itemgetter(0))])

    def _start(self, plan: Genomes, asked: int) -> None:
        """Take a plan. A result of a planned genome is learned from as planned.

        The canonical form of a perturbation can differ from the reference in several super-blocks:
        in GENet's space, layers move to the super-block before.
        """
        self.plan, self._asked = plan, asked
        canonical = np.asarray(self.problem.canonical(plan), dtype=np.int64)
        self._origins = dict(zip(self._keys(canonical), plan, strict=True))

    def _local(self, genomes: Genomes) -> NDArray[np.bool_]:
        """Return which genomes differ from the reference in one super-block at most, shape (n,)."""
        changed = [
            (genomes[:, block.positions] != self.reference[block.positions]).any(axis=1)
            for block in self.blocks
        ]
        return np.asarray(np.sum(changed, axis=0) <= 1)

    @property
    def _fitted(self) -> bool:
        return bool(self._sums[0, 0] >= 2 and (self.moments.n >= 2).all())

    def _features(self, genomes: Genomes) -> NDArray[np.float64]:
        """Return features of all super-blocks side by side: (n, genes) -> (n, features)."""
        return np.concatenate(
            [block.encode(genomes[:, block.positions]) for block in self.blocks], axis=1
        )

    def _fits(self) -> list[Fit]:
        """Return one regression for each unknown cost.

        Raises:
            UsageError: fewer than two results.
        """
        if not self._fitted:
            raise UsageError("nothing to predict from: tell two exact results or more first")
        if self.regression == "ridge":
            return [self.moments.ridge(column) for column in range(len(self.unknown))]
        means = self.moments.y / self.moments.n
        anchors = np.where(np.isnan(self.anchor[self.unknown]), means, self.anchor[self.unknown])
        return [self.moments.least_squares(c, float(a)) for c, a in enumerate(anchors)]

    def predict(self, genomes: Genomes) -> tuple[Costs, Costs]:
        """Return expected costs and their standard errors, each of shape (n, objectives).

        Known costs have the standard error 0.

        Raises:
            UsageError: fewer than two results to learn from.
        """
        fits = self._fits()
        costs = np.array(self.problem.known(genomes), dtype=np.float64)
        errors = np.zeros_like(costs)
        features = self._features(genomes)
        for column, fit in zip(self.unknown, fits, strict=True):
            costs[:, column], errors[:, column] = fit.predict(features)
        return costs, errors

    def winners(self, budgets: Sequence[float] | None = None) -> list[Winner]:
        """Return the best predicted network within each budget, for each resolution.

        By the regression's means, and whether seen before or not. A budget that nothing keeps has
        no winner.

        Args:
            budgets: default: those given at the start.

        Raises:
            UsageError: no budgets, or fewer than two results to learn from.
        """
        budgets = self._checked_budgets(budgets) or self.budgets
        if not budgets:
            raise UsageError("say within which budgets: winners([...])")
        genomes = self._pool([fit.mean for fit in self._fits()], self.problem.weights)
        costs, errors = self.predict(genomes)
        score = self._score(costs, self.problem.weights)
        found = []
        for resolution in self._resolutions:
            for budget in budgets:
                within = costs[:, self.budgeted] <= budget
                if resolution is not None:
                    within &= genomes[:, self._resolution] == resolution
                if not within.any():
                    continue
                row = int(np.where(within, score, -np.inf).argmax())
                half = _NORMAL_95 * errors[row]
                genome = tuple(int(gene) for gene in genomes[row])
                low, high = costs[row] - half, costs[row] + half
                found.append(Winner(budget, resolution, genome, costs[row], low, high))
        return found

    def _offer(self, n: int) -> Genomes:
        """Return up to n unseen genomes that are the best within their budgets, in one draw."""
        fits = self._fits()
        explore = self.explore == "thompson"
        drawn = [fit.draw(self.rng) if explore else fit.mean for fit in fits]
        weights = self._drawn_weights()
        genomes = self._pool(drawn, weights)
        keys = self._space_keys if self.combine == "enumerate" else self._keys(genomes)
        unseen = np.array([key not in self._seen for key in keys], dtype=bool)
        costs = self._drawn_costs(genomes, fits, drawn)
        genomes, costs = self._allowed(genomes[unseen], costs[unseen])
        if not len(genomes):
            return sample_uniform(self.sizes, n, self.rng)
        score = self._score(costs, weights)
        if self.budgeted is None:
            return genomes[np.argsort(-score, kind="stable")[:n]]
        budget = costs[:, self.budgeted]
        if self.budgets:
            return genomes[self._within(budget, score, n)]
        return genomes[self._gaining(budget, score, weights, n)]

    def _drawn_costs(
        self, genomes: Genomes, fits: list[Fit], slopes: list[NDArray[np.float64]]
    ) -> Costs:
        """Return known costs, and others by the slopes given: (n, genes) -> (n, objectives)."""
        if self.combine != "enumerate":
            costs = np.array(self.problem.known(genomes), dtype=np.float64)
            features = self._features(genomes)
            for column, fit, slope in zip(self.unknown, fits, slopes, strict=True):
                costs[:, column] = fit.offset + (features - fit.centre) @ slope
            return costs
        costs = self._space_costs.copy()
        for column, fit, slope in zip(self.unknown, fits, slopes, strict=True):
            costs[:, column] = fit.offset - fit.centre @ slope
            for block, choice in zip(self.blocks, self._space_choices, strict=True):
                costs[:, column] += (block.features @ slope[self._columns[block.name]])[choice]
        return costs

    @cached_property
    def _space_genomes(self) -> Genomes:
        """All genomes in canonical form, each once."""
        count = math.prod(self.sizes.tolist())
        genomes = np.stack(np.unravel_index(np.arange(count), self.sizes.tolist()), axis=1)
        return self._once(genomes)

    @cached_property
    def _space_keys(self) -> list[bytes]:
        return self._keys(self._space_genomes)

    @cached_property
    def _space_costs(self) -> Costs:
        return np.array(self.problem.known(self._space_genomes), dtype=np.float64)

    @cached_property
    def _space_choices(self) -> list[NDArray[np.int64]]:
        """For each super-block, which of its choices each genome has, shape (n,)."""
        return [
            np.ravel_multi_index(
                tuple(self._space_genomes[:, block.positions].T),
                tuple(self.sizes[block.positions].tolist()),
            )
            for block in self.blocks
        ]

    def _once(self, genomes: Genomes) -> Genomes:
        """Return the canonical forms, each once."""
        return np.unique(np.asarray(self.problem.canonical(genomes), dtype=np.int64), axis=0)

    def _within(
        self, budget: NDArray[np.float64], score: NDArray[np.float64], n: int
    ) -> NDArray[np.int64]:
        """Return rows of the best within each budget in turn; the closest where none is within."""
        left = np.ones(len(score), dtype=bool)
        rows: list[int] = []
        for limit in itertools.islice(itertools.cycle(self.budgets), n):
            within = left & (budget <= limit)
            if within.any():
                rows.append(int(np.where(within, score, -np.inf).argmax()))
                left[rows[-1]] = False
        return np.array(rows or [int(budget.argmin())], dtype=np.int64)

    def _gaining(
        self,
        budget: NDArray[np.float64],
        score: NDArray[np.float64],
        weights: NDArray[np.float64],
        n: int,
    ) -> NDArray[np.int64]:
        """Return rows that are best within a budget, those that gain most over results first.

        Gain is the area that a row adds to what results, and rows before it, reach in the plane of
        budget and score, up to the worst of both.
        """
        told = np.stack([self.front[:, self.budgeted], -self._score(self.front, weights)], axis=1)
        points = np.stack([budget, -score], axis=1)
        corner = np.concatenate([told, points]).max(axis=0)
        rows: list[int] = []
        rest = np.arange(len(points))
        while len(rows) < n and len(rest):
            best = rest[undominated(points[rest, 0], -points[rest, 1])]
            rest = np.setdiff1d(rest, best)
            while len(rows) < n and len(best):
                gains = added_area(points[best], np.concatenate([told, points[rows]]), corner)
                at = int(gains.argmax()) if gains.max() > 0 else int(self.rng.integers(len(best)))
                rows.append(int(best[at]))
                best = np.delete(best, at)
        return np.array(rows, dtype=np.int64)

    def _pool(
        self,
        slopes: list[NDArray[np.float64]],
        weights: NDArray[np.float64],
    ) -> Genomes:
        """Return candidates in canonical form, of all resolutions, shape (n, genes)."""
        if self.combine == "enumerate":
            genomes = self._space_genomes
        elif self.combine == "dynamic":
            found = [self._combined(slopes, weights, at) for at in self._resolutions]
            genomes = self._once(np.concatenate(found))
        else:
            genomes = self._once(sample_uniform(self.sizes, self.draws, self.rng))
        return genomes

    def _combined(
        self,
        slopes: list[NDArray[np.float64]],
        weights: NDArray[np.float64],
        resolution: int | None,
    ) -> Genomes:
        """Return what is best within each budget at one resolution, by dynamic programming."""
        blocks = [b for b in self.blocks if self._resolution not in b.positions]
        units = weights / self._units()
        latencies, scores = [], []
        for block, known in zip(blocks, self._known_parts(resolution), strict=True):
            costs = known.copy()
            for column, slope in zip(self.unknown, slopes, strict=True):
                costs[:, column] = block.features @ slope[self._columns[block.name]]
            latency = np.zeros(len(costs)) if self.budgeted is None else costs[:, self.budgeted]
            latencies.append(latency)
            scores.append(-costs[:, self._scored] @ units[self._scored])
        picked, _, _ = best_combinations(latencies, scores, self.kept)
        genomes = np.tile(self._base(resolution), (len(picked), 1))
        for block, choice in zip(blocks, picked.T, strict=True):
            genomes[:, block.positions] = block.choices[choice]
        return genomes

    def _known_parts(self, resolution: int | None) -> list[Costs]:
        """Return what each choice of each super-block adds to known costs, nan where unknown."""
        if resolution not in self._parts:
            base = self._base(resolution)
            parts = []
            for block in self.blocks:
                if self._resolution in block.positions:
                    continue
                genomes = np.tile(base, (len(block.choices), 1))
                genomes[:, block.positions] = block.choices
                parts.append(self.problem.known(genomes) - self.problem.known(base[None]))
            self._parts[resolution] = parts
        return self._parts[resolution]

    def _base(self, resolution: int | None) -> NDArray[np.int64]:
        base = self.reference.copy()
        if resolution is not None:
            base[self._resolution] = resolution
        return base

    @property
    def _resolutions(self) -> list[int | None]:
        if self._resolution is None:
            return [None]
        return list(range(self.sizes[self._resolution]))

    @property
    def _scored(self) -> NDArray[np.int64]:
        """Columns of the costs that make the score."""
        columns = np.arange(len(self.problem.objectives))
        return columns if self.budgeted is None else columns[columns != self.budgeted]

    def _score(self, costs: Costs, weights: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the score, shape (n,); higher is better."""
        units = weights / self._units()
        return np.asarray(-costs[:, self._scored] @ units[self._scored])

    def _units(self) -> NDArray[np.float64]:
        """Return the standard deviation of each cost over all results, 1 where there is none."""
        count, total, squares = self._sums
        count = np.maximum(count, 1)
        spread = np.sqrt(np.maximum(squares / count - (total / count) ** 2, 0.0))
        return np.where(spread > 0, spread, 1.0)

    def _drawn_weights(self) -> NDArray[np.float64]:
        weights = np.where(self.problem.weights > 0, self.problem.weights, 1e-6)
        if len(self._scored) > 1:
            weights = weights * self.rng.dirichlet(np.ones(len(weights)))
        return np.asarray(weights)

    def _allowed(self, genomes: Genomes, costs: Costs) -> tuple[Genomes, Costs]:
        """Drop what breaks a limit by known costs, or has none; keep all where nothing is left."""
        kept = np.isfinite(costs).all(axis=1)
        known = np.setdiff1d(np.arange(costs.shape[1]), self.unknown)
        for column in known:
            objective = self.problem.objectives[column]
            kept &= objective.violation(objective.sign * costs[:, column]) <= 0
        return genomes[kept], costs[kept]

    def _checked_budgets(self, budgets: Sequence[float] | None) -> tuple[float, ...]:
        if budgets is None:
            return ()
        if self.budgeted is None:
            raise UsageError("budgets need a second objective; leave them out for a single one")
        given = tuple(float(budget) for budget in budgets)
        if not given or not all(math.isfinite(budget) for budget in given):
            raise UsageError(f"budgets are {list(budgets)!r}; give one or more finite numbers")
        objective = self.problem.objectives[self.budgeted]
        if objective.direction == "min" and min(given) <= 0:
            raise UsageError(
                f"budgets are {list(budgets)!r}, of {objective.name}, which is above 0 for every "
                "network; give numbers above 0"
            )
        return given

    def _check_reach(self) -> None:
        """Refuse budgets that nothing keeps, where that is known.

        Where costs do not add up over super-blocks, the least cost is that of the combination of
        the least parts and of many random genomes.
        """
        if self.combine == "enumerate":
            least = float(np.nanmin(self._space_costs[:, self.budgeted]))
        else:
            found = [sample_uniform(self.sizes, self.draws, np.random.default_rng(0))]
            for resolution in self._resolutions:
                genome = self._base(resolution)
                blocks = [b for b in self.blocks if self._resolution not in b.positions]
                for block, part in zip(blocks, self._known_parts(resolution), strict=True):
                    genome[block.positions] = block.choices[np.nanargmin(part[:, self.budgeted])]
                found.append(genome[None])
            least = float(np.nanmin(self.problem.known(np.concatenate(found))[:, self.budgeted]))
        if max(self.budgets) < least:
            objective = self.problem.objectives[self.budgeted or 0]
            raise UsageError(
                f"budgets are {list(self.budgets)} of {objective.name}, but no network costs less "
                f"than {least:g}; give a budget of that or more"
            )

    def state_dict(self) -> dict[str, Any]:
        """Return all state as JSON values and numpy arrays."""
        return {
            **super().state_dict(),
            "plan": self.plan.copy(),
            "asked": self._asked,
            "anchor": self.anchor.copy(),
            "front": self.front.copy(),
            "sums": self._sums.copy(),
            "moments": self.moments.state_dict(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over what `state_dict` gave; the next `ask` is as it would have been there.

        Raises:
            FormatError: the state of a searcher over other genes, or with another regression.
        """
        super().load_state_dict(state)
        self.moments.load_state_dict(state["moments"])
        self._start(np.array(state["plan"], dtype=np.int64), int(state["asked"]))
        self.anchor = np.array(state["anchor"], dtype=np.float64)
        self.front = np.array(state["front"], dtype=np.float64)
        self._sums = np.array(state["sums"], dtype=np.float64)


def _budgeted(problem: Problem, known: Costs) -> int | None:
    """Return the column that budgets limit: latency, else what is known, else the last."""
    columns = range(len(problem.objectives))
    if len(columns) == 1:
        return None
    latency = [c for c in columns if problem.objectives[c].metric == "latency"]
    cheap = [c for c in columns if not math.isnan(known[c])]
    return [*latency, *cheap, columns[-1]][0]
