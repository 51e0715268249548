"""Latency tables fitted to end-to-end times of whole networks.

A phone often cannot time single blocks, but whole networks can be timed anywhere. The time of a
network is taken as a constant plus one effect for each of its blocks, and a block's effect as a sum
over levels, from what all blocks share down to what is a block's own:

    work and traffic   multiply-adds (dense, depthwise, grouped), activations moved, parameters,
                       convolutions launched, blocks
    kind               operation, kernel, expansion, groups, activation, SE, shortcut; once an
                       effect a block, once one that grows with the activations moved
    stage              width and size of what leaves the block
    block              the block itself: an effect, one that grows with the activations moved, and
                       one that grows with the multiply-adds

All effects of a level have one prior scale. The scales are found by maximising the marginal
likelihood (Rasmussen and Williams 2006, "Gaussian Processes for Machine Learning", section 5.4.1,
with a weak log-normal prior on each scale), so that a level that explains nothing vanishes. Noise
is a Student t with two degrees of freedom, by reweighting (Lange, Little and Taylor 1989, "Robust
statistical modeling using the t distribution"): on phones and shared machines a tenth of the times
may be far too long. Blocks stand in for layers: layers with the same block have the same effect, so
that genomes of the same network have the same latency.

Intervals are calibrated by cross-validation: standard errors are multiplied by the factor with
which 90 % intervals would have covered 90 % of the networks held out (split-conformal scaling,
Vovk, Gammerman and Shafer 2005). They are about a new timing, its noise included.
"""

import dataclasses
import math
import statistics
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from moga.contracts import Genomes
from moga.devices.base import check_batch, noise_grid, of_batch
from moga.devices.importers.base import milliseconds
from moga.devices.importers.rows import Conditions, check_said, conditions_of
from moga.devices.importers.tables import Row, read_table
from moga.devices.plausible import check_speed, check_units, speed
from moga.errors import FormatError, InvalidGenome, MogaError, UsageError
from moga.network import Block, Network
from moga.networks.count import convolutions, count_macs, count_params
from moga.spaces.base import Space, sample_uniform
from moga.spaces.cost import CostTable, count_table
from moga.spaces.entries import find_blocks

__all__ = ["FittedTable", "Times", "fit_table", "read_times"]

_FEWEST: Final = 10
_FREEDOM: Final = 2.0
_SEARCHED: Final = 300
"""Networks at most from which the scales are found; all are used for the effects."""
_REFIT: Final = 150
"""Networks at most for which each fold of the cross-validation finds scales of its own."""
_ROUNDS: Final = (40, 15, 15, 10, 10, 10)
"""Steps of the optimiser before each reweighting of the networks."""
_FOLDS: Final = 5
_PRIOR: Final = (2 * math.log(0.02), 0.03)
"""Mean and precision of the prior on each log variance, relative to the mean time."""
_BOUNDS: Final = (2 * math.log(1e-4), math.log(3.0))
_START: Final = (2 * math.log(0.03), 2 * math.log(0.02))
_LEVEL_90: Final = 1.6448536269514722
"""The normal quantile that bounds a two-sided 90 % interval."""
_FLOOR: Final = 0.1
"""What a network is taken to need that would take no time: this share of the fastest measured."""
_LIFTS: Final = 50
_FARTHEST: Final = 10.0
"""Standard errors by which a network may be lifted to that; beyond, the times contradict it."""
_SAMPLE: Final = 1000
_CHUNK: Final = 1 << 13

Array = NDArray[np.float64]


@dataclasses.dataclass(frozen=True)
class Times:
    """Whole networks of a space and how long each took.

    Args:
        genomes: shape (n, genes).
        ms: shape (n,), milliseconds a batch.
        source: where they were read.
        precision: one of `importers.base.PRECISIONS`, or "" where it is not known.
        device: what they were measured on, or "".

    Raises:
        UsageError: not one time a genome, or one that is not finite and above 0, naming it.
    """

    genomes: Genomes
    ms: Array
    source: str = ""
    precision: str = ""
    device: str = ""

    def __post_init__(self) -> None:
        if self.ms.shape != (len(self.genomes),):
            raise UsageError(f"{len(self.genomes)} genomes, but times of shape {self.ms.shape}")
        if self.ms.dtype.kind not in "iuf":
            raise UsageError(f"the times are {self.ms.dtype}; expected numbers, in ms")
        wrong = ~((self.ms > 0) & np.isfinite(self.ms))
        if wrong.any():
            row = int(np.argmax(wrong))
            raise UsageError(
                f"the time of genome {row} is {self.ms[row]} ms; expected a finite time above 0"
            )


