"""Latency from a data sheet, an engine's fusion rules and a few fitted parameters.

A kernel (`moga.devices.kernels`) takes the smooth maximum of computing and moving data,
``t = sqrt(computing^2 + moving^2)``:

- ``computing = operations / (peak e) (1 + occupancy units / tiles)``: dense convolutions run at the
  peak of the matrix units times `e_dense`; tiles are 64 x 64 outputs, and too few of them leave
  units idle. Depthwise ones run at the vector peak times `e_depthwise`, others with groups at the
  vector peak times `e_grouped` and an eighth of the channels of a group.
- ``moving = bytes / (bandwidth e_memory)``.

An engine adds the kernels up in one of two ways:

- additive (TensorRT, XLA, phones): ``sum t + kernels t_kernel + groups t_group + t_fixed``, and the
  copy of the input image to the device where the measurements include it;
- launching (PyTorch's and TensorFlow's eager mode): the slower, as 6-norm, of the device
  (``sum t``) and of the host that launches (``kernels t_kernel + groups t_group``).

Parameters have log-normal priors (`ENGINES`), so that a device of which little or nothing is
measured still gets a time: with its error said.
"""

import dataclasses
import json
import math
import warnings
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from importlib import resources
from types import MappingProxyType
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from moga.contracts import Progress, Silent, is_count, is_number
from moga.devices.base import Latency, check_batch, of_batch
from moga.devices.kernels import (
    GROUPED,
    TYPES,
    Kernel,
    KernelArrays,
    Rates,
    Rules,
    fuse,
    kernel_ms,
    rules,
)
from moga.devices.leastsquares import least_squares
from moga.devices.spacekernels import SpaceKernels, space_kernels
from moga.errors import UnknownName, UsageError
from moga.network import Network
from moga.networks.operations import Operation, operations
from moga.spaces.base import Space
from moga.spaces.cost import FINISHES, CostTable

__all__ = [
    "ENGINES",
    "DataSheet",
    "Engine",
    "OutsideCalibration",
    "Prior",
    "RooflineDevice",
    "Timing",
    "batches_text",
    "data_sheet",
    "data_sheets",
]

_BYTES: Final = {"fp32": 4, "tf32": 4, "fp16": 2, "bf16": 2, "int8": 1}
_NOISE: Final = 0.08
"""What a good fit leaves over, relative: weighs a timing against the priors."""
_GROUPED_NOISE: Final = 0.7
"""What it leaves over of the time of convolutions with groups, relative: the root mean square of
left-out errors over shares of 18 networks in six published tables (.1 to 1.5 in a table)."""
_FEW: Final = 8
"""Below 8 networks what the formula lacks for one of them would be taken for all: the noise counts
sqrt(8 / networks) times, and what is left over of grouped convolutions is added."""
_FEWEST_FOR_ERROR: Final = 4
_MEAN_OF_SPREAD: Final = math.sqrt(2 / math.pi)
"""The mean absolute error where errors are normal, over their standard deviation."""
_ABSURD: Final = 100
"""A time so many times off what the priors say is of another unit or network."""


class OutsideCalibration(UserWarning):
    """A latency rests on kernels, a batch, or a device, that nothing was measured of."""


@dataclasses.dataclass(frozen=True)
class DataSheet:
    """What a device's maker says of it.

    Args:
        name: as `data_sheet` takes it.
        title: in full.
        units: that work side by side: multiprocessors, cores.
        bandwidth: of its memory, 10^9 bytes a second.
        matrix: precision -> 10^12 operations a second of its matrix units.
        vector: precision -> 10^12 operations a second of its other units.
        engine: what usually runs networks on it; a key of `ENGINES`.
        precision: at which.
        source: where the figures stand.

    Raises:
        UsageError: a figure that is not a finite number above 0, or of an unknown precision.
    """

    name: str
    title: str
    units: int
    bandwidth: float
    matrix: Mapping[str, float]
    vector: Mapping[str, float]
    engine: str
    precision: str
    source: str

    def __post_init__(self) -> None:
        if not is_count(self.units, 1):
            raise UsageError(
                f"data sheet {self.name}: units is {self.units!r}; give an integer of 1 or more"
            )
        figures = {"bandwidth": self.bandwidth}
        for kind, peaks in (("matrix", self.matrix), ("vector", self.vector)):
            figures |= {f"{kind} {precision}": peak for precision, peak in peaks.items()}
            if unknown := sorted(set(peaks) - set(_BYTES)):
                raise UsageError(
                    f"data sheet {self.name}: {kind} has the precision {unknown[0]!r}; known: "
                    f"{', '.join(_BYTES)}"
                )
        for key, value in figures.items():
            if not (is_number(value) and value > 0):
                raise UsageError(
                    f"data sheet {self.name}: {key} is {value!r}; give a number above 0"
                )


