"""What the layers say to each other: genes, objectives, outcomes, problems, and four protocols.

    ask -> cheap costs (tables) -> limits -> executor (accuracy) -> journal -> archive -> tell

Values are frozen; nobody changes an argument. In shapes, ``n`` is a number of genomes, ``genes``
the length of a genome and ``objectives`` the number of objectives. A *cost* is an objective turned
so that lower is better.
"""

import dataclasses
import math
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, Literal, Protocol, cast, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from moga.errors import InvalidObjective, UnknownName
from moga.network import Network

__all__ = [
    "METRIC",
    "METRICS",
    "Bounded",
    "Costs",
    "Evaluator",
    "Executor",
    "Failed",
    "Gene",
    "Genome",
    "Genomes",
    "Measured",
    "Metric",
    "Objective",
    "Observations",
    "Outcome",
    "Problem",
    "Progress",
    "Searcher",
    "Silent",
    "Ticket",
    "costs_of",
    "is_count",
    "is_number",
    "parse_constraint",
    "parse_objective",
    "violations_of",
]


def is_number(value: Any) -> bool:
    """Whether a value is a finite number; True, False and texts are none.

    Example:
        >>> [is_number(value) for value in (3, 0.5, np.float32(2), True, "3", math.nan, math.inf)]
        [True, True, True, False, False, False, False]
    """
    number = isinstance(value, int | float | np.integer | np.floating)
    return number and not isinstance(value, bool) and bool(-math.inf < value < math.inf)


def is_count(value: Any, least: int = 0) -> bool:
    """Whether a value is an integer of `least` or more; True and False are none.

    Example:
        >>> [is_count(value, 1) for value in (1, np.int64(2), 0, 1.0, True, "1")]
        [True, True, False, False, False, False]
    """
    whole = isinstance(value, int | np.integer) and not isinstance(value, bool)
    return whole and bool(value >= least)


Genome = tuple[int, ...]
"""One architecture: for each gene, the index of its value."""

Genomes = NDArray[np.int64]
"""Several architectures, shape (n, genes)."""

Costs = NDArray[np.float64]
"""Lower is better, shape (n, objectives); nan where unknown or failed."""


@dataclasses.dataclass(frozen=True)
class Gene:
    """One decision of a space; `genome[i]` indexes `values` of gene `i`.

    Args:
        name: unique within the space.
        group: the stage, layer or super-block that it belongs to.
        kind: whether neighbouring values are alike ("ordinal") or not ("categorical").
        values: at least one; what blocks are made from.
        factors: sizes whose product is `len(values)` where a value is itself a combination, the
            first varying slowest: MoGA's 12 choices are (2 expansions, 3 kernels, 2 SE).
    """

    name: str
    group: str
    kind: Literal["ordinal", "categorical"]
    values: tuple[Any, ...]
    factors: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if not self.values:
            raise ValueError(f"gene {self.name!r} has no values")
        if self.factors and math.prod(self.factors) != len(self.values):
            raise ValueError(
                f"gene {self.name!r}: factors {self.factors} do not multiply to its "
                f"{len(self.values)} values"
            )

    def __len__(self) -> int:
        return len(self.values)


@dataclasses.dataclass(frozen=True)
class Metric:
    """A quantity that a network has, its unit and which way is better by its nature."""

    name: str
    unit: str
    direction: Literal["min", "max"]
    description: str


METRICS: Final[Mapping[str, Metric]] = {
    metric.name: metric
    for metric in (
        Metric("accuracy", "%", "max", "top-1 accuracy on held-out images"),
        Metric("latency", "ms", "min", "time of one batch on the device"),
        Metric("params", "", "min", "trainable parameters"),
        Metric("macs", "", "min", "multiply-adds of one image; a multiply-add counts one"),
    )
}
"""The metrics that moga knows. Objectives and limits may name an evaluator's own besides."""


