"""Plan: what a search is about. Names become objects; all is checked before work starts."""

import dataclasses
import re
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final, cast

import numpy as np

from moga import registry
from moga.contracts import (
    METRIC,
    METRICS,
    Costs,
    Evaluator,
    Genomes,
    Measured,
    Objective,
    Outcome,
    Problem,
    Progress,
    costs_of,
    parse_constraint,
    parse_objective,
)
from moga.devices.base import Device
from moga.errors import InvalidObjective, UnknownName, UsageError
from moga.network import Network
from moga.report.book import COUNTED, Tables, latency_names
from moga.report.text import is_own
from moga.runtime.rundir import objective_to_json
from moga.spaces.base import Space
from moga.spaces.cost import count_table

__all__ = ["Plan", "space_and_images"]

_NUMBER: Final = re.compile(r"(?<![\w.])[0-9]*\.?[0-9]+(?:[eE][+-]?[0-9]+)?")
_REMOTE: Final = re.compile(r"\bremote\s*=\s*[Tt]rue\b")
_ROUNDING: Final = 1e-6
"""By how much weights such as 1/3 may miss their sum."""


@dataclasses.dataclass(frozen=True)
class Plan:
    """What is searched, where, and for what; validated. Build it with `Plan.make`.

    Args:
        space: what is searched.
        devices: where latency comes from, at least one.
        objectives: what is optimised.
        constraints: limits on what is no objective.
        data: the user's text for the images, or None.
        images: training and validation images, where the space follows them.
        evaluator: an object, text for the registry, several of them, or None where nothing needs
            evaluation.
        texts: what space and devices were built from: the space's first; None for an object.
    """

    space: Space
    devices: tuple[Device, ...]
    objectives: tuple[Objective, ...]
    constraints: tuple[Objective, ...]
    data: str | None
    images: Any
    evaluator: Evaluator | str | Sequence[Evaluator | str] | None
    texts: tuple[str | None, ...]

    @classmethod
    def make(
        cls,
        space: Space | str,
        device: Device | str | Sequence[Device | str],
        objectives: Sequence[Objective | str] | None,
        *,
        constraints: Sequence[Objective | str] = (),
        data: str | Path | None = None,
        evaluator: Evaluator | str | Sequence[Evaluator | str] | None = None,
    ) -> "Plan":
        """Turn names into objects and check that they fit together.

        Raises:
            UnknownName: no such space, device, metric or evaluator; near names are listed.
            InvalidObjective: objectives that cannot be read or do not fit.
            UsageError: parts that do not fit together.
        """
        _check_kinds(space, objectives=objectives, constraints=constraints)
        images, built = space_and_images(space, data, evaluator)
        listed = [device] if isinstance(device, str) or not isinstance(device, Sequence) else device
        devices = tuple(registry.create("device", item) for item in listed)
        _check_protocol("device", devices, Device, "cpu")
        names = [item.name for item in devices]
        if not devices or len(set(names)) < len(names):
            raise UsageError(f"give one or more devices, each once; got {names}")
        own = _own_metrics(evaluator)
        wanted = _on_each(built.default_objectives, names) if objectives is None else objectives
        goals = tuple(
            _placed(parse_objective(item, own) if isinstance(item, str) else item, names)
            for item in wanted
        )
        limits = tuple(
            _placed(parse_constraint(item, own) if isinstance(item, str) else item, names)
            for item in constraints
        )
        for goal in goals + limits:
            if goal.metric not in (*METRICS, *own):
                raise UnknownName("metric", goal.metric, (*METRICS, *own))
        _check_names(goals, limits, weighted=any("*" in str(item) for item in wanted))
        if data is None and not _evaluated(goals + limits):
            images = None  # those that ship would not be looked at
        if images is not None:
            _check_images(images, built, data)
        source = evaluator if evaluator is not None else _default_evaluator(built, goals + limits)
        if not source and _evaluated(goals + limits):
            from moga.supernets.choices import accuracy_from

            raise UsageError(
                f"the space {built.spec} has no source of accuracy of its own. "
                f"{accuracy_from(built)}"
            )
        for item in _listed(source):
            if isinstance(item, str):
                registry.parameters("evaluator", item)
        if _measures_latency(source) and len(devices) > 1:
            raise UsageError(
                f"an evaluator measures latency, but the search has {len(devices)} devices "
                f"({', '.join(names)}); give the one that it measures on"
            )
        return cls(
            space=built,
            devices=devices,
            objectives=goals,
            constraints=limits,
            data=None if data is None else str(data),
            images=images,
            evaluator=source,
            texts=tuple(item if isinstance(item, str) else None for item in (space, *listed)),
        )

    @property
    def table_names(self) -> tuple[str, ...]:
        """Names of the costs that tables give: params, macs, and a latency for each device."""
        return (*COUNTED, *latency_names([device.name for device in self.devices]))

    @property
    def evaluated(self) -> tuple[str, ...]:
        """Metrics of objectives and limits that need an evaluation; where there are any, all of it.

        That is, what an evaluator object gives besides. Latency is one of them where the user's
        evaluator measures it; the device's table then only says what is not worth measuring.
        """
        metrics = [o.metric for o in self.objectives + self.constraints]
        known = COUNTED if _measures_latency(self.evaluator) else (*COUNTED, "latency")
        needed = [metric for metric in metrics if metric not in known]
        objects = (item for item in _listed(self.evaluator) if not isinstance(item, str))
        given = [name for item in objects for name in item.metrics if name not in COUNTED]
        return tuple(dict.fromkeys([*needed, *given])) if needed else ()

    def build_tables(self, directory: Path, progress: Progress) -> Tables:
        """Load a run's tables from its directory, or build and save them there.

        Raises:
            FormatError: a stored table that is damaged.
            UsageError: a device whose table cannot be, as `CostTable.check` says; it is not stored.
        """
        directory.mkdir(exist_ok=True)
        builders = [partial(count_table, self.space, name) for name in COUNTED]
        builders += [partial(device.table, self.space, progress) for device in self.devices]
        for name, build in zip(self.table_names, builders, strict=True):
            path = directory / f"{name}.npz"
            if not path.exists():
                build().save(path)
        return Tables.load(directory, self.table_names, self.space)

    def build_evaluator(self, seed: int, directory: Path, progress: Progress) -> Evaluator | None:
        """Build the source of accuracy; this may train a supernet.

        Raises:
            UsageError: it lacks a metric.
        """
        if not self.evaluated:
            return None
        parts: list[Evaluator] = [
            registry.create(
                "evaluator",
                item,
                space=self.space,
                images=self.images,
                seed=seed,
                directory=directory,
                progress=progress,
                device=self.devices[0],
            )
            for item in _listed(self.evaluator)
        ]
        built = parts[0] if len(parts) == 1 else Combined(parts)
        if missing := [m for m in self.evaluated if m not in built.metrics]:
            raise UsageError(
                f"the evaluator gives {', '.join(built.metrics)}, but not {', '.join(missing)}"
            )
        return built

    def check_searcher(self, text: str) -> None:
        """Make what a text names on a problem of the same form, before any table is built.

        The costs of that problem are made up, of 0 and the numbers in the text, so that bounds in
        it are within reach: whether the tables reach them is found out with the tables.

        Args:
            text: a searcher's name, with arguments or without. Members that would run elsewhere
                (``remote=true``) are made here.

        Raises:
            UsageError: and its kinds: no such searcher, or arguments that it refuses.
        """
        given = [float(number) for number in _NUMBER.findall(text)]
        numbers = np.array([0.0, *given, *(-number for number in given)])

        def known(genomes: Genomes) -> Costs:
            made_up = numbers[np.arange(len(genomes)) % len(numbers)]
            exact = {name: made_up for name in self.table_names if name not in self.evaluated}
            return costs_of(exact, self.objectives, len(genomes))

        registry.create(
            "searcher",
            _REMOTE.sub("remote=false", text),
            problem=self._problem(known),
            rng=np.random.default_rng(0),
        )

    def problem(self, tables: Tables) -> Problem:
        """Return all that a searcher may know."""

        def known(genomes: Genomes) -> Costs:
            values = tables.values(genomes)
            exact = {name: values[name] for name in values if name not in self.evaluated}
            return costs_of(exact, self.objectives, len(genomes))

        return self._problem(known)

    def _problem(self, known: Callable[[Genomes], Costs]) -> Problem:
        return Problem(
            self.space.genes, self.space.reference, self.objectives, self.space.canonical, known
        )

    def configuration(self) -> dict[str, Any]:
        """Return what must be recorded of the plan, as JSON values."""
        space = {"name": self.space.name, "spec": self.space.spec, "digest": self.space.digest}
        source = self.evaluator
        name = " + ".join(
            item if isinstance(item, str) else type(item).__qualname__ for item in _listed(source)
        )
        images = None
        if self.images is not None:
            images = {"source": self.data or "bundled", "digest": self.images.digest}
        return {
            "space": space,
            "devices": [{"name": device.name} for device in self.devices],
            "objectives": [objective_to_json(objective) for objective in self.objectives],
            "constraints": [objective_to_json(objective) for objective in self.constraints],
            "data": images,
            "evaluator": {"name": name} if self.evaluated else None,
            "evaluated": list(self.evaluated),
        }


