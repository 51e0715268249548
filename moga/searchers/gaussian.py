"""A Gaussian process over genomes: small, exact, and fast at a few hundred points.

    k(x, x') = a exp(-sum_d w_d |x_d - x'_d|) + noise

where the distance of a categorical gene is 0 or 1 (Hamming), that of an ordinal one the share of
its range, and that of a known cost the difference of its standardised logarithm. So the kernel is a
product of exponential ones, of which each gene and each known cost has its own weight (Rasmussen
and Williams 2006, chapter 5: automatic relevance). Weights, amplitude and noise maximise the
marginal likelihood (their equation 5.8) times broad log-normal priors, by L-BFGS with exact
gradients. `lamcts` has BoTorch's models of the same kind, which need torch.
"""

import dataclasses
from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_solve, cholesky, solve_triangular
from scipy.optimize import minimize

from moga.contracts import Gene, Genomes

__all__ = ["Encoding", "GaussianProcess", "Hypers"]

_JITTER: Final = 1e-6
_NOISE: Final = (1e-4, 0.3)
"""Least and most variance of noise, of a target of unit variance."""

_STEPS: Final = 25
"""Steps of L-BFGS a fit; it starts where the last fit ended."""


@dataclasses.dataclass(frozen=True)
class Hypers:
    """Logarithms of what is fitted.

    Args:
        weights: of each dimension, shape (dimensions,).
        amplitude: variance of the function.
        noise: variance of the noise.
    """

    weights: NDArray[np.float64]
    amplitude: float = 0.0
    noise: float = -4.6

    def flat(self) -> NDArray[np.float64]:
        """Return all of them in one vector."""
        return np.array([*self.weights, self.amplitude, self.noise])

    @classmethod
    def of(cls, flat: NDArray[np.float64]) -> "Hypers":
        """Take one vector apart."""
        return cls(np.array(flat[:-2]), float(flat[-2]), float(flat[-1]))

    @classmethod
    def start(cls, dimensions: int) -> "Hypers":
        """Return weights under which two random genomes correlate by about 1 / e."""
        return cls(np.full(dimensions, np.log(1.5 / max(dimensions, 1))))


class Encoding:
    """Turns genomes and their known costs into columns whose L1 distance is the kernel's.

    A categorical gene becomes one column a value, an ordinal one a column a step.

    Args:
        genes: the decisions.
        sample: known costs of an even sample of the space, shape (n, known), for the scale.
    """

    def __init__(self, genes: Sequence[Gene], sample: NDArray[np.float64]) -> None:
        self.tables = [_columns(gene) for gene in genes]
        self.centre = np.zeros(sample.shape[1])
        self.scale = np.ones(sample.shape[1])
        logs = self._logs(sample)
        self.centre, spread = logs.mean(axis=0), logs.std(axis=0)
        self.scale = np.where(spread > 0, spread, 1.0)
        self.dimensions = len(genes) + sample.shape[1]
        widths = [table.shape[1] for table in self.tables]
        self.owner = np.repeat(np.arange(len(genes)), widths)

    def __call__(self, genomes: Genomes, known: NDArray[np.float64]) -> "Points":
        """Encode n genomes: columns of 0 and 1 (scaled), and standardised known costs."""
        parts = [table[genomes[:, gene]] for gene, table in enumerate(self.tables)]
        return Points(np.concatenate(parts, axis=1), self._logs(known), self.owner)

    def _logs(self, known: NDArray[np.float64]) -> NDArray[np.float64]:
        # costs that are maximised are negative: the sign stays, the size is compressed
        return (np.sign(known) * np.log1p(np.abs(known)) - self.centre) / self.scale


@dataclasses.dataclass(frozen=True)
class Points:
    """Encoded genomes.

    Args:
        columns: of the genes, shape (n, columns).
        known: standardised known costs, shape (n, known).
        owner: the gene of each column.
    """

    columns: NDArray[np.float64]
    known: NDArray[np.float64]
    owner: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.columns)

    def taken(self, rows: NDArray[np.int64] | slice) -> "Points":
        """Return some of them."""
        return Points(self.columns[rows], self.known[rows], self.owner)

    def joined(self, others: "Points") -> "Points":
        """Return these and others."""
        columns = np.concatenate([self.columns, others.columns])
        return Points(columns, np.concatenate([self.known, others.known]), self.owner)

    def distances(self) -> NDArray[np.float64]:
        """Return the distances among them in each dimension, shape (dimensions, n, n)."""
        genes = int(self.owner.max()) + 1
        found = np.empty((genes + self.known.shape[1], len(self), len(self)))
        for gene in range(genes):
            part = self.columns[:, self.owner == gene]
            found[gene] = _l1(part, part, np.ones(part.shape[1]))
        for column in range(self.known.shape[1]):
            values = self.known[:, column]
            found[genes + column] = np.abs(values[:, None] - values)
        return found

    def kernel(self, others: "Points", hypers: Hypers) -> NDArray[np.float64]:
        """Return the covariances with others, without noise, shape (n, m)."""
        weights = np.exp(hypers.weights)
        total = _l1(self.columns, others.columns, weights[self.owner])
        genes = len(weights) - self.known.shape[1]
        for column in range(self.known.shape[1]):
            total += weights[genes + column] * np.abs(
                self.known[:, column, None] - others.known[:, column]
            )
        np.negative(total, out=total)
        np.exp(total, out=total)
        total *= np.exp(hypers.amplitude)
        return total