@dataclasses.dataclass(frozen=True)
class Prior:
    """A log-normal prior of a positive parameter.

    Args:
        value: its median.
        width: standard deviation of its logarithm; .7 is a factor of two.
    """

    value: float
    width: float


@dataclasses.dataclass(frozen=True)
class Engine:
    """How an engine's times come about.

    Args:
        name: a key of `ENGINES`, and of `kernels.RULES`.
        launching: whether the host's launches run beside the device's work.
        priors: parameter -> prior; efficiencies are ratios, times microseconds.
        prior_spread: relative standard error of the priors alone, from the published tables.
    """

    name: str
    launching: bool
    priors: Mapping[str, Prior]
    prior_spread: float

    @property
    def medians(self) -> dict[str, float]:
        """The parameters that priors alone give."""
        return {key: prior.value for key, prior in self.priors.items()}

    @property
    def rules(self) -> Rules:
        """What it fuses."""
        return rules(self.name)


_GROUPS: Final = {"e_grouped": Prior(0.1, 0.8), "e_depthwise": Prior(0.1, 0.7)}
_LAUNCHING: Final = {
    "e_dense": Prior(0.45, 0.4),
    "e_memory": Prior(0.55, 0.3),
    **_GROUPS,
    "t_kernel_us": Prior(35.0, 0.5),
    "t_group_us": Prior(10.0, 0.7),
}
_TENSORRT: Final = {
    "e_dense": Prior(0.75, 0.4),
    "e_memory": Prior(0.7, 0.3),
    **_GROUPS,
    "occupancy": Prior(3.0, 0.8),
    "t_kernel_us": Prior(8.0, 0.6),
    "t_group_us": Prior(1.0, 1.5),
    "t_fixed_us": Prior(500.0, 0.7),
}
_XLA: Final = {
    "e_dense": Prior(0.5, 0.4),
    "e_memory": Prior(0.7, 0.3),
    **_GROUPS,
    "occupancy": Prior(1.0, 1.0),
    "t_kernel_us": Prior(10.0, 1.0),
}
_MOBILE: Final = {
    "e_dense": Prior(0.6, 0.4),
    "e_memory": Prior(0.65, 0.3),
    **_GROUPS,
    "t_kernel_us": Prior(60.0, 1.0),
    "t_fixed_us": Prior(500.0, 1.0),
}

ENGINES: Final[Mapping[str, Engine]] = MappingProxyType(
    {
        engine.name: engine
        for engine in (
            Engine("pytorch", True, _LAUNCHING, 0.25),
            Engine("tensorflow", True, _LAUNCHING, 0.25),
            Engine("tensorrt", False, _TENSORRT, 0.6),
            Engine("xla", False, _XLA, 0.5),
            Engine("mobile", False, _MOBILE, 0.5),
        )
    }
)
"""Engine -> how it adds up, and its priors: at most 8 parameters. Their medians are round numbers
near what the published tables give; `benchmarks/latency_models.py` prints their error."""


@dataclasses.dataclass(frozen=True)
class Timing:
    """One measured time of a network.

    Args:
        subject: a network, or the operations of one (`moga.networks.watch`).
        ms: milliseconds a batch.
        batch: images a batch.
        name: what tells networks apart where one is left out to know the error; "": each its own.
        step_ms: the step to which `ms` is rounded, in ms a batch; 0: none.
    """

    subject: Network | tuple[Operation, ...]
    ms: float
    batch: int = 1
    name: str = ""
    step_ms: float = 0.0


