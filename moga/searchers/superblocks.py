"""Super-blocks: groups of genes, what a regression sees of them, and the regression itself.

A super-block is a group of genes. Its *type* is the combination of its categorical genes (GENet:
block, kernel and ratio), its *slopes* are its ordinal genes (depth and width), as differences from
the reference, divided by the span of the gene's values. A gene "resolution" is a group as well.

The posterior is kept as moments, so that its cost does not depend on how many results were told.
"""

import dataclasses
import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from moga.contracts import Gene, Genomes, Problem, is_number
from moga.errors import FormatError, UsageError

__all__ = ["Fit", "Moments", "Regression", "SuperBlock", "super_blocks"]

Regression = Literal["ridge", "paper"]

_TYPES: Final = 256
"""Super-blocks of more types have offsets for each categorical gene, not for each combination."""

_PENALTIES: Final = np.logspace(-6, 3, 37)


class SuperBlock:
    """A group of genes, its possible choices, and their features.

    Args:
        name: the group.
        positions: where its genes stand in a genome.
        genes: the genes.
        reference: their values in the reference.
        regression: "ridge": an offset for each type, and for each value of each categorical gene
            (or factor of one), and one slope for each ordinal gene, shared by all types. "paper":
            for each type its own slopes and no offset.
        choices: at most this many choices are listed, spread evenly over all.

    Raises:
        UsageError: "paper", and more than 256 types.
    """

    def __init__(
        self,
        name: str,
        positions: Sequence[int],
        genes: Sequence[Gene],
        reference: Sequence[int],
        *,
        regression: Regression,
        choices: int,
    ) -> None:
        self.name, self.positions = name, np.array(positions, dtype=np.int64)
        self._sizes = np.array([len(gene) for gene in genes], dtype=np.int64)
        self._reference = np.array(reference, dtype=np.int64)
        self._slopes = [_scaled(gene, at) for gene, at in zip(genes, reference, strict=True)]
        self._ordinal = np.array([g.kind == "ordinal" and len(g) > 1 for g in genes])
        self._strides, self._types = _type_strides(genes)
        if regression == "paper" and self._types > _TYPES:
            raise UsageError(
                f"the super-block {name!r} has {self._types} types, too many for slopes of their "
                f"own (at most {_TYPES}); give regression='ridge'"
            )
        self._factors = [
            (index, stride, size)
            for index, gene in enumerate(genes)
            if gene.kind == "categorical" and len(gene) > 1
            for stride, size in factor_strides(gene)
        ]
        self.regression = regression
        self.choices = _spread(self._sizes, choices, self._reference)
        self.features = self.encode(self.choices)

    @property
    def width(self) -> int:
        """Number of features."""
        return int(self.features.shape[1])

    def encode(self, values: Genomes) -> NDArray[np.float64]:
        """Return features of this super-block's genes: (n, own genes) -> (n, width)."""
        slopes = np.stack([table[values[:, i]] for i, table in enumerate(self._slopes)], axis=1)[
            :, self._ordinal
        ]
        kind = values @ self._strides
        if self.regression == "paper":
            own = (kind[:, None] == np.arange(self._types)).astype(np.float64)
            each = own[:, :, None] * slopes[:, None]
            return np.asarray(each.reshape(len(values), self._types * slopes.shape[1]))
        columns = [slopes]
        for index, stride, size in self._factors:
            columns.append(values[:, index, None] // stride % size == np.arange(size))
        if len(self._factors) > 1 and self._types <= _TYPES:
            columns.append(kind[:, None] == np.arange(self._types))
        return np.concatenate(columns, axis=1).astype(np.float64)

    def variants(self, n: int, rng: np.random.Generator) -> Genomes:
        """Draw up to n different choices other than the reference's, shape (m, own genes)."""
        other = self.choices[(self.choices != self._reference).any(axis=1)]
        picked = rng.permutation(len(other))[:n]
        return np.asarray(other[picked])


def super_blocks(problem: Problem, regression: Regression, choices: int) -> tuple[SuperBlock, ...]:
    """Return the super-blocks of a problem in the order of their first genes."""
    names = dict.fromkeys(gene.group for gene in problem.genes)
    found = []
    for name in names:
        positions = [i for i, gene in enumerate(problem.genes) if gene.group == name]
        genes = [problem.genes[i] for i in positions]
        reference = [problem.reference[i] for i in positions]
        found.append(
            SuperBlock(name, positions, genes, reference, regression=regression, choices=choices)
        )
    return tuple(found)


def factor_strides(gene: Gene) -> tuple[tuple[int, int], ...]:
    """Return (stride, size) of each factor with more than one value; the first varies slowest."""
    strides, stride = [], len(gene)
    for size in gene.factors or (len(gene),):
        stride //= size
        if size > 1:
            strides.append((stride, size))
    return tuple(strides)


def _symmetric_root(
    vectors: NDArray[np.float64], roots: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return the root that does not depend on which eigenvectors a processor's library finds.

    Their signs, and any turn among those of equal values, are free; draws would differ by machine.
    """
    return np.asarray((vectors * roots) @ vectors.T)


def _scaled(gene: Gene, reference: int) -> NDArray[np.float64]:
    """Return each value's distance from the reference's, in spans of the gene."""
    numeric = all(is_number(value) for value in gene.values)
    values = np.array(gene.values if numeric else range(len(gene)), dtype=np.float64)
    return np.asarray((values - values[reference]) / (np.ptp(values) or 1.0))


def _type_strides(genes: Sequence[Gene]) -> tuple[NDArray[np.int64], int]:
    """Return what each gene's value adds to the number of a type, and how many types there are.

    Nothing, where there are more than `_TYPES`: then types have no columns.
    """
    strides, types = [], 1
    for gene in genes:
        strides.append(types if gene.kind == "categorical" else 0)
        types *= len(gene) if gene.kind == "categorical" else 1
    used = np.array(strides if types <= _TYPES else [0] * len(genes), dtype=np.int64)
    return used, types


def _spread(sizes: NDArray[np.int64], most: int, reference: NDArray[np.int64]) -> Genomes:
    """Return all combinations of values or, of more than `most`, that many and the reference.

    They are steps of a golden section around the list of all, so that no gene is left out.
    """
    each = sizes.tolist()
    count = math.prod(each)
    if count <= most:
        return np.array(list(itertools.product(*map(range, each))), dtype=np.int64)
    step = int(count * (math.sqrt(5) - 1) / 2)
    while math.gcd(step, count) > 1:
        step += 1
    flat = {(i * step) % count for i in range(most)}
    number = 0  # Python's integers: numpy's end at 2 ** 63, and at 64 genes
    for value, size in zip(reference.tolist(), each, strict=True):
        number = number * size + value
    flat.add(number)
    return np.array([_digits(number, each) for number in sorted(flat)], dtype=np.int64)


def _digits(number: int, sizes: Sequence[int]) -> list[int]:
    """Return the digits of a number in mixed radix, the first gene's first."""
    digits = []
    for size in reversed(sizes):
        number, digit = divmod(number, size)
        digits.append(digit)
    return digits[::-1]


@dataclasses.dataclass(frozen=True)
class Fit:
    """A linear model of one cost with its uncertainty: cost = offset + (x - centre) . w.

    Args:
        offset: the cost at `centre`.
        centre: shape (features,).
        mean: of w, shape (features,).
        root: the symmetric root of the covariance of w, shape (features, features).
        noise: standard deviation of what the model leaves unexplained; nan where nothing is left
            to judge it by.
        level: standard error of `offset`.
    """

    offset: float
    centre: NDArray[np.float64]
    mean: NDArray[np.float64]
    root: NDArray[np.float64]
    noise: float
    level: float

    def predict(
        self, features: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return mean and standard error of the expected cost: (n, features) -> (n,), (n,)."""
        centred = features - self.centre
        spread = np.sqrt(((centred @ self.root) ** 2).sum(axis=1) + self.level**2)
        return self.offset + centred @ self.mean, spread

    def draw(self, rng: np.random.Generator) -> NDArray[np.float64]:
        """Draw w from its posterior, shape (features,)."""
        return np.asarray(self.mean + self.root @ rng.standard_normal(self.root.shape[1]))


class Moments:
    """Sums over results, from which the regressions follow; of fixed size.

    Args:
        features: number of features.
        costs: number of costs.
    """

    def __init__(self, features: int, costs: int) -> None:
        self.n = np.zeros(costs)
        self.x = np.zeros((costs, features))
        self.xx = np.zeros((costs, features, features))
        self.y, self.yy = np.zeros(costs), np.zeros(costs)
        self.xy = np.zeros((costs, features))

    def add(self, features: NDArray[np.float64], costs: NDArray[np.float64]) -> None:
        """Add rows: (n, features) and (n, costs); a nan cost is left out."""
        for column, values in enumerate(costs.T):
            known = ~np.isnan(values)
            x, y = features[known], values[known]
            self.n[column] += len(y)
            self.x[column] += x.sum(axis=0)
            self.xx[column] += x.T @ x
            self.y[column] += y.sum()
            self.yy[column] += y @ y
            self.xy[column] += x.T @ y

    def ridge(self, column: int) -> Fit:
        """Fit offset and weights; the penalty on weights is the one of greatest evidence.

        Weights have the prior N(0, noise^2 / penalty), the offset none (MacKay 1992); the noise is
        the one of greatest likelihood. At least two rows must have been added.
        """
        n, centre, level = self.n[column], self.x[column] / self.n[column], 0.0
        offset = self.y[column] / n
        scatter = self.xx[column] - n * np.outer(centre, centre)
        slope = self.xy[column] - n * centre * offset
        total = max(self.yy[column] - n * offset**2, 0.0)
        values, vectors = np.linalg.eigh(scatter)
        values, turned = np.maximum(values, 0.0), vectors.T @ slope
        damped = values[:, None] + _PENALTIES
        left = np.maximum(total - (turned[:, None] ** 2 / damped).sum(axis=0), 1e-12 * total)
        left = np.maximum(left, 1e-300)
        evidence = -(n - 1) / 2 * np.log(left) - np.log(damped / _PENALTIES).sum(axis=0) / 2
        best = int(evidence.argmax())
        noise = math.sqrt(left[best] / max(n - 1, 1))
        level = noise / math.sqrt(n)
        root = _symmetric_root(vectors, noise / np.sqrt(damped[:, best]))
        mean = vectors @ (turned / damped[:, best])
        return Fit(offset, centre, mean, root, noise, level)

    def least_squares(self, column: int, anchor: float) -> Fit:
        """Fit weights of cost - `anchor`, without offset; where rows do not suffice, the shortest.

        Directions that no row has explored keep a weight of 0 and no interval: the paper's
        regression does not know that it does not know.
        """
        xx = self.xx[column]
        right = self.xy[column] - anchor * self.x[column]
        inverse = np.linalg.pinv(xx, rcond=1e-10, hermitian=True)
        mean = inverse @ right
        total = self.yy[column] - 2 * anchor * self.y[column] + self.n[column] * anchor**2
        freedom = self.n[column] - np.linalg.matrix_rank(xx, hermitian=True)
        noise = math.sqrt(max(total - mean @ right, 0.0) / freedom) if freedom > 0 else math.nan
        values, vectors = np.linalg.eigh(inverse)
        root = _symmetric_root(vectors, np.sqrt(np.maximum(values, 0.0)) * np.nan_to_num(noise))
        return Fit(anchor, np.zeros(len(mean)), mean, root, noise, 0.0)

    def state_dict(self) -> dict[str, Any]:
        """Return the sums."""
        return {name: array.copy() for name, array in vars(self).items()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over what `state_dict` gave.

        Raises:
            FormatError: sums over other features.
        """
        got = np.shape(state["xx"])
        if got != self.xx.shape:
            raise FormatError(
                f"a regression of shape {self.xx.shape} was expected, got {got}; give the searcher "
                "the options that it had"
            )
        for name in vars(self):
            setattr(self, name, np.array(state[name], dtype=np.float64))
