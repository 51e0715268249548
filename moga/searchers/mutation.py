"""Hierarchical mutation: which mutator, which gene, then which value or factor.

What is established (Chu et al. 2019, MoreMNAS, arXiv 1901.01074): mutation happens cell by cell and
is hierarchical, a mixture of *natural* (random) mutation, *reinforced* mutation and a *prior
regulator* that repeats what is good; the reinforced part is itself split into a learned controller
for the objective that is hard to predict and a roulette wheel for those that are easy to predict
(FLOPs, parameters). FairNAS (Chu et al. 2019, arXiv 1907.01845) searches with such a reinforced
evolution, and MoGA is by the same authors.

What is not: we had abstracts and readers' summaries, not the papers' tables of hyper-parameters.
As we recall them, the shares in FairNAS's appendix are random .2, reinforced .65, prior .15; within
the reinforced, controller .7 and roulette wheel .3. Ours are random .6 and reinforced .25, and need
fewer evaluations. Its mutation ratio is .8 of all children; ours counts only those that crossing
made new, the others are always mutated, and .4 needs fewer evaluations (docs/trials.md).

What is ours: the controller is one categorical distribution a gene, trained by REINFORCE on the
costs that need an evaluation, a light stand-in for theirs; the roulette wheel turns on
`Problem.known`; the prior is the share that each value has among the non-dominated members; and a
gene with factors changes one of them when mutated at random.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from moga.contracts import Costs, Gene, Genomes, Problem
from moga.errors import FormatError, UnknownName, UsageError
from moga.searchers.arguments import check_number

__all__ = ["HierarchicalMutation", "Policy", "Rates"]

_FLOOR: Final = 0.01
"""Odds that a value keeps however sure the controller is, so that none is lost for ever; ours."""


@dataclasses.dataclass(frozen=True)
class Rates:
    """How often each mutator acts; see the module's page for what is established.

    Args:
        mutation: probability that a child is mutated which crossing made new.
        random: share of random mutation (p_rm).
        reinforced: share of reinforced mutation (p_re).
        prior: share of the prior regulator (p_pr). The three shares sum to 1.
        controller: share of the learned controller within the reinforced (p_M); the rest is the
            roulette wheel (p_K-M).

    Raises:
        UsageError: a share outside 0..1, or shares that do not sum to 1.
    """

    mutation: float = 0.4
    random: float = 0.6
    reinforced: float = 0.25
    prior: float = 0.15
    controller: float = 0.7

    @classmethod
    def of(cls, given: Mapping[str, float]) -> "Rates":
        """Return the rates that a mapping gives, the others as they are.

        Raises:
            UsageError: no mapping, or values that make no rates.
            UnknownName: a rate that does not exist.
        """
        names = [field.name for field in dataclasses.fields(cls)]
        if not isinstance(given, Mapping):
            raise UsageError(f"rates are {given!r}; give a mapping of {', '.join(names)}")
        for name in given:
            if name not in names:
                raise UnknownName("rate", name, names)
        return cls(**given)

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            check_number(f"rate {field.name}", getattr(self, field.name), 0, 1)
        if abs(self.random + self.reinforced + self.prior - 1) > 1e-9:
            raise UsageError(
                f"rates random {self.random}, reinforced {self.reinforced} and prior {self.prior} "
                "must sum to 1"
            )


class Policy:
    """One categorical distribution a gene, trained by REINFORCE (Williams 1992).

    Args:
        sizes: number of values of each gene, shape (genes,).
        step: learning rate for advantages of unit variance.
    """

    def __init__(self, sizes: NDArray[np.int64], step: float) -> None:
        self.step = step
        self.logits = np.zeros((len(sizes), int(sizes.max())))
        self.logits[np.arange(self.logits.shape[1]) >= sizes[:, None]] = -np.inf

    @property
    def probabilities(self) -> NDArray[np.float64]:
        """Shape (genes, values); 0 beyond a gene's values."""
        odds = np.exp(self.logits - self.logits.max(axis=1, keepdims=True))
        return np.asarray(odds / odds.sum(axis=1, keepdims=True))

    def learn(self, genomes: Genomes, rewards: NDArray[np.float64]) -> None:
        """Take one step up the mean of advantage times gradient of the log-probability.

        Args:
            genomes: shape (n, genes).
            rewards: shape (n,), higher is better; their mean is the baseline.
        """
        spread = rewards.std()
        if not spread > 0:
            return
        advantages = (rewards - rewards.mean()) / spread
        probabilities = self.probabilities
        values = np.arange(probabilities.shape[1])
        chosen = genomes[:, :, None] == values
        gradient = np.tensordot(advantages, chosen - probabilities, axes=1)
        self.logits += self.step * gradient / np.sqrt(len(rewards))