@dataclasses.dataclass(frozen=True)
class Objective:
    """What is optimised or limited, and how.

    Args:
        metric: a key of `METRICS`, or what an evaluator calls a metric of its own.
        direction: "min" or "max".
        weight: its share in weighted crowding (MoGA Eq. 5); 0 or more. Those of a
            search sum to 1; where none is given, all are 1, which is the same for each.
        lower: the smallest value allowed.
        upper: the largest value allowed.
        device: which device is meant where a search has several; "" for the only one.
        optimised: False for a mere limit (`constraints=`).

    Raises:
        InvalidObjective: a number out of range, or what is no name of a metric.
    """

    metric: str
    direction: Literal["min", "max"]
    weight: float = 1.0
    lower: float = -math.inf
    upper: float = math.inf
    device: str = ""
    optimised: bool = True

    def __post_init__(self) -> None:
        if not METRIC.fullmatch(self.metric):
            raise InvalidObjective(
                f"the metric is {self.metric!r}; give small letters, digits and _, such as accuracy"
            )
        if self.direction not in ("min", "max"):
            raise InvalidObjective(
                f"direction of {self.metric}: {self.direction!r}, not min or max"
            )
        if not (is_number(self.weight) and self.weight >= 0):
            raise InvalidObjective(f"weight of {self.metric} is {self.weight!r}; give 0 or more")
        for limit in (self.lower, self.upper):
            if not (is_number(limit) or isinstance(limit, float)):
                raise InvalidObjective(f"a limit of {self.metric} is {limit!r}; give a number")
        if math.isnan(self.lower) or math.isnan(self.upper) or self.lower > self.upper:
            raise InvalidObjective(
                f"limits of {self.metric}: nothing lies between {self.lower} and {self.upper}"
            )

    @property
    def name(self) -> str:
        """The metric, with its device where one is meant: ``latency@v100``."""
        return f"{self.metric}@{self.device}" if self.device else self.metric

    @property
    def unit(self) -> str:
        """The metric's unit; "" for an evaluator's own."""
        return METRICS[self.metric].unit if self.metric in METRICS else ""

    @property
    def sign(self) -> int:
        """What a value is multiplied with to give a cost: 1 or -1."""
        return 1 if self.direction == "min" else -1

    def violation(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return by how much values lie outside the limits, in their unit, 0 inside; nan stays."""
        return np.maximum(np.maximum(self.lower - values, values - self.upper), 0.0) + 0 * values

    def __str__(self) -> str:
        """Return the text that `parse_objective` (for limits: `parse_constraint`) reads back."""
        below, above = _bound(self.upper, math.inf), _bound(self.lower, -math.inf)
        if not self.optimised:
            lower = above[1] + above[0].replace(">", "<")
            return f"{lower}{self.name}{''.join(below)}"
        text = self.name
        if self.metric not in METRICS or self.direction != METRICS[self.metric].direction:
            text += f":{self.direction}"
        if self.weight != 1:
            text += f"*{self.weight!r}"
        return text + "".join(below + above)


def _bound(limit: float, unlimited: float) -> tuple[str, str]:
    """Return the sign and number of a limit, strict where a number beside it is meant."""
    if limit == unlimited:
        return "", ""
    sign, beside = "<" if unlimited > 0 else ">", math.nextafter(limit, unlimited)
    if len(repr(beside)) + 8 < len(repr(limit)):  # 8.0 instead of 7.999999999999999
        return sign, repr(beside)
    return f"{sign}=", repr(limit)


METRIC: Final = re.compile(r"[a-z_][a-z0-9_]*")
"""The form of a metric's name."""

_NUMBER: Final = r"[0-9]*\.?[0-9]+(?:[eE][+-]?[0-9]+)?"
_PLACE: Final = r"(?:@(?P<device>[\w.+\-()=,/'\"]+?))?"
_OBJECTIVE: Final = re.compile(
    rf"(?P<metric>{METRIC.pattern}){_PLACE}(?::(?P<direction>\w+))?"
    rf"(?:\*(?P<weight>-?{_NUMBER}))?(?P<limits>(?:[<>]=?-?{_NUMBER})*)"
)
_CONSTRAINT: Final = re.compile(
    rf"(?:(?P<lower>{_NUMBER})(?P<lower_op><=|<))?(?P<metric>{METRIC.pattern}){_PLACE}"
    rf"(?:(?P<op><=|<|>=|>)(?P<bound>{_NUMBER}))?"
)


def _limit(sign: str, number: float) -> float:
    """Return the last number that a sign allows."""
    if "=" in sign:
        return number
    return math.nextafter(number, -math.inf if sign == "<" else math.inf)


def _known(metric: str, own: Collection[str]) -> str:
    if metric not in METRICS and metric not in own:
        raise UnknownName("metric", metric, (*METRICS, *own))
    return metric


def parse_objective(text: str, own: Collection[str] = ()) -> Objective:
    """Read ``metric[@device][:min|max][*weight][<=limit][>=limit]``.

    The direction defaults to the metric's nature, the weight to 1. A strict ``<`` or ``>`` excludes
    the limit itself.

    Args:
        text: what to read.
        own: metrics of an evaluator's own, whose direction the text must give.

    Raises:
        InvalidObjective: text of another form, or an own metric without direction.
        UnknownName: no such metric.

    Example:
        >>> parse_objective("params:max*.2").weight
        0.2
    """
    match = _OBJECTIVE.fullmatch(text.replace(" ", ""))
    if not match:
        raise InvalidObjective(
            f"cannot read objective {text!r}; expected metric[:min|max][*weight][<=limit|>=limit], "
            "such as accuracy*.4 or latency<=12"
        )
    metric, direction = _known(match["metric"], own), match["direction"]
    if metric not in METRICS and direction is None:
        raise InvalidObjective(
            f"objective {text!r}: {metric} is the evaluator's own metric, of which moga does not "
            f"know which way is better; give {metric}:min or {metric}:max"
        )
    limits = re.findall(rf"([<>]=?)(-?{_NUMBER})", match["limits"])
    bounds = {
        "upper" if "<" in sign else "lower": _limit(sign, float(number)) for sign, number in limits
    }
    if len(bounds) < len(limits):
        raise InvalidObjective(f"objective {text!r} gives the same limit twice")
    if direction not in (None, "min", "max"):
        raise InvalidObjective(
            f"objective {text!r}: direction {direction!r} is neither min nor max"
        )
    return Objective(
        metric=metric,
        direction=cast(Literal["min", "max"], direction or METRICS[metric].direction),
        weight=float(match["weight"]) if match["weight"] else 1.0,
        lower=bounds.get("lower", -math.inf),
        upper=bounds.get("upper", math.inf),
        device=match["device"] or "",
    )


def parse_constraint(text: str, own: Collection[str] = ()) -> Objective:
    """Read a limit on what is no objective: ``macs<=3e8`` or ``0.4<=latency@v100<0.65``.

    A strict ``<`` excludes the bound itself.

    Args:
        text: what to read.
        own: metrics of an evaluator's own.

    Raises:
        InvalidObjective: text of another form, or without any limit.
        UnknownName: no such metric.
    """
    match = _CONSTRAINT.fullmatch(text.replace(" ", ""))
    if not match or not (match["lower_op"] or match["op"]):
        raise InvalidObjective(
            f"cannot read constraint {text!r}; expected macs<=3e8 or 0.4<=latency<0.65"
        )
    metric = _known(match["metric"], own)
    lower, upper = -math.inf, math.inf
    if match["lower_op"]:
        lower = _limit(match["lower_op"].replace("<", ">"), float(match["lower"]))
    if match["op"]:
        limit = _limit(match["op"], float(match["bound"]))
        lower, upper = (max(lower, limit), upper) if ">" in match["op"] else (lower, limit)
    return Objective(
        metric=metric,
        direction=METRICS[metric].direction if metric in METRICS else "min",  # it limits only
        lower=lower,
        upper=upper,
        device=match["device"] or "",
        optimised=False,
    )


@dataclasses.dataclass(frozen=True)
class Measured:
    """An evaluation that gave values.

    Args:
        values: metric -> value, in the metric's unit; finite.
        spread: metric -> standard error of the value, in the same unit, where it is known.
    """

    values: Mapping[str, float]
    spread: Mapping[str, float] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Bounded:
    """An evaluation that was stopped early: a bound, never a measurement; never on a front.

    Args:
        values: metric -> the value is at best this.
        fidelity: the share of the full evaluation that was spent, above 0 and below 1.
    """

    values: Mapping[str, float]
    fidelity: float


@dataclasses.dataclass(frozen=True)
class Failed:
    """An evaluation that gave nothing; recorded, told to the searcher, never on a front.

    Args:
        reason: one line for the reader.
        kind: "error" (the evaluator raised), "timeout", "nan", or "lost" (the worker died).
    """

    reason: str
    kind: Literal["error", "timeout", "nan", "lost"]


Outcome = Measured | Bounded | Failed
"""What an evaluation comes to. Never an exception."""


@dataclasses.dataclass(frozen=True)
class Problem:
    """All that a searcher may know.

    Args:
        genes: the decisions, in genome order.
        reference: a genome to start local methods from.
        objectives: the optimised objectives, in the order of the cost columns.
        canonical: (n, genes) -> (n, genes): genomes of the same network become the same.
        known: (n, genes) -> (n, objectives): costs known without an evaluation, nan elsewhere.
    """

    genes: tuple[Gene, ...]
    reference: Genome
    objectives: tuple[Objective, ...]
    canonical: Callable[[Genomes], Genomes]
    known: Callable[[Genomes], Costs]

    @property
    def sizes(self) -> NDArray[np.int64]:
        """Number of values of each gene, shape (genes,)."""
        return np.array([len(gene) for gene in self.genes], dtype=np.int64)

    @property
    def weights(self) -> NDArray[np.float64]:
        """Weight of each objective, shape (objectives,)."""
        return np.array([objective.weight for objective in self.objectives])


@dataclasses.dataclass(frozen=True)
class Observations:
    """What became of n genomes.

    Args:
        genomes: shape (n, genes).
        costs: shape (n, objectives), lower is better; rows of failed evaluations are nan.
        violations: shape (n,), 0 where all limits hold; nan where unknown.
        spread: shape (n, objectives), standard errors; nan where unknown.
        bounded: shape (n,), True where the costs are bounds, not measurements.
        fidelity: shape (n,), share of the full evaluation that was spent; 1 for exact ones.

    Raises:
        ValueError: where shapes disagree.
    """

    genomes: Genomes
    costs: Costs
    violations: NDArray[np.float64]
    spread: NDArray[np.float64]
    bounded: NDArray[np.bool_]
    fidelity: NDArray[np.float64]

    def __post_init__(self) -> None:
        n = len(self.genomes)
        shapes = {
            "genomes": (self.genomes.shape, (n, self.genomes.shape[-1])),
            "costs": (self.costs.shape, (n, self.costs.shape[-1])),
            "violations": (self.violations.shape, (n,)),
            "spread": (self.spread.shape, self.costs.shape),
            "bounded": (self.bounded.shape, (n,)),
            "fidelity": (self.fidelity.shape, (n,)),
        }
        for name, (got, expected) in shapes.items():
            if got != expected:
                raise ValueError(f"observations: {name} has shape {got}, expected {expected}")

    def __len__(self) -> int:
        return len(self.genomes)

    @property
    def failed(self) -> NDArray[np.bool_]:
        """Rows with a cost that is nan or infinite, shape (n,)."""
        return np.asarray(~np.isfinite(self.costs).all(axis=1))

    @property
    def usable(self) -> NDArray[np.bool_]:
        """Rows that are exact, valid and within all limits, shape (n,)."""
        return np.asarray(~self.failed & ~self.bounded & (self.violations == 0))

    @classmethod
    def exact(cls, genomes: Genomes, costs: Costs) -> "Observations":
        """Wrap exact costs without limits, the common case in tests and by hand."""
        n = len(genomes)
        return cls(
            genomes=np.asarray(genomes, dtype=np.int64),
            costs=np.asarray(costs, dtype=np.float64),
            violations=np.zeros(n),
            spread=np.full(np.shape(costs), np.nan),
            bounded=np.zeros(n, dtype=bool),
            fidelity=np.ones(n),
        )


def costs_of(
    values: Mapping[str, NDArray[np.float64]], objectives: Sequence[Objective], n: int
) -> Costs:
    """Turn values by objective name, each of shape (n,), into costs; nan where a name is absent."""
    columns = [
        objective.sign * values[objective.name] if objective.name in values else np.full(n, np.nan)
        for objective in objectives
    ]
    return np.stack(columns, axis=1) if columns else np.empty((n, 0))


def violations_of(
    values: Mapping[str, NDArray[np.float64]], objectives: Iterable[Objective], n: int
) -> NDArray[np.float64]:
    """Return the sum of violations relative to the limits, shape (n,); what is unknown counts 0."""
    total = np.zeros(n)
    for objective in objectives:
        if objective.name in values:
            bounds = (abs(objective.lower), abs(objective.upper))
            scale = max([bound for bound in bounds if math.isfinite(bound)], default=1.0) or 1.0
            total += np.nan_to_num(objective.violation(values[objective.name])) / scale
    return total


class Searcher(ABC):
    """Proposes genomes and learns from what became of them. It sees integers and costs only.

    A searcher is built from a frozen `Problem` and a `numpy.random.Generator`. `ask` may be called
    several times before `tell`; `tell` may bring results in any grouping, and of genomes that
    others asked for.
    """

    @abstractmethod
    def ask(self, n: int) -> Genomes:
        """Return (m, genes) new genomes, m <= n; m == 0 means: tell me more first.

        Raises:
            Exhausted: nothing is left to propose.
        """

    @abstractmethod
    def tell(self, observations: Observations) -> None:
        """Learn what became of genomes."""

    @abstractmethod
    def state_dict(self) -> dict[str, Any]:
        """Return all state as JSON values and numpy arrays."""

    @abstractmethod
    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over what `state_dict` gave; the next `ask` is as it would have been there."""


@runtime_checkable
class Evaluator(Protocol):
    """Measures expensive metrics. Cheap ones are cost tables."""

    @property
    def metrics(self) -> tuple[str, ...]:
        """Names of the metrics that it gives."""

    def evaluate(self, networks: Sequence[Network]) -> list[Outcome]:
        """Return one outcome a network, in order. What it raises becomes `Failed`."""


@dataclasses.dataclass(frozen=True)
class Ticket:
    """Names one submitted batch."""

    number: int


@runtime_checkable
class Executor(Protocol):
    """Carries out evaluations, here or on a cluster."""

    def submit(self, evaluator: Evaluator, batch: Sequence[Network]) -> Ticket:
        """Hand over a batch; returns at once."""

    def completed(self) -> Iterator[tuple[Ticket, list[Outcome]]]:
        """Yield finished batches in the order in which they finish, until none is outstanding."""

    def close(self) -> None:
        """Release workers. Outstanding batches are dropped."""


class Progress(Protocol):
    """Is told how far a run is; the terminal display and plain lines are two of them."""

    def phase(self, name: str, total: int | None = None, unit: str = "") -> None:
        """Begin a phase such as "train the supernet"; it ends when the next begins."""

    def advance(self, done: int, **values: float | str) -> None:
        """Say how much of the phase is done, with figures to show beside it."""

    def note(self, text: str) -> None:
        """Show a line that stays."""


class Silent:
    """A `Progress` that shows nothing."""

    def phase(self, name: str, total: int | None = None, unit: str = "") -> None:
        """Ignore the phase."""

    def advance(self, done: int, **values: float | str) -> None:
        """Ignore the advance."""

    def note(self, text: str) -> None:
        """Ignore the note."""