def read_times(path: Path, space: Space, batch: int = 1) -> Times:
    """Read end-to-end times from a CSV file with a header, or a Parquet file.

    Columns: ``latency_ms``, a positive number, and one of ``genome`` (integers separated by spaces,
    or of Parquet a list of them) and ``network`` (the path of a network's JSON, relative to the
    file). Where the file has columns of the schema of imported times (``batch``, ``precision``,
    ``device``, ``unit``, ``of``), what they say must fit, and be the same in every row; precision
    and device are returned. Others are ignored. Either the whole file is good, or nothing is read.

    Args:
        path: the file.
        space: of the networks.
        batch: images a batch of all times.

    Raises:
        UsageError: a batch below 1.
        FormatError: no such file, another kind of file, missing columns, or a bad row: a time that
            is no number, nan, 0, negative, below a nanosecond or above an hour, one in which no
            device does so much, or 100 times off what the others let expect; a genome or network of
            another space, a network that came before; another batch or unit, an unknown precision,
            or two precisions or devices. The message names the row as
            `importers.tables.read_table` does.
    """
    check_batch(batch)
    rows = read_table(Path(path))
    places = [where for where, _ in rows]
    _check_columns(path, rows[0][1])
    said = _check_alike(rows, batch)
    genomes = np.empty((len(rows), len(space.genes)), dtype=np.int64)
    networks = []
    ms = np.empty(len(rows))
    for number, (where, row) in enumerate(rows):
        ms[number] = milliseconds(row["latency_ms"], "ms", where, "latency_ms")
        network, genomes[number] = _subject(row, space, Path(path).parent, where)
        networks.append(network)
    check_units(networks, ms.tolist(), places, batch)
    for where, network, time in zip(places, networks, ms.tolist(), strict=True):
        check_speed(batch * count_macs(network), time, where, "a network")
    _check_duplicates(places, space.canonical(genomes))
    return Times(genomes, ms, str(path), said.precision, said.device)


def _check_columns(path: Path, row: Row) -> None:
    names = [name for name in ("genome", "network") if name in row]
    if "latency_ms" not in row or len(names) != 1:
        raise FormatError(
            f"{path} has the columns {', '.join(map(str, row))}; expected latency_ms "
            "(milliseconds a batch), and either genome or network"
        )


def _check_alike(rows: Sequence[tuple[str, Row]], batch: int) -> Conditions:
    """Check that every row is of one batch, in ms a batch, of one precision and one device."""
    first = conditions_of(rows[0][1], rows[0][0])
    for where, row in rows:
        check_said(row, "latency_ms", "ms", where)
        said = conditions_of(row, where)
        if said.batch not in (None, batch):
            raise FormatError(
                f"{where}: batch is {said.batch}; expected {batch}, as for all times of a fit; say "
                "it with --batch"
            )
        for name in ("precision", "device"):
            if (one := getattr(said, name)) != (other := getattr(first, name)):
                raise FormatError(
                    f"{where}: {name} is {one!r}; expected {other!r}, as for all times of a fit"
                )
    return first


def _subject(row: Row, space: Space, folder: Path, where: str) -> tuple[Network, Sequence[int]]:
    """Return the network of a row, and its genome."""
    try:
        if "network" in row:
            network = Network.load(folder / str(row["network"]))
            return network, space.encode(network)
        genome = _genome(row["genome"], space)
        return space.decode(genome), genome
    except (MogaError, OSError, ValueError) as error:
        raise FormatError(f"{where}: {error}") from error


def _genome(cell: Any, space: Space) -> list[int]:
    text = " ".join(map(str, cell)) if isinstance(cell, list) else str(cell)
    try:
        values = [int(word) for word in text.split()]
    except ValueError:
        raise InvalidGenome(
            f"genome is {cell!r}; expected integers separated by spaces, or of Parquet a list"
        ) from None
    genome: list[int] = space.validate(np.array([values]))[0].tolist()
    return genome


