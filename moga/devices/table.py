"""Devices that are known only as latency tables: they can be searched for, but not measured."""

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from moga import registry
from moga.contracts import Progress
from moga.devices.base import Latency, Provenance
from moga.errors import FormatError, NotInSpace, UsageError
from moga.network import Network
from moga.spaces.base import Space
from moga.spaces.cost import CostTable

__all__ = ["TableDevice", "TableSource", "from_file"]


@dataclasses.dataclass(frozen=True)
class TableSource:
    """Where a device's table of one kind of space comes from.

    Args:
        table: a space of that kind -> its table of the metric "latency", in ms.
        spaces: the spaces in which a network is looked for; called when one is.
    """

    table: Callable[[Space], CostTable]
    spaces: Callable[[], Sequence[Space]]


class TableDevice:
    """A device of which there are tables and nothing else.

    Args:
        name: what users call it.
        sources: by the name of the space that each serves; at least one.
        batch: images a batch.

    Raises:
        UsageError: no source.
    """

    def __init__(self, name: str, sources: Mapping[str, TableSource], *, batch: int = 1) -> None:
        if not sources:
            raise UsageError(f"the device {name!r} has no table; give at least one")
        self.name, self.batch = name, batch
        self._sources = dict(sources)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name!r})"

    @classmethod
    def of(cls, name: str, table: CostTable, *, batch: int = 1) -> "TableDevice":
        """Wrap one table, such as `CostTable.load` gives; it serves exactly the table's space.

        Raises:
            UsageError: a table of another metric, or of times that cannot be (`CostTable.check`).
        """
        if table.metric != "latency":
            raise UsageError(f"expected a table of latency, got one of {table.metric}")
        try:
            table.check()
        except ValueError as error:
            raise UsageError(f"the table of device {name!r} cannot be: {error}") from error

        def same(space: Space) -> CostTable:
            if space.digest != table.space.digest:
                raise UsageError(
                    f"the table of device {name!r} is of {table.space.spec}, not of {space.spec}"
                )
            return table

        source = TableSource(same, lambda: (table.space,))
        return cls(name, {table.space.name: source}, batch=batch)

    @property
    def spaces(self) -> tuple[str, ...]:
        """Names of the spaces that it knows."""
        return tuple(self._sources)

    def table(self, space: Space, progress: Progress | None = None) -> CostTable:  # noqa: ARG002
        """Return the table of a space.

        Raises:
            UsageError: a space that it has no table of; the message names those it has.
        """
        if space.name not in self._sources:
            raise UsageError(
                f"the device {self.name!r} is known only by its table of "
                f"{', '.join(self.spaces)}, not of {space.name}; choose that space, or a device "
                "that measures, such as cpu"
            )
        return self._sources[space.name].table(space)

    def latency(self, network: Network) -> Latency:
        """Look a network up.

        Raises:
            NotInSpace: a network of none of the spaces that it knows.
        """
        for source in self._sources.values():
            for space in source.spaces():
                try:
                    genome = np.array([space.encode(network)])
                except NotInSpace:
                    continue
                table = source.table(space)
                error = float(table.standard_error(genome)[0]) if table.uncertain else math.nan
                method = table.provenance.get("method")
                known: Provenance = "table"
                if method in ("fitted", "roofline", "imported"):
                    known = method
                spread = None if math.isnan(error) else error
                return Latency(float(table(genome)[0]), spread, 0, known, self.batch)
        raise NotInSpace(
            f"the network is in none of the spaces that the device {self.name!r} has a table of: "
            f"{', '.join(self.spaces)}"
        )


def from_file(path: str = "", name: str = "") -> TableDevice:
    """Return the device that a latency table in a file is of: ``table(path=phone.npz)``.

    Args:
        path: what `CostTable.save` or ``moga profile`` wrote; needed.
        name: what users call it; "": the file's name.

    Raises:
        UsageError: no path, or a table of another metric or unit.
        FormatError: a damaged file, or none. The device's `table` raises it for times that cannot
            be (`CostTable.check`).
    """
    if not path:
        raise UsageError("the device 'table' needs a file, as in table(path=latency-moga-cpu.npz)")
    file = Path(path).expanduser()
    try:
        header = CostTable.read_header(file)
    except FormatError as error:
        raise FormatError(
            f"{error}; moga profile writes such files, of times measured elsewhere by --import or "
            "--fit"
        ) from error
    if (header.get("metric"), header.get("unit")) != ("latency", "ms"):
        raise UsageError(
            f"{file} is a table of {header.get('metric')} in {header.get('unit') or 'no unit'}; "
            "expected one of latency in ms"
        )
    spec = str(header.get("space"))
    source = TableSource(partial(CostTable.load, file), lambda: [registry.create("space", spec)])
    batch = _batch_of(header.get("provenance", {}))
    return TableDevice(name or file.stem, {registry.parse_call(spec)[0]: source}, batch=batch)


def _batch_of(provenance: Mapping[str, Any]) -> int:
    """Return the images a batch: of an imported table, or as the engine's settings say."""
    return int(provenance.get("batch") or provenance.get("settings", {}).get("batch") or 1)