class GaussianProcess:
    """The posterior of one standardised target, at some points.

    Args:
        points: where it was observed.
        target: the values, shape (n,).
        hypers: see `fit`.
    """

    def __init__(self, points: Points, target: NDArray[np.float64], hypers: Hypers) -> None:
        self.points, self.hypers = points, hypers
        self.centre, self.scale = float(target.mean()), float(target.std()) or 1.0
        noise = np.exp(hypers.noise) + _JITTER
        covariance = points.kernel(points, hypers) + noise * np.eye(len(points))
        self.lower = cholesky(covariance, lower=True, check_finite=False)
        scaled = (target - self.centre) / self.scale
        self.alpha = cho_solve((self.lower, True), scaled, check_finite=False)

    @classmethod
    def fit(cls, points: Points, target: NDArray[np.float64], start: Hypers) -> Hypers:
        """Return the hyper-parameters that maximise the posterior, from `start` on."""
        scaled = (target - target.mean()) / (target.std() or 1.0)
        distances = points.distances()
        bounds = [(-9.0, 3.0)] * len(distances) + [(-3.0, 3.0), tuple(np.log(_NOISE))]
        found = minimize(
            _loss,
            start.flat(),
            args=(distances, scaled),
            jac=True,
            method="L-BFGS-B",
            bounds=bounds,
            options={"maxiter": _STEPS},
        )
        return Hypers.of(found.x)

    def predict(self, points: Points) -> "Prediction":
        """Return mean and deviation at points, in the target's unit, and what updates need."""
        cross = points.kernel(self.points, self.hypers)
        whitened = solve_triangular(self.lower, cross.T, lower=True, check_finite=False)
        variance = np.exp(self.hypers.amplitude) - np.einsum("ij,ij->j", whitened, whitened)
        mean = self.centre + self.scale * (cross @ self.alpha)
        return Prediction(self, points, mean, np.maximum(variance, 1e-10), whitened)


class Prediction:
    """Mean and variance at candidates, which believing a value at one of them changes."""

    def __init__(
        self,
        process: GaussianProcess,
        points: Points,
        mean: NDArray[np.float64],
        variance: NDArray[np.float64],
        whitened: NDArray[np.float64],
    ) -> None:
        self.process, self.points, self.mean = process, points, mean
        self.variance, self.whitened = variance, whitened

    @property
    def deviation(self) -> NDArray[np.float64]:
        """Standard deviation of the function, in the target's unit, shape (n,)."""
        return np.asarray(np.sqrt(self.variance) * self.process.scale)

    def believe(self, row: int) -> None:
        """Condition on the mean at one candidate (Ginsbourger 2010, the kriging believer).

        Means stay; variances fall around it: one more row of the Cholesky factor.
        """
        hypers = self.process.hypers
        cross = self.points.kernel(self.points.taken(slice(row, row + 1)), hypers)[:, 0]
        remaining = cross - self.whitened[:, row] @ self.whitened
        pivot = np.sqrt(max(remaining[row], 0.0) + np.exp(hypers.noise) + _JITTER)
        added = remaining / pivot
        self.whitened = np.concatenate([self.whitened, added[None]])
        self.variance = np.maximum(self.variance - added**2, 1e-10)


def _columns(gene: Gene) -> NDArray[np.float64]:
    """Return the columns of each value, shape (values, columns)."""
    size = len(gene)
    if gene.kind == "categorical":
        return np.eye(size) / 2
    steps = np.arange(1, max(size, 2))
    return (np.arange(size)[:, None] >= steps) / max(size - 1, 1)


def _l1(
    first: NDArray[np.float64], second: NDArray[np.float64], weights: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return weighted L1 distances of rows whose columns hold 0 or one value each: by a product."""
    top = np.maximum(first.max(axis=0, initial=0), second.max(axis=0, initial=0))
    safe = np.where(top > 0, top, 1.0)
    a, b = first * weights, second / safe
    found = a.sum(axis=1)[:, None] + (second @ weights) - 2 * (a @ b.T)
    return np.asarray(np.maximum(found, 0.0))


def _loss(
    flat: NDArray[np.float64], distances: NDArray[np.float64], target: NDArray[np.float64]
) -> tuple[float, NDArray[np.float64]]:
    """Return the negative log posterior of hyper-parameters, and its gradient."""
    n, dimensions = len(target), len(distances)
    weights, amplitude, noise = np.exp(flat[:-2]), np.exp(flat[-2]), np.exp(flat[-1])
    clean = amplitude * np.exp(-np.tensordot(weights, distances, axes=1))
    lower = cholesky(clean + (noise + _JITTER) * np.eye(n), lower=True, check_finite=False)
    inverse = cho_solve((lower, True), np.eye(n), check_finite=False)
    alpha = inverse @ target
    loss = 0.5 * target @ alpha + np.log(np.diag(lower)).sum()
    outer = 0.5 * (inverse - np.outer(alpha, alpha))
    weighted = outer * clean
    gradient = np.empty_like(flat)
    gradient[:-2] = -weights * np.tensordot(distances, weighted, axes=2)
    gradient[-2] = weighted.sum()
    gradient[-1] = noise * np.trace(outer)
    centres = np.append(np.full(dimensions, np.log(1.5 / dimensions)), [0.0, -4.6])
    widths = np.append(np.full(dimensions, 1.5), [1.0, 1.5])
    pulled = (flat - centres) / widths
    return float(loss + 0.5 * pulled @ pulled), gradient + pulled / widths