def _check_duplicates(places: Sequence[str], genomes: Genomes) -> None:
    first: dict[bytes, int] = {}
    for number, genome in enumerate(genomes):
        before = first.setdefault(genome.tobytes(), number)
        if before != number:
            earlier = places[before].rpartition(", ")[2]
            raise FormatError(
                f"{places[number]}: the network of {earlier} again; give one time a network, such "
                "as the median of several"
            )


class _Features:
    """What a space's entries say about time: entries x columns, each column of one level.

    Args:
        space: any space.
    """

    def __init__(self, space: Space) -> None:
        from scipy import sparse

        self.slots = [slot for slot in space.slots if slot.shape]
        blocks, found = find_blocks(self.slots)
        ends = np.cumsum([0, *(slot.size for slot in found)])
        self.starts: list[int] = ends[:-1].tolist()
        self.entries = int(ends[-1])
        self.known = np.ones(self.entries, dtype=bool)
        for start, slot in zip(self.starts, found, strict=True):
            self.known[start + slot.absent] = False
        placed = list(zip(self.starts, found, strict=True))
        rows = np.concatenate(
            [[], *(start + slot.entry.astype(np.int64) for start, slot in placed)]
        )
        uses = sparse.csr_matrix(
            (
                np.concatenate([[], *(slot.times for slot in found)]),
                (rows, np.concatenate([[], *(slot.block for slot in found)])),
            ),
            shape=(self.entries, len(blocks)),
        )
        described, self.levels = _describe(blocks)
        self.matrix = sparse.csr_matrix(uses @ described)

    def of(self, genomes: Genomes) -> Any:
        """Return a sparse matrix (n, columns): the sum over each genome's entries."""
        total: Any = 0
        for start, slot in zip(self.starts, self.slots, strict=True):
            total = total + self.matrix[start + slot.flat_index(genomes)]
        return total


def _describe(blocks: Sequence[Block]) -> tuple[Any, list[str]]:
    """Return a sparse matrix (blocks, columns), and the level of each column.

    Work is in units of the mean block's.
    """
    from scipy import sparse

    n = len(blocks)
    works = np.array([_work(block) for block in blocks], dtype=np.float64).reshape(n, len(_WORK))
    mean = np.maximum(works.mean(axis=0), 1e-12) if n else np.ones(len(_WORK))
    moved = works[:, 3] / mean[3]
    macs = works[:, :3].sum(axis=1) / max(float(mean[:3].sum()), 1e-12)
    kinds = _one_hot([_kind(block) for block in blocks])
    columns = {
        "kind": kinds,
        "kind x moved": sparse.diags(moved) @ kinds,
        "stage": _one_hot([(block.out_channels, block.out_size) for block in blocks]),
        "block": sparse.identity(n),
        "block x moved": sparse.diags(moved),
        "block x macs": sparse.diags(macs),
    }
    matrix = sparse.csr_matrix(sparse.hstack([sparse.csr_matrix(works / mean), *columns.values()]))
    levels = [*_WORK, *(name for name, part in columns.items() for _ in range(part.shape[1]))]
    return matrix, levels


def _one_hot(keys: Sequence[Any]) -> Any:
    """Return a sparse matrix (keys, distinct keys) of ones."""
    from scipy import sparse

    numbers: dict[Any, int] = {}
    found = [numbers.setdefault(key, len(numbers)) for key in keys]
    shape = (len(found), len(numbers))
    return sparse.csr_matrix((np.ones(len(found)), found, np.arange(len(found) + 1)), shape=shape)


_WORK: Final = ("dense", "depthwise", "grouped", "moved", "params", "launches", "blocks")


def _work(block: Block) -> tuple[float, ...]:
    """Return a block's figures, in the order of `_WORK`."""
    parts = convolutions(block)
    dense = sum(part.macs for part in parts if part.groups == 1)
    depthwise = sum(part.macs for part in parts if 1 < part.groups == part.in_channels)
    grouped = sum(part.macs for part in parts) - dense - depthwise
    moved = sum(part.values for part in parts)
    return dense, depthwise, grouped, moved, count_params(block), len(parts), 1