def _operations(subject: Network | Sequence[Operation]) -> Sequence[Operation]:
    if isinstance(subject, Network):
        return [operation for block in subject for operation in operations(block)]
    return subject


@dataclasses.dataclass(frozen=True)
class _Work:
    """Kernels of several subjects, each subject with a batch of its own.

    Args:
        kernels: one owner a subject; a kernel at two batches stands twice.
        batch: of each kernel, shape (kernels,).
        copied: FP32 numbers of a subject's input batch, shape (subjects,).
    """

    kernels: KernelArrays
    batch: NDArray[np.float64]
    copied: NDArray[np.float64]

    @classmethod
    def of(
        cls,
        subjects: Sequence[Network | tuple[Operation, ...]],
        batches: Sequence[int],
        rule: Rules,
    ) -> "_Work":
        fused = {id(subject): _fused(subject, rule) for subject in subjects}
        position: dict[tuple[int, Kernel], int] = {}
        uses: list[int] = []
        for subject, batch in zip(subjects, batches, strict=True):
            keys = [(batch, kernel) for kernel in fused[id(subject)]]
            uses.extend(position.setdefault(key, len(position)) for key in keys)
        columns = np.array([kernel for _, kernel in position], dtype=np.float64)
        columns = columns.reshape(-1, len(Kernel._fields)).T
        lengths = [len(fused[id(subject)]) for subject in subjects]
        owner = np.repeat(np.arange(len(lengths)), lengths)
        kernels = KernelArrays(np.ascontiguousarray(columns), np.array(uses), owner, len(lengths))
        numbers = [_operations(subject)[0].read for subject in subjects]
        copied = np.array(numbers, np.float64) * np.array(batches)
        return cls(kernels, np.array([batch for batch, _ in position], np.float64), copied)


def _fused(subject: Network | tuple[Operation, ...], rule: Rules) -> list[Kernel]:
    if isinstance(subject, Network):
        return [kernel for block in subject for kernel in fuse(operations(block), rule)]
    return fuse(subject, rule)