class Combined:
    """Several evaluators as one: each network is evaluated by all of them, in order.

    What only one of them offers (weights to inherit) is offered by this one too.

    Args:
        parts: two or more, of different metrics.

    Raises:
        UsageError: two that give the same metric.
    """

    def __init__(self, parts: Sequence[Evaluator]) -> None:
        self.parts = tuple(parts)
        self.metrics = tuple(metric for part in parts for metric in part.metrics)
        if len(set(self.metrics)) < len(self.metrics):
            raise UsageError(
                f"the evaluators give {', '.join(self.metrics)}: each metric may come from one only"
            )

    def evaluate(self, networks: Sequence[Network]) -> list[Outcome]:
        """Return one outcome a network: all values where every part measured it.

        Otherwise, the first outcome that is no measurement.
        """
        rows = zip(*(part.evaluate(networks) for part in self.parts), strict=True)
        return [_joined(outcomes) for outcomes in rows]

    def describe(self) -> dict[str, Any]:
        """Return what its parts say of themselves, together."""
        found: dict[str, Any] = {}
        for part in self.parts:
            found |= part.describe() if hasattr(part, "describe") else {}
        return found

    def __getattr__(self, name: str) -> Any:
        if not name.startswith("_") and name != "parts":
            for part in self.parts:
                if hasattr(part, name):
                    return getattr(part, name)
        raise AttributeError(f"none of the combined evaluators has {name!r}")