def _kind(block: Block) -> tuple[Any, ...]:
    expansion = round(block.hidden_channels / block.in_channels, 1)
    form = (block.operation, block.kernel, expansion, block.groups, block.edges)
    return (*form, block.activation, block.se_channels > 0, block.shortcut)


@dataclasses.dataclass(frozen=True)
class _Scales:
    """Prior variances of the levels and of the noise, relative to the mean time.

    Args:
        levels: name -> variance of one column of the level.
        noise: squared scale of the noise.
        theta: logarithms as the optimiser holds them, from which another search may start.
    """

    levels: Mapping[str, float]
    noise: float
    theta: Array


def _kernels(features: Any, levels: Sequence[str]) -> tuple[dict[str, float], Array]:
    """Return level -> the variance that it brings at unit scale, and its kernel divided by that.

    Columns that are the same for all these networks are left to the constant. Kernels have the
    shape (levels, n, n), the constant's first.
    """
    n = features.shape[0]
    mean = np.asarray(features.mean(axis=0)).ravel()
    square = np.asarray(features.multiply(features).mean(axis=0)).ravel()
    variance = square - mean**2
    differs = variance > 1e-12 * square
    names = np.array(levels, dtype=object)
    norms, kernels = {"constant": 1.0}, [np.ones((n, n))]
    for name in dict.fromkeys(levels):
        chosen = np.flatnonzero(differs & (names == name))
        if len(chosen):
            norms[name] = float(variance[chosen].sum())
            columns = features[:, chosen]
            kernels.append((columns @ columns.T).toarray() / norms[name])
    return norms, np.array(kernels)


def _find_scales(
    features: Any, levels: Sequence[str], target: Array, start: Mapping[str, float]
) -> _Scales:
    """Maximise the marginal likelihood over one scale a level, reweighting in between."""
    from scipy.optimize import minimize

    norms, kernels = _kernels(features, levels)
    theta = np.array([start.get(name, _START[0]) for name in (*norms, "")])
    theta[0] = start.get("constant", 2 * math.log(0.5))
    theta[-1] = start.get("noise", _START[1])
    weights = np.ones(len(target))
    for steps in _ROUNDS:
        result = minimize(
            _evidence,
            theta,
            args=(kernels, target, weights),
            jac=True,
            method="L-BFGS-B",
            bounds=[_BOUNDS] * len(theta),
            options={"maxiter": steps},
        )
        theta = result.x
        kernel = np.tensordot(np.exp(theta[:-1]), kernels, 1)
        weights = _dual_weights(kernel, target, weights, math.exp(theta[-1]))
    variances = np.exp(theta[:-1]) / np.array(list(norms.values()))
    return _Scales(dict(zip(norms, variances.tolist(), strict=True)), math.exp(theta[-1]), theta)


def _evidence(theta: Array, kernels: Array, target: Array, weights: Array) -> tuple[float, Array]:
    """Return the negative log posterior of log variances, and its gradient (R&W eq. 5.8, 5.9)."""
    scales = np.exp(theta)
    covariance = np.tensordot(scales[:-1], kernels, 1)
    covariance[np.diag_indices(len(target))] += scales[-1] / weights
    lower = np.linalg.cholesky(covariance)
    inverse = np.linalg.inv(covariance)
    alpha = inverse @ target
    away = theta - _PRIOR[0]
    value = target @ alpha / 2 + np.log(np.diag(lower)).sum() + _PRIOR[1] * (away @ away) / 2
    slope = inverse - np.outer(alpha, alpha)
    gradient = np.append(
        kernels.reshape(len(kernels), -1) @ slope.ravel(), (np.diag(slope) / weights).sum()
    )
    return float(value), scales * gradient / 2 + _PRIOR[1] * away


def _dual_weights(kernel: Array, target: Array, weights: Array, noise: float) -> Array:
    covariance = kernel + np.diag(noise / weights)
    gain = np.linalg.solve(covariance, kernel).T
    mean = gain @ target
    variance = np.diag(kernel) - np.einsum("ij,ji->i", gain, kernel)
    return _weights(target - mean, variance, noise)