class RooflineDevice:
    """A device known by its data sheet and a few parameters; satisfies `Device`.

    Args:
        name: what users call it.
        sheet: of the hardware, or its name.
        engine: a key of `ENGINES`; "": the sheet's.
        precision: "": the sheet's.
        batch: images a batch.
        parameters: those of the engine; what is missing keeps its prior's median.
        spread: relative standard error of a network's time; None: the engine's for priors alone.
        error: mean absolute error, relative, of networks that were left out; None: none were, and
            what the spread lets expect takes its place.
        covered: types of kernels (`kernels.TYPES`) that the calibration has seen.
        batches: of the timings that it rests on; () where that is not known.
        copy_gbs: 10^9 bytes a second at which the FP32 input is copied to the device within the
            measured time; 0: it is not.
        source: of the measurements behind the parameters.

    Raises:
        UnknownName: no such sheet or engine.
        UsageError: a precision without a peak, a batch below 1, an unknown parameter, one that is
            not above 0, or a number that is none.
    """

    def __init__(
        self,
        name: str,
        sheet: DataSheet | str,
        *,
        engine: str = "",
        precision: str = "",
        batch: int = 1,
        parameters: Mapping[str, float] | None = None,
        spread: float | None = None,
        error: float | None = None,
        covered: Iterable[str] = (),
        batches: Iterable[int] = (),
        copy_gbs: float = 0.0,
        source: str = "",
    ) -> None:
        self.sheet = data_sheet(sheet) if isinstance(sheet, str) else sheet
        self.name = name
        self.engine = _engine(engine or self.sheet.engine)
        self.precision = precision or self.sheet.precision
        if self.precision not in self.sheet.matrix or self.precision not in self.sheet.vector:
            raise UsageError(
                f"no peak of {self.sheet.name} is known for the precision {self.precision!r}; "
                f"known: {', '.join(self.sheet.matrix)}"
            )
        self.batch = check_batch(batch)
        medians = self.engine.medians
        if unknown := sorted(set(parameters or {}) - set(medians)):
            raise UsageError(
                f"the engine {self.engine.name} has no parameters {', '.join(unknown)}; it has: "
                f"{', '.join(medians)}"
            )
        self.parameters: Mapping[str, float] = MappingProxyType({**medians, **(parameters or {})})
        for key, value in self.parameters.items():
            if not (is_number(value) and value > 0):
                raise UsageError(f"the parameter {key} is {value!r}; give a number above 0")
        given = {"spread": spread, "error": error, "copy_gbs": copy_gbs}
        for key, number in given.items():
            if number is not None and not (is_number(number) and number >= 0):
                raise UsageError(f"{key} is {number!r}; give a number, 0 or more")
        self.spread = self.engine.prior_spread if spread is None else spread
        self._error = error
        self.covered, self.batches = (
            frozenset(covered),
            tuple(sorted({int(one) for one in batches})),
        )
        self.copy_gbs, self.source = copy_gbs, source

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name!r})"

    @property
    def calibrated(self) -> bool:
        """Whether its parameters were fitted to measurements."""
        return bool(self.covered)

    @property
    def error(self) -> float:
        """The mean absolute error, relative, that a network's time is expected to have."""
        return _MEAN_OF_SPREAD * self.spread if self._error is None else self._error

    @property
    def error_kind(self) -> str:
        """What `error` was found by: "networks left out", or "priors alone"."""
        return "priors alone" if self._error is None else "networks left out"

    @property
    def provenance(self) -> dict[str, Any]:
        """All that decides its times, as JSON values."""
        return {
            "method": "roofline",
            "device": self.name,
            "hardware": self.sheet.title,
            "engine": self.engine.name,
            "precision": self.precision,
            **of_batch(self.batch),
            "parameters": dict(self.parameters),
            "calibrated": self.calibrated,
            "calibrated_batches": list(self.batches),
            "error_percent": round(100 * self.error, 1),
            "error_kind": self.error_kind,
            "spread_percent": round(100 * self.spread, 1),
            "source": self.source or "not calibrated: priors alone",
        }

    def with_batch(self, batch: int) -> "RooflineDevice":
        """Return the same device with another batch.

        Raises:
            UsageError: a batch below 1.
        """
        return self._changed(batch=batch)

    def _changed(self, **values: Any) -> "RooflineDevice":
        arguments: dict[str, Any] = {
            "engine": self.engine.name,
            "precision": self.precision,
            "batch": self.batch,
            "parameters": self.parameters,
            "spread": self.spread,
            "error": self._error,
            "covered": self.covered,
            "batches": self.batches,
            "copy_gbs": self.copy_gbs,
            "source": self.source,
        }
        return RooflineDevice(self.name, self.sheet, **{**arguments, **values})

    def latency(self, network: Network) -> Latency:
        """Predict one network. Warns (`OutsideCalibration`) where its like was never measured.

        Its spread is the standard error of networks that the calibration had not seen.
        """
        return self._latency(network)

    def predict(self, traced: Sequence[Operation]) -> Latency:
        """Predict a network known by its operations (`moga.networks.watch`); as `latency` else."""
        return self._latency(tuple(traced))

    def _latency(self, subject: Network | tuple[Operation, ...]) -> Latency:
        work = _Work.of([subject], [self.batch], self.engine.rules)
        for text in self.outside(work.kernels):
            warnings.warn(text, OutsideCalibration, stacklevel=3)
        ms = float(self._predict(work, self.parameters)[0])
        return Latency(ms, self.spread * ms, 0, "roofline", self.batch)

    def predict_timings(self, timings: Sequence[Timing]) -> NDArray[np.float64]:
        """Predict the subjects of timings at their batches: ms a batch, shape (timings,)."""
        return self._predict(_work_of(timings, self.engine.rules), self.parameters)

    def outside(self, kernels: KernelArrays) -> list[str]:
        """Say what the calibration has not seen: the batch, kinds of kernels; [] where it has all.

        A batch between two that were measured counts as seen.
        """
        if not self.calibrated:
            return [
                f"{self.name} is not calibrated: times rest on its data sheet and priors alone, "
                f"and are off by about {100 * self.error:.0f} %"
            ]
        texts = []
        if self.batches and not self.batches[0] <= self.batch <= self.batches[-1]:
            texts.append(
                f"{self.name}: predicts at batch {self.batch}, but was calibrated at batch "
                f"{batches_text(self.batches)}, so that its times are extrapolated and its error "
                "is not known there"
            )
        kinds = _types(kernels) - self.covered
        hint = {"grouped": "; grouped convolutions on a new engine can be off by a factor of 4"}
        return texts + [
            f"{self.name}: no measured network had {kind} kernels, so that their times rest on "
            f"priors{hint.get(kind, '')}"
            for kind in sorted(kinds)
        ]

    def table(self, space: Space, progress: Progress | None = None) -> CostTable:
        """Return the latency of every network of a space; a slot's blocks are predicted once each.

        It has no noise grid. A grid lets networks tie that repeated timing could not tell apart;
        a prediction has no such noise, and what it is off by is much alike for networks that are
        much alike, so that rounding by the spread (a tenth of a latency) would only lose order.

        Args:
            space: any whose first slot always yields a block.
            progress: is told what lies outside the calibration.

        Raises:
            UsageError: a space too large to list, or whose first slot can be empty.
        """
        found = space_kernels(space, self.engine.rules)
        outside = self.outside(found.kernels)
        for text in outside:
            (progress or Silent()).note(text)
        columns = self._columns(found.kernels, np.float64(self.batch), self.parameters)
        blocks = [found.kernels.total(column) for column in columns]
        constant = self.parameters.get("t_fixed_us", 0.0) / 1e3
        return CostTable(
            "latency",
            "ms",
            space,
            self._arrays(found, blocks),
            constant=constant,
            provenance={**self.provenance, "outside": outside},
            finish=_FINISH if self.engine.launching else "",
            relative_error=self.spread,
        )

    def _arrays(
        self, found: SpaceKernels, blocks: Sequence[NDArray[np.float64]]
    ) -> tuple[NDArray[np.float64], ...]:
        arrays = []
        for number in range(len(found.slots)):
            columns = [found.slots[number].add(column) for column in blocks]
            if number == 0 and self.copy_gbs:
                columns[0] = columns[0] + self._copy_ms(found.image * self.batch)
            arrays.append(np.stack(columns, axis=-1) if len(columns) > 1 else columns[0])
        return tuple(arrays)

    def _copy_ms(self, numbers: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.asarray(4 * numbers / (self.copy_gbs * 1e6))

    def _columns(
        self, kernels: KernelArrays, batch: Any, parameters: Mapping[str, float]
    ) -> list[NDArray[np.float64]]:
        """Return what adds up over kernels, in ms: [device, host] or one; each (kernels,)."""
        device = kernel_ms(kernels, batch, self._rates(parameters))
        grouped = kernels.column("groups") * (kernels.column("type") == GROUPED)
        each = parameters["t_kernel_us"] + parameters.get("t_group_us", 0.0) * grouped
        if self.engine.launching:
            return [device, each / 1e3]
        return [device + each / 1e3]

    def _rates(self, parameters: Mapping[str, float]) -> Rates:
        vector, item = self.sheet.vector[self.precision], _BYTES[self.precision]
        memory = self.sheet.bandwidth * parameters["e_memory"]
        return Rates(  # 10^12 operations a second are 500 * 10^9 multiply-adds a second
            dense=500 * self.sheet.matrix[self.precision] * parameters["e_dense"],
            depthwise=500 * vector * parameters["e_depthwise"],
            grouped=500 * vector * parameters["e_grouped"],
            values=memory / item,
            wide=memory / max(item, 2),
            idle=parameters.get("occupancy", 0.0) * self.sheet.units,
        )

    def _predict(self, work: _Work, parameters: Mapping[str, float]) -> NDArray[np.float64]:
        """Return the time of each subject in ms, shape (subjects,)."""
        columns = self._columns(work.kernels, work.batch, parameters)
        sums = np.stack([work.kernels.total(column) for column in columns], axis=1)
        if self.copy_gbs:
            sums[:, 0] += self._copy_ms(work.copied)
        total = FINISHES[_FINISH].function(sums) if self.engine.launching else sums[:, 0]
        return np.asarray(total + parameters.get("t_fixed_us", 0.0) / 1e3)

    def calibrate(
        self, timings: Sequence[Timing], *, source: str = "your measurements"
    ) -> "RooflineDevice":
        """Fit the parameters to measured networks: least squares of log times, and the priors.

        Every number of networks helps: what a few do not determine stays near its prior; none at
        all leaves the priors alone, whatever this device was calibrated with. Error and spread are
        those of networks left out in turn, of 4 networks on; before, those of the priors.

        Args:
            timings: of any batches.
            source: of the measurements.

        Raises:
            UsageError: a time that is not above 0 or a hundred times off what the data sheet lets
                expect, or a network that stands twice at one batch, naming it.
        """
        if not timings:
            return self._changed(
                parameters={}, spread=None, error=None, covered=(), batches=(), source=""
            )
        parameters = self.fit(timings)
        names = sorted({_name_of(index, timing) for index, timing in enumerate(timings)})
        spread = error = None
        if len(names) >= _FEWEST_FOR_ERROR:
            left_out = self.left_out(timings)
            spread = float(np.sqrt(np.mean(left_out**2)))
            error = float(np.mean(np.abs(np.expm1(left_out))))
        return self._changed(
            parameters=parameters,
            spread=spread,
            error=error,
            covered=_types(_work_of(timings, self.engine.rules).kernels),
            batches=[timing.batch for timing in timings],
            source=source,
        )

    def left_out(
        self, timings: Sequence[Timing], groups: Sequence[str] | None = None
    ) -> NDArray[np.float64]:
        """Return log(predicted / measured) of each timing, its own network left out of the fit.

        Args:
            timings: of at least two networks.
            groups: one name a timing: what is left out together; None: the networks.

        Raises:
            UsageError: fewer than two groups, or as `calibrate`.
        """
        groups = groups or [_name_of(index, timing) for index, timing in enumerate(timings)]
        if len(set(groups)) < 2:
            raise UsageError("to leave one out, give timings of two networks or more")
        errors = np.empty(len(timings))
        for group in sorted(set(groups)):
            inside = np.array([name == group for name in groups])
            kept = [t for t, out in zip(timings, inside, strict=True) if not out]
            tested = [t for t, out in zip(timings, inside, strict=True) if out]
            fitted = self._changed(parameters=self.fit(kept))
            measured = np.array([timing.ms for timing in tested])
            errors[inside] = np.log(fitted.predict_timings(tested) / measured)
        return errors

    def fit(self, timings: Sequence[Timing]) -> dict[str, float]:
        """Return the parameters that measured networks and priors give.

        Below 8 networks a timing weighs less, and less again where much of its time is that of
        convolutions with groups, which the formula describes badly.

        Raises:
            UsageError: no timings, or as `calibrate`.
        """
        _check(timings)
        work = _work_of(timings, self.engine.rules)
        priors = self.engine.priors
        self._check_absurd(timings, work)
        start = np.log([prior.value for prior in priors.values()])
        width = np.array([prior.width for prior in priors.values()])
        ms = np.array([timing.ms for timing in timings])
        steps = np.array([timing.step_ms for timing in timings])
        rounding = steps / math.sqrt(12) / ms  # the error of a rounded value is uniform
        networks = len({_name_of(index, timing) for index, timing in enumerate(timings)})
        few = max(1.0, _FEW / networks)
        grouped = _GROUPED_NOISE * self._grouped_share(work)
        left_over = np.sqrt(few * _NOISE**2 + (few - 1) * grouped**2)
        noise = np.hypot(left_over * np.sqrt(_repeats(timings)), rounding)

        def residuals(x: NDArray[np.float64]) -> NDArray[np.float64]:
            predicted = self._predict(work, dict(zip(priors, np.exp(x), strict=True)))
            return np.concatenate([np.log(predicted / ms) / noise, (x - start) / width])

        found = least_squares(residuals, start)
        return dict(zip(priors, np.exp(found).tolist(), strict=True))

    def _check_absurd(self, timings: Sequence[Timing], work: _Work) -> None:
        for index, expected in enumerate(self._predict(work, self.engine.medians)):
            ms = timings[index].ms
            if not expected / _ABSURD < ms < expected * _ABSURD:
                raise UsageError(
                    f"timing {index} ({timings[index].name or 'unnamed'}) is {ms:g} ms at batch "
                    f"{timings[index].batch}, where {self.sheet.name}'s data sheet lets expect "
                    f"about {expected:.3g}; give milliseconds a batch of this network"
                )

    def _grouped_share(self, work: _Work) -> NDArray[np.float64]:
        """Return which part of each subject's time goes to grouped convolutions, by the priors.

        Of an engine that launches, the larger of the device's part and the host's.
        """
        grouped = work.kernels.column("type") == GROUPED
        columns = self._columns(work.kernels, work.batch, self.engine.medians)
        total = work.kernels.total
        shares = [total(column * grouped) / total(column) for column in columns]
        return np.asarray(np.max(shares, axis=0))


_FINISH: Final = "smooth_maximum_of_2"


def _types(kernels: KernelArrays) -> set[str]:
    return {TYPES[int(kind)] for kind in np.unique(kernels.column("type"))}


def _name_of(index: int, timing: Timing) -> str:
    return timing.name or f"#{index}"


def _repeats(timings: Sequence[Timing]) -> NDArray[np.float64]:
    """Return how many timings each one's network has: its errors at all batches are much alike."""
    counts = Counter(_name_of(index, timing) for index, timing in enumerate(timings))
    return np.array([counts[_name_of(i, timing)] for i, timing in enumerate(timings)], np.float64)


def _work_of(timings: Sequence[Timing], rule: Rules) -> _Work:
    return _Work.of([t.subject for t in timings], [t.batch for t in timings], rule)


def _check(timings: Sequence[Timing]) -> None:
    if not timings:
        raise UsageError("a calibration needs the time of one network at least; got none")
    first: dict[tuple[Network | tuple[Operation, ...], int], int] = {}
    for index, timing in enumerate(timings):
        which = f"timing {index} ({timing.name or 'unnamed'})"
        if not (is_number(timing.ms) and timing.ms > 0 and is_count(timing.batch, 1)):
            raise UsageError(
                f"{which} is {timing.ms!r} ms at batch {timing.batch!r}; expected a finite time "
                "above 0, and a batch of 1 or more"
            )
        if not (is_number(timing.step_ms) and timing.step_ms >= 0):
            raise UsageError(
                f"{which} is rounded to {timing.step_ms!r} ms; expected a step of 0 or more"
            )
        same = first.setdefault((timing.subject, timing.batch), index)
        if same != index:
            raise UsageError(
                f"{which} is of the same network and batch as "
                f"timing {same}; give each once, such as the mean of several"
            )


def batches_text(batches: Sequence[int]) -> str:
    """Return the batches that a calibration covers, in ascending order, as text.

    Example:
        >>> batches_text((1, 2, 4)), batches_text((128,))
        ('1 to 4', '128')
    """
    first, last = batches[0], batches[-1]
    return f"{first}" if first == last else f"{first} to {last}"


def _engine(name: str) -> Engine:
    if name not in ENGINES:
        raise UnknownName("engine", name, ENGINES)
    return ENGINES[name]


@cache
def data_sheets() -> Mapping[str, DataSheet]:
    """Return the data sheets that ship with moga, by name."""
    file = resources.files("moga.devices.catalog").joinpath("data_sheets.json")
    content = json.loads(file.read_text(encoding="utf-8"))
    return MappingProxyType({sheet["name"]: DataSheet(**sheet) for sheet in content["sheets"]})


def data_sheet(name: str) -> DataSheet:
    """Return a data sheet.

    Raises:
        UnknownName: no such sheet; lists near names.
    """
    if name not in data_sheets():
        raise UnknownName("data sheet", name, data_sheets())
    return data_sheets()[name]