def _joined(outcomes: tuple[Outcome, ...]) -> Outcome:
    values: dict[str, float] = {}
    spread: dict[str, float] = {}
    for outcome in outcomes:
        if not isinstance(outcome, Measured):
            return outcome
        values |= outcome.values
        spread |= outcome.spread
    return Measured(values, spread)


def _listed(
    source: Evaluator | str | Sequence[Evaluator | str] | None,
) -> tuple[Evaluator | str, ...]:
    """Return the evaluators that were given, however they were."""
    if source is None:
        return ()
    return tuple(source) if isinstance(source, list | tuple) else (cast(Evaluator | str, source),)


def _measures_latency(source: Evaluator | str | Sequence[Evaluator | str] | None) -> bool:
    """Whether one of the evaluators measures latency; text says so by its name alone."""
    return any(
        registry.parse_call(item)[0] == "latency"
        if isinstance(item, str)
        else "latency" in item.metrics
        for item in _listed(source)
    )


def space_and_images(
    space: Space | str,
    data: str | Path | None,
    evaluator: Evaluator | str | Sequence[Evaluator | str] | None = None,
) -> tuple[Any, Space]:
    """Build a space, and load the images that it follows, where it has a number of classes.

    What the text leaves open of resolution and classes is taken from the images. A space that is an
    object follows images where a supernet is to be trained.

    Raises:
        UsageError: images for a space that brings its own.
    """
    if isinstance(space, str):
        follows = "num_classes" in registry.parameters("space", space)
    else:
        texts = [item for item in _listed(evaluator) if isinstance(item, str)]
        names = [registry.parse_call(text)[0] for text in texts]
        follows = "supernet" in (space.default_evaluator, *names)
    if not follows:
        if data is not None:
            raise UsageError(f"the space {space!s} brings its own data; leave --data out")
        return None, registry.create("space", space)
    from moga.supernets.data import load_data

    asked = registry.parse_call(space)[1] if isinstance(space, str) else vars(space)
    # The photographs that ship have one size; a mismatch with those is refused by the caller.
    images = load_data(data, resolution=asked.get("resolution") if data is not None else None)
    built = registry.create(
        "space", space, resolution=images.resolution, num_classes=images.num_classes
    )
    return images, built


def _check_kinds(
    space: Space | str,
    **lists: Sequence[Objective | str] | None,
) -> None:
    """Check what would otherwise fail far from where it was given.

    Raises:
        UsageError: a space that is neither text nor a `Space`, or one text in place of a list.
    """
    if not isinstance(space, str | Space):
        raise UsageError(f'the space is {space!r}; give a name such as "moga", or a Space')
    for name, value in lists.items():
        if isinstance(value, str | Objective):
            items = ", ".join(f'"{part.strip()}"' for part in str(value).split(","))
            raise InvalidObjective(f"{name} is one text, not a list; give {name}=[{items}]")


def _check_protocol(kind: str, items: Sequence[Any], protocol: type, name: str) -> None:
    """Check that objects have what their kind is used for.

    Raises:
        UsageError: one that has not.
    """
    for item in items:
        if not isinstance(item, protocol):
            raise UsageError(
                f"the {kind} is {item!r}; give a name such as {name!r}, or an object with what "
                f"moga's {protocol.__name__} has"
            )