def _weights(residuals: Array, variance: Array, noise: float) -> Array:
    """Return the expected precisions of t-distributed noise (Lange et al. 1989, eq. 3)."""
    expected = (residuals**2 + np.maximum(variance, 0)) / noise
    return np.asarray((_FREEDOM + 1) / (_FREEDOM + expected))


class _Posterior:
    """Effects of all columns given networks and scales, in the space that the networks span.

    Args:
        features: sparse, (n, columns).
        levels: level of each column.
        target: times relative to their mean, (n,).
        scales: found before.
    """

    def __init__(
        self, features: Any, levels: Sequence[str], target: Array, scales: _Scales
    ) -> None:
        self.target, self.noise = target, scales.noise
        self.root = np.sqrt([scales.levels.get(level, 0.0) for level in levels])
        self.constant = math.sqrt(scales.levels["constant"])
        self.active = np.flatnonzero(np.asarray(abs(features).sum(axis=0)).ravel())
        self.active = self.active[self.root[self.active] > 0]
        seen = features[:, self.active].toarray() * self.root[self.active]
        scaled = np.column_stack([np.full(len(target), self.constant), seen])
        left, singular, basis = np.linalg.svd(scaled, full_matrices=False)
        keep = singular > 1e-9 * singular[0]
        self.basis, self.rows = basis[keep], left[:, keep] * singular[keep]
        weights = np.ones(len(target))
        for _ in range(len(_ROUNDS)):
            self.mean, self.covariance = self._solve(weights)
            weights = _weights(target - self.rows @ self.mean, self._within(self.rows), self.noise)
        self.weights = weights
        self.mean, self.covariance = self._solve(weights)

    def _solve(self, weights: Array) -> tuple[Array, Array]:
        weighted = self.rows.T * (weights / self.noise)
        precision = weighted @ self.rows
        precision[np.diag_indices(len(precision))] += 1
        covariance = np.linalg.inv(precision)
        return covariance @ (weighted @ self.target), covariance

    def _within(self, rows: Array) -> Array:
        return np.asarray(((rows @ self.covariance) * rows).sum(axis=1))

    def held_out(self, rows: Array) -> tuple[Array, Array]:
        """Predict these rows of the networks from the others: means and deviations, noise in."""
        mean, covariance = self._solve(np.where(rows, 0.0, self.weights))
        part = self.rows[rows]
        variance = ((part @ covariance) * part).sum(axis=1)
        return part @ mean, np.sqrt(np.maximum(variance, 0) + self.noise)

    def lift(self, features: Any, value: float) -> bool:
        """Condition the mean on the network of one row having this value; False: too far off."""
        row = self.constant * self.basis[:, 0]
        row = row + self.basis[:, 1:] @ (
            self.root[self.active] * features[:, self.active].toarray()[0]
        )
        along = self.covariance @ row
        distance, variance = value - row @ self.mean, row @ along
        if distance**2 > _FARTHEST**2 * variance:
            return False
        self.mean = self.mean + along * distance / variance
        return True

    def effects(self) -> tuple[Array, float]:
        """Return the mean effect of each column, and of the constant."""
        spanned = self.basis.T @ self.mean
        effects = np.zeros(len(self.root))
        effects[self.active] = spanned[1:] * self.root[self.active]
        return effects, float(spanned[0]) * self.constant

    def variance(self, features: Any, *, constant: bool = True) -> Array:
        """Return the variance of sums of effects, without noise: (n, columns) -> (n,)."""
        found = np.empty(features.shape[0])
        onto = self.basis[:, 1:].T * self.root[self.active, None]
        for start in range(0, len(found), _CHUNK):
            part = features[start : start + _CHUNK]
            total = np.asarray(part.multiply(part) @ self.root**2).ravel()
            rows = part[:, self.active] @ onto
            if constant:
                total += self.constant**2
                rows += self.constant * self.basis[:, 0]
            beyond = np.maximum(total - (rows**2).sum(axis=1), 0)
            found[start : start + _CHUNK] = beyond + np.maximum(self._within(rows), 0)
        return found