class HierarchicalMutation:
    """Mutates offspring; learns from results.

    Args:
        problem: what is searched.
        rates: how often each mutator acts.
        step: learning rate of the controller.
    """

    def __init__(self, problem: Problem, rates: Rates, step: float) -> None:
        self.problem, self.rates = problem, rates
        self.sizes = problem.sizes
        self.able = np.flatnonzero(self.sizes > 1)
        self.policy = Policy(self.sizes, step)
        self.prior = np.where(np.isfinite(self.policy.logits), 1.0, 0.0)
        reference = np.asarray(problem.reference, dtype=np.int64)[None]
        self.known = ~np.isnan(problem.known(reference)[0])
        strides = [_factor_strides(gene) or ((1, 1),) for gene in problem.genes]
        self._factors = np.array([len(of_gene) for of_gene in strides])
        self._strides = np.ones((len(strides), self._factors.max(), 2), dtype=np.int64)
        for gene, of_gene in enumerate(strides):
            self._strides[gene, : len(of_gene)] = of_gene
        self._controller = self._certain()

    def mutate(
        self,
        genomes: Genomes,
        rng: np.random.Generator,
        *,
        crossed: NDArray[np.bool_],
    ) -> Genomes:
        """Return copies, shape (n, genes), of which one gene is mutated.

        Args:
            genomes: shape (n, genes); not changed.
            rng: consumed.
            crossed: which of them crossing made new, shape (n,): these are mutated with the
                probability `rates.mutation`, the others always.
        """
        result = genomes.copy()
        if not len(self.able):
            return result
        rows = np.flatnonzero(~crossed | (rng.random(len(result)) < self.rates.mutation))
        genes = self.able[rng.integers(len(self.able), size=len(rows))]
        result[rows, genes] = _draw(self._odds(result[rows], genes, rng), rng)
        return result

    def learn(self, genomes: Genomes, costs: Costs, front: Genomes) -> None:
        """Learn from one generation of feasible results.

        Args:
            genomes: what was told, shape (n, genes).
            costs: shape (n, objectives).
            front: the non-dominated members of the population, shape (m, genes).
        """
        hard = ~self.known if not self.known.all() else np.ones_like(self.known)
        spread = costs[:, hard].std(axis=0)
        scaled = (costs[:, hard] - costs[:, hard].mean(axis=0)) / np.where(spread > 0, spread, 1)
        self.policy.learn(genomes, -scaled @ self.problem.weights[hard])
        self._controller = self._certain()
        counts = (front[:, :, None] == np.arange(self.prior.shape[1])).sum(axis=0)
        self.prior = np.where(np.isfinite(self.policy.logits), 1.0 + counts, 0.0)

    def state_dict(self) -> dict[str, Any]:
        """Return what was learned."""
        finite = np.isfinite(self.policy.logits)
        return {"logits": np.where(finite, self.policy.logits, 0.0), "prior": self.prior.copy()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over what `state_dict` gave.

        Raises:
            FormatError: learned over other genes.
        """
        logits = np.asarray(state["logits"], dtype=np.float64)
        if logits.shape != self.policy.logits.shape:
            raise FormatError(
                f"a controller of shape {self.policy.logits.shape} was expected, got {logits.shape}"
            )
        self.policy.logits = np.where(np.isfinite(self.policy.logits), logits, -np.inf)
        self._controller = self._certain()
        self.prior = np.array(state["prior"], dtype=np.float64)

    def _certain(self) -> NDArray[np.float64]:
        """Return the controller's odds of each gene's values, shape (genes, values)."""
        return self.policy.probabilities + _FLOOR * np.isfinite(self.policy.logits)

    def _odds(
        self, genomes: Genomes, genes: NDArray[np.int64], rng: np.random.Generator
    ) -> NDArray[np.float64]:
        """Choose a mutator for each row; return its odds for the values of the row's gene.

        Shape (n, values); 0 for the value that the gene has.
        """
        rates = self.rates
        pick = rng.random(len(genomes))
        inner = rng.random(len(genomes))
        is_random = pick < rates.random
        is_prior = pick >= rates.random + rates.reinforced
        wheel = ~is_random & ~is_prior & (inner >= rates.controller) & self.known.any()
        odds = self._controller[genes]
        odds[is_prior] = self.prior[genes[is_prior]]
        if wheel.any():
            odds[wheel] = self._roulette(genomes[wheel], genes[wheel], rng)
        values = genomes[np.arange(len(genomes)), genes]
        odds[is_random] = self._one_factor(values[is_random], genes[is_random], rng)
        odds[np.arange(len(genomes)), values] = 0
        return odds

    def _one_factor(
        self, values: NDArray[np.int64], genes: NDArray[np.int64], rng: np.random.Generator
    ) -> NDArray[np.float64]:
        """Return equal odds for the values that differ in one factor, drawn here: (n, values)."""
        drawn = rng.integers(self._factors[genes])
        stride, size = self._strides[genes, drawn, :, None].transpose(1, 0, 2)
        every, own = np.arange(self.prior.shape[1]), values[:, None]
        alike = (every % stride == own % stride) & (
            every // stride // size == own // stride // size
        )
        return np.asarray(alike & (every < self.sizes[genes][:, None]), dtype=np.float64)

    def _roulette(
        self, genomes: Genomes, genes: NDArray[np.int64], rng: np.random.Generator
    ) -> NDArray[np.float64]:
        """Return odds that grow with how much a value improves a known cost, drawn by weight."""
        n, width = len(genomes), self.prior.shape[1]
        variants = np.repeat(genomes[:, None], width, axis=1)
        values = np.minimum(np.arange(width), self.sizes[genes][:, None] - 1)
        variants[np.arange(n)[:, None], np.arange(width), genes[:, None]] = values
        costs = self.problem.known(variants.reshape(n * width, -1)).reshape(n, width, -1)
        shares = np.where(self.known, np.maximum(self.problem.weights, 1e-9), 0)
        column = rng.choice(len(shares), size=n, p=shares / shares.sum())
        drawn = costs[np.arange(n), :, column]
        gain = drawn.max(axis=1, keepdims=True) - drawn
        odds = gain / np.maximum(gain.max(axis=1, keepdims=True), 1e-300) + 0.05
        return np.asarray(np.where(np.arange(width) < self.sizes[genes][:, None], odds, 0.0))


def _factor_strides(gene: Gene) -> tuple[tuple[int, int], ...]:
    """Return (stride, size) of each factor with more than one value; the first varies slowest."""
    strides, stride = [], len(gene)
    for size in gene.factors or (len(gene),):
        stride //= size
        if size > 1:
            strides.append((stride, size))
    return tuple(strides)


def _draw(odds: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.int64]:
    """Draw one value a row: (n, values) -> (n,)."""
    total = np.cumsum(odds, axis=1)
    level = rng.random((len(odds), 1)) * total[:, -1:]
    return np.asarray((total <= level).sum(axis=1), dtype=np.int64)