def _check_images(images: Any, built: Any, data: str | Path | None) -> None:
    """Check that accuracies and latencies will be of the same images.

    Raises:
        UsageError: another resolution or number of classes.
    """
    for name in ("resolution", "num_classes"):
        if getattr(built, name) != getattr(images, name):
            raise UsageError(
                f"the space {built.spec} has {name}={getattr(built, name)}, the images "
                f"{data or '(bundled photographs)'} have {getattr(images, name)}; leave {name} "
                "out, or pass images that fit with --data"
            )


def _default_evaluator(space: Space, goals: tuple[Objective, ...]) -> str | None:
    return space.default_evaluator or None if _evaluated(goals) else None


def _evaluated(goals: tuple[Objective, ...]) -> bool:
    """Whether one of them is known of no table."""
    return any(goal.metric not in (*COUNTED, "latency") for goal in goals)


def _own_metrics(
    source: Evaluator | str | Sequence[Evaluator | str] | None,
) -> tuple[str, ...]:
    """Return the metrics of evaluator objects that moga does not know, after checking them.

    Raises:
        UsageError: what is no evaluator, or a metric that cannot be a column.
    """
    objects = [item for item in _listed(source) if not isinstance(item, str)]
    _check_protocol("evaluator", objects, Evaluator, "supernet")
    own = [name for item in objects for name in item.metrics if name not in METRICS]
    for name in own:
        if not (isinstance(name, str) and METRIC.fullmatch(name) and is_own(name)):
            raise UsageError(
                f"the evaluator calls a metric {name!r}; give small letters, digits and _, and no "
                "name of a column that every run has, nor one that ends in _se or _predicted"
            )
    return tuple(own)


def _on_each(objectives: Sequence[str], devices: list[str]) -> list[Objective]:
    """Return a space's objectives with latency on each device; these share latency's weight."""
    parsed = [parse_objective(text) for text in objectives]
    share = 1 if all(objective.weight == 1 for objective in parsed) else len(devices)
    return [
        dataclasses.replace(objective, device=device, weight=objective.weight / share)
        if objective.metric == "latency"
        else objective
        for objective in parsed
        for device in (devices if objective.metric == "latency" else [""])
    ]


def _same_device(text: str, devices: list[str]) -> str:
    """Return the device whose name says what a text says, blanks and the order of options aside."""
    if text in devices:
        return text

    def key(name: str) -> Any:
        try:
            return registry.parse_call(name)
        except UsageError:
            return name

    return next((device for device in devices if key(device) == key(text)), text)


def _placed(objective: Objective, devices: list[str]) -> Objective:
    """Check which device is meant; with one device its name is left out."""
    if objective.device:
        name = _same_device(objective.device, devices)
        objective = dataclasses.replace(objective, device=name)
    if objective.metric != "latency":
        if objective.device:
            raise InvalidObjective(f"{objective.metric} does not depend on a device; drop the @")
        return objective
    if not objective.device and len(devices) > 1:
        raise InvalidObjective(
            f"latency of which device? Say latency@NAME, with one of {', '.join(devices)}"
        )
    if objective.device and objective.device not in devices:
        raise InvalidObjective(f"latency@{objective.device}: the devices are {', '.join(devices)}")
    return objective if len(devices) > 1 else dataclasses.replace(objective, device="")


def _check_names(
    goals: tuple[Objective, ...], limits: tuple[Objective, ...], *, weighted: bool
) -> None:
    """Check objectives and limits; `weighted`: the text of one gives a weight, be it 1."""
    if not goals:
        raise InvalidObjective(f"give at least one objective, of {', '.join(METRICS)}")
    names = [goal.name for goal in goals]
    if len(set(names)) < len(names):
        raise InvalidObjective(f"each objective may stand once; got {', '.join(names)}")
    if not any(goal.weight > 0 for goal in goals):
        raise InvalidObjective("all weights are 0; give at least one objective a weight above 0")
    weights = [goal.weight for goal in goals]
    if (weighted or set(weights) != {1.0}) and abs(sum(weights) - 1) > _ROUNDING:
        given = " + ".join(f"{weight:g}" for weight in weights)
        shares = ", ".join(f"{goal.name}*{goal.weight / sum(weights):.3g}" for goal in goals)
        raise InvalidObjective(
            f"the weights {given} sum to {sum(weights):g} (an objective without one has 1); give "
            f"all of them, with the sum 1, or none, for equal ones. These would be {shares}"
        )
    for limit in limits:
        if limit.name in names:
            goal = goals[names.index(limit.name)]
            low, high = max(goal.lower, limit.lower), min(goal.upper, limit.upper)
            raise InvalidObjective(
                f"{limit.name} is an objective and a constraint; write the limit into the "
                f"objective: {dataclasses.replace(goal, lower=low, upper=high)}"
            )