@dataclasses.dataclass(frozen=True)
class FittedTable:
    """A latency table fitted to end-to-end times, and how sure its predictions are.

    The effects of blocks are correlated, for only their sums were seen: `predict` knows that,
    ``table.spread`` does not. The spread holds the entries' own standard errors, all multiplied
    with one factor, so that ``table.standard_error`` of a random network is on average what
    `predict` says.

    Args:
        table: one entry a choice; its constant is what all networks share.
        cv_mape: mean absolute error, in %, of networks held out by cross-validation.
        calibration: what standard errors were multiplied with, so that 90 % of those networks lie
            in their 90 % intervals.
        noise_ms: scale of the noise of one timing.
    """

    table: CostTable
    cv_mape: float
    calibration: float
    noise_ms: float
    _features: _Features = dataclasses.field(repr=False)
    _posterior: _Posterior = dataclasses.field(repr=False)
    _mean_ms: float = dataclasses.field(repr=False)

    def predict(self, genomes: Genomes) -> tuple[Array, Array]:
        """Return latencies and calibrated standard errors, in ms: (n, genes) -> (n,), (n,).

        A new timing lies within 1.645 standard errors of the latency in 90 % of all cases.

        Raises:
            InvalidGenome: of another space.
        """
        genomes = self.table.space.validate(genomes)
        variance = self._posterior.variance(self._features.of(genomes)) + self._posterior.noise
        return self.table(genomes), self.calibration * self._mean_ms * np.sqrt(variance)


def fit_table(space: Space, times: Times, *, device: str = "", batch: int = 1) -> FittedTable:
    """Fit a latency table of a space to end-to-end times.

    Deterministic. Ten networks are the least; a hundred random ones are usually worth it.

    Args:
        space: any space; its costs are assumed to add up over blocks.
        times: of distinct networks of the space, such as `read_times` gives.
        device: for the provenance; "": what the times say.
        batch: images a batch, for the provenance. `gmacs_per_s` there, the median of the networks,
            is what shows times that are all in another unit.

    Raises:
        UsageError: too few networks, times that are no times or all the same, or networks that lead
            to a table in which some network would take no time at all.
        InvalidGenome: a genome of another space.
    """
    genomes = space.validate(times.genomes)
    if len(genomes) < _FEWEST:
        raise UsageError(
            f"{len(genomes)} networks are too few to fit a table to; time {_FEWEST} or more, "
            "better 100, chosen at random"
        )
    if np.ptp(times.ms) == 0:
        raise UsageError(f"all networks take {times.ms[0]:g} ms; nothing can be learnt from that")
    mean_ms = float(times.ms.mean())
    target = times.ms / mean_ms
    model = _Features(space)
    features = model.of(genomes)
    scales = _scales_of(features, model.levels, target)
    posterior = _Posterior(features, model.levels, target, scales)
    held, errors = _cross_validate(features, model.levels, target, scales, posterior)
    _keep_positive(model, posterior, _FLOOR * float(target.min()))
    table = _table(space, model, posterior, mean_ms)
    fitted = FittedTable(
        table=table,
        cv_mape=100 * float(np.mean(np.abs(held / target - 1))),
        calibration=_quantile(np.abs(target - held) / errors) / _LEVEL_90,
        noise_ms=mean_ms * math.sqrt(scales.noise),
        _features=model,
        _posterior=posterior,
        _mean_ms=mean_ms,
    )
    return _finish(fitted, times, device, batch)


def _keep_positive(model: _Features, posterior: _Posterior, floor: float) -> None:
    """See to it that no network takes less than no time.

    The fastest networks of a space are far from random ones, so that a few networks say little of
    them. The sum of the fastest entries is taken to last `floor` where it would be 0 or less.
    """
    starts = (*model.starts, model.entries)
    for _ in range(_LIFTS):
        effects, constant = posterior.effects()
        values = np.where(model.known, model.matrix @ effects, np.inf)
        fastest = [start + int(np.argmin(values[start:end])) for start, end in pairwise(starts)]
        if constant + values[fastest].sum() > 0:
            return
        if not posterior.lift(sum(model.matrix[[row]] for row in fastest), floor):
            break
    raise UsageError(
        f"by the fitted table some networks would take no time at all: {len(posterior.target)} "
        "networks do not say enough; time more, and small ones among them"
    )


def _scales_of(
    features: Any, levels: Sequence[str], target: Array, start: _Scales | None = None
) -> _Scales:
    n = len(target)
    chosen = np.unique(np.linspace(0, n - 1, min(n, _SEARCHED)).astype(int))
    logs = {}
    if start is not None:
        logs = dict(zip((*start.levels, "noise"), start.theta.tolist(), strict=True))
    return _find_scales(features[chosen], levels, target[chosen], logs)


def _cross_validate(
    features: Any, levels: Sequence[str], target: Array, scales: _Scales, posterior: _Posterior
) -> tuple[Array, Array]:
    """Return predictions of each network from those of the other folds, and their deviations."""
    held, errors = np.empty(len(target)), np.empty(len(target))
    fold = np.arange(len(target)) % _FOLDS
    for number in range(_FOLDS):
        out = fold == number
        if len(target) > _REFIT:
            held[out], errors[out] = posterior.held_out(out)
            continue
        own = _scales_of(features[~out], levels, target[~out], scales)
        model = _Posterior(features[~out], levels, target[~out], own)
        effects, constant = model.effects()
        held[out] = features[out] @ effects + constant
        errors[out] = np.sqrt(model.variance(features[out]) + model.noise)
    return held, errors


def _quantile(ratios: Array) -> float:
    """Return the 90 % quantile, with the conformal correction for few networks."""
    rank = min(math.ceil(0.9 * (len(ratios) + 1)), len(ratios))
    return float(np.sort(ratios)[rank - 1])


def _table(space: Space, model: _Features, posterior: _Posterior, mean_ms: float) -> CostTable:
    effects, constant = posterior.effects()
    values = np.where(model.known, model.matrix @ effects, np.nan) * mean_ms
    variances = posterior.variance(model.matrix, constant=False)
    errors = np.where(model.known, np.sqrt(variances), np.nan) * mean_ms
    return CostTable(
        "latency",
        "ms",
        space,
        _per_slot(space, model, values),
        _per_slot(space, model, errors),
        constant=constant * mean_ms,
    )


def _per_slot(space: Space, model: _Features, values: Array) -> tuple[Array, ...]:
    """Cut a vector over entries into one array a slot; what is the same for all takes 0."""
    starts = iter(model.starts)
    arrays = []
    for slot in space.slots:
        start = next(starts) if slot.shape else 0
        size = math.prod(slot.shape) if slot.shape else 0
        arrays.append(values[start : start + size].reshape(slot.shape) if size else np.zeros(()))
    return tuple(arrays)


def _finish(fitted: FittedTable, times: Times, device: str, batch: int) -> FittedTable:
    """Scale the spread to what `predict` says, and add noise grid and provenance."""
    table, space = fitted.table, fitted.table.space
    genomes = sample_uniform(space.sizes, _SAMPLE, np.random.default_rng(0))
    errors, own = fitted.predict(genomes)[1], table.standard_error(genomes)
    factor = float(np.sqrt(np.mean(errors**2) / np.mean(own**2)))
    variance = fitted._posterior.variance(fitted._features.of(genomes))  # noqa: SLF001 - its own
    known = fitted.calibration * fitted._mean_ms * float(np.sqrt(np.median(variance)))  # noqa: SLF001
    macs = batch * count_table(space, "macs")(space.validate(times.genomes))
    provenance = {
        "method": "fitted",
        "device": device or times.device,
        "precision": times.precision or "not stated",
        "source": Path(times.source).name,
        "networks": len(times.ms),
        **of_batch(batch),
        "gmacs_per_s": statistics.median(map(speed, macs.tolist(), times.ms.tolist())),
        "cv_mape": fitted.cv_mape,
        "calibration": fitted.calibration,
        "noise_ms": fitted.noise_ms,
        "standard_error_ms": float(np.median(errors)),
    }
    spread = tuple(factor * array for array in table.spread)
    finished = dataclasses.replace(
        table, spread=spread, grid=noise_grid(known), provenance=provenance
    )
    return dataclasses.replace(fitted, table=finished)
