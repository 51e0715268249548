"""Latency tables from times that were measured elsewhere: one of each block, or of whole networks.

Times of blocks come as `moga.devices.importers` read them. Every block of the space must have
exactly one, or be predicted as the caller says; every row must name a block or a network of the
space. What whole networks took beyond the sum of their blocks is the table's constant, as in
`moga.devices.profile`. A single wrong row refuses everything.
"""

import dataclasses
import json
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from moga import registry
from moga.devices.base import Latency, check_batch, of_batch, with_noise
from moga.devices.blockfiles import MANIFEST, Manifest
from moga.devices.importers.base import PRECISIONS, Reading
from moga.devices.importers.detect import read_timings
from moga.devices.kernels import rules
from moga.devices.plausible import LEAST_MS, check_speed, check_units, speed
from moga.devices.predict import FEWEST, BlockRoofline
from moga.devices.profile import sum_blocks
from moga.errors import FormatError, MogaError, UsageError
from moga.network import Block, Network
from moga.networks.count import count_macs
from moga.spaces.base import Space
from moga.spaces.cost import CostTable
from moga.spaces.entries import find_blocks

__all__ = ["MISSING", "constant_caution", "import_table", "network_times", "table_of"]

MISSING: Final = ("refuse", "predict")
"""What becomes of blocks without a time: the table is refused; or they are predicted from those
that have one by `moga.devices.predict`, and marked."""

_DIGEST: Final = re.compile(r"(?<![0-9a-f])[0-9a-f]{16}(?![0-9a-f])")
_ABSURD: Final = 300.0
"""How many times what similar blocks say a time may be, or they it. On a CPU and a phone a correct
time was off by up to 57 (a convolution of one pixel)."""
_FAR: Final = (1 / 20, 5.0)
"""How many times what its blocks take together a network may take: each timed alone, blocks pay for
their starts and waits, on a GPU more than they compute, which a network pays once."""
_SUSPECTS: Final = 5
_RULES: Final = rules("tensorrt")
"""Which program took the times is not known; exported blocks come with their norms folded."""
_NAMED: Final = 5

Times = dict[Block | Network, tuple[Latency, str]]
"""Subject -> its time, and the row that says so."""


def import_table(
    path: str | Path,
    space: Space | None = None,
    *,
    batch: int | None = None,
    precision: str = "",
    device: str = "",
    missing: str = "refuse",
) -> CostTable:
    """Build the latency table of a space from files of times.

    Args:
        path: a folder that `blockfiles.export_blocks` wrote, with the times in it, or any file or
            folder of times that `importers` reads.
        space: whose table; None: the exported folder's.
        batch: images a batch that the times must be of; None: the exported folder's, else 1.
        precision: precision that the times must be of, where they say; "": any one.
        device: name for the provenance; "": what the times say, else the file's or folder's name.
        missing: one of `MISSING`.

    Raises:
        UsageError: nothing to read, no space, another batch than the export's, or too few blocks
            to predict others from.
        FormatError: a wrong row; blocks without time. See `table_of`.
    """
    path = Path(path)
    manifest = Manifest.load(path) if (path / MANIFEST).exists() else None
    if manifest is not None:
        space = _space_of(manifest, space, path)
        if batch is not None and batch != manifest.batch:
            raise UsageError(
                f"{path} was exported at batch {manifest.batch}, not {batch}; leave the batch out"
            )
        batch = manifest.batch
    if space is None:
        raise UsageError(f"{path} has no {MANIFEST}; say of which space the times are")
    readings = read_timings(path, (MANIFEST,), batch_known=batch is not None)
    extra = manifest.networks if manifest else ()
    table = table_of(
        space,
        readings,
        networks=extra,
        batch=1 if batch is None else batch,
        precision=precision,
        device=device or next((r.device for r in readings if r.device), path.resolve().stem),
        missing=missing,
    )
    return dataclasses.replace(table, provenance={**table.provenance, "source": path.name})


def _space_of(manifest: Manifest, space: Space | None, path: Path) -> Space:
    if space is None:
        space = registry.create("space", manifest.space)
    assert space is not None  # noqa: S101 - for the type checker: create gave it
    if space.digest != manifest.space_digest:
        raise UsageError(
            f"{path} holds blocks of the space {manifest.space}, not of {space.spec}; export the "
            "blocks of that space, or leave the space out"
        )
    return space


def table_of(
    space: Space,
    readings: Sequence[Reading],
    *,
    networks: Sequence[Network] = (),
    batch: int = 1,
    precision: str = "",
    device: str = "",
    missing: str = "refuse",
) -> CostTable:
    """Build a latency table from readings of blocks and, if there are any, of whole networks.

    Args:
        space: whose table.
        readings: times of its blocks, each once, and of networks of it.
        networks: whole networks that readings may name by their digest.
        batch: images a batch of all times.
        precision: of all times, where they say; "": any one.
        device: name for the provenance.
        missing: one of `MISSING`.

    Raises:
        UsageError: too few times to predict others from, a batch below 1, or no such precision or
            `missing`.
        FormatError: a row that names nothing of the space, is a duplicate, of another batch,
            precision or device, or absurd; blocks without time. The message names the row.
    """
    if missing not in MISSING:
        raise UsageError(f"missing is {missing!r}; give one of {', '.join(MISSING)}")
    check_batch(batch)
    blocks, found = find_blocks(space.slots)
    known = {block.digest: block for block in blocks}
    named: dict[str, Block | Network] = {**known, **{one.digest: one for one in networks}}
    precision = _check_alike(readings, batch, precision)
    times = _resolve(readings, named, space, batch)
    values = {subject: t for subject, (t, _) in times.items() if isinstance(subject, Block)}
    whole = {subject: t for subject, (t, _) in times.items() if isinstance(subject, Network)}
    _check_absurd(values, times, batch)
    lacking = [block for block in known.values() if block not in values]
    if lacking and missing == "refuse":
        raise FormatError(_lacking(lacking, len(known)))
    if lacking and len(values) < FEWEST:
        raise UsageError(
            f"{len(values)} of the space's {len(known)} blocks have a time, too few to predict the "
            f"others from; at least {FEWEST} are needed: time more of them"
        )
    provenance: dict[str, Any] = {
        "method": "imported",
        "device": device or next((r.device for r in readings if r.device), "imported"),
        **of_batch(batch),
        "precision": precision or "not stated",
        "blocks": len(known),
        "rounds": min((value.count for value in values.values()), default=0) or None,
        "gmacs_per_s": _speed(values, batch),
    }
    if lacking:
        values, more = _predict(values, lacking)
        provenance |= more
    _check_whole(whole, values, times)
    arrays, spread = sum_blocks(blocks, found, values)
    table = CostTable("latency", "ms", space, arrays, spread, provenance=provenance)
    if lacking:
        predicted = frozenset(lacking)
        marks = np.array([block in predicted for block in blocks])
        table = dataclasses.replace(table, predicted=tuple(slot.any(marks) for slot in found))
    return with_noise(_with_constant(table, values, whole))


def constant_caution(table: CostTable) -> str:
    """Say that whole networks take more beyond their blocks than the blocks; "" if not.

    Example:
        >>> from moga.spaces.cost import count_table
        >>> from moga.spaces.moga import MoGASpace
        >>> constant_caution(count_table(MoGASpace(32), "macs"))
        ''
    """
    blocks = sum(table.bounds) / 2 - table.constant
    if table.constant <= blocks:
        return ""
    return (
        f"the whole networks take {table.constant:.3g} ms beyond their blocks, which take about "
        f"{blocks:.3g} ms: are both of the same batch, and timed in the same way?"
    )


def _check_absurd(values: Mapping[Block, Latency], times: Times, batch: int) -> None:
    """Refuse a time that nothing computes in, of another unit, or far from the others' roofline."""
    for block, value in values.items():
        if value.ms < LEAST_MS and count_macs(block):
            raise FormatError(
                f"{times[block][1]}: {value.ms:g} ms for {block}; nothing computes a block in less "
                f"than {LEAST_MS:g} ms; is the unit right?"
            )
    places = [times[block][1] for block in values]
    check_units(list(values), [value.ms for value in values.values()], places, batch)
    if len(values) <= FEWEST:
        return
    model, blocks = BlockRoofline.fit(values, _RULES), list(values)
    plain = np.log(np.array([value.ms for value in values.values()]) / model(blocks))
    pairs = zip(blocks, plain.tolist(), strict=True)
    off = np.abs([model.left_out.get(block, ratio) for block, ratio in pairs])
    for index in np.argsort(-off)[:_SUSPECTS]:
        block = blocks[index]
        others = {other: value for other, value in values.items() if other != block}
        expected = float(BlockRoofline.fit(others, _RULES)([block])[0])
        if not 1 / _ABSURD <= values[block].ms / expected <= _ABSURD:
            raise FormatError(
                f"{times[block][1]}: {values[block].ms:g} ms for {block}, which by "
                f"all others should take about {expected:.2g} ms; is the unit right?"
            )


def _check_whole(
    whole: Mapping[Network, Latency], values: Mapping[Block, Latency], times: Times
) -> None:
    for network, value in whole.items():
        together = math.fsum(values[block].ms for block in network)
        if not _FAR[0] <= value.ms / together <= _FAR[1]:
            raise FormatError(
                f"{times[network][1]}: {value.ms:g} ms for a network whose blocks take "
                f"{together:.3g} ms together; expected about as much. Are both in the same unit, "
                "of the same batch, and of a batch or of an image alike? Correct the row, or those "
                "of the blocks"
            )


def _speed(values: Mapping[Block, Latency], batch: int) -> float | None:
    """Return what the timed blocks do together, in 10^9 multiply-adds a second; None without any.

    No check knows that all times of a file are in another unit; who reads this figure sees it.
    """
    macs = batch * sum(count_macs(block) for block in values)
    return speed(macs, math.fsum(value.ms for value in values.values())) if values else None


def _predict(
    values: Mapping[Block, Latency], lacking: Sequence[Block]
) -> tuple[dict[Block, Latency], dict[str, Any]]:
    """Return the times of all blocks, and what the provenance says of those predicted."""
    model = BlockRoofline.fit(values, _RULES)
    times = model(lacking).tolist()
    predicted = {
        block: Latency(ms, ms * model.spread, 0, "fitted")
        for block, ms in zip(lacking, times, strict=True)
    }
    return {**values, **predicted}, model.provenance(len(predicted))


def _lacking(missing: Sequence[Block], blocks: int) -> str:
    shown = ", ".join(map(str, missing[:_NAMED]))
    more = f" and {len(missing) - _NAMED} more" if len(missing) > _NAMED else ""
    enough = blocks - len(missing) >= FEWEST
    cure = ', or have them predicted (--missing predict, in Python missing="predict")'
    return (
        f"{len(missing)} of the space's {blocks} blocks have no time: {shown}{more}; time them"
        + (cure if enough else "")
    )


def _check_alike(readings: Sequence[Reading], batch: int, precision: str) -> str:
    """Check that all times are of one batch, precision and device; return the precision."""
    if precision and precision not in PRECISIONS:
        raise UsageError(f"precision is {precision!r}; give one of {', '.join(PRECISIONS)}")
    first: dict[str, Reading] = {}
    for reading in readings:
        if reading.batch not in (None, batch):
            raise FormatError(
                f"{reading.where}: a time at batch {reading.batch}; expected batch {batch}; say "
                f"what the times are of with --batch {reading.batch}, in Python batch="
            )
        if precision and reading.precision not in ("", precision):
            raise FormatError(
                f"{reading.where}: a time in {reading.precision}; expected {precision}"
            )
        for name in ("precision", "device"):
            value = getattr(reading, name)
            before = first.setdefault(name, reading) if value else reading
            if value and getattr(before, name) != value:
                raise FormatError(
                    f"{reading.where}: {name} {value}, but {before.where} has "
                    f"{getattr(before, name)}; one table is of one {name}"
                )
    return precision or (first["precision"].precision if "precision" in first else "")


def _resolve(
    readings: Sequence[Reading],
    named: Mapping[str, Block | Network],
    space: Space,
    batch: int,
) -> Times:
    times: Times = {}
    known = frozenset(named.values())
    for reading in readings:
        subject = _subject(reading, named, space)
        if isinstance(subject, Block) and subject not in known:
            raise FormatError(_foreign(reading, space))
        if subject in times:
            raise FormatError(
                f"{reading.where}: {_short(reading.subject)} was already timed in "
                f"{times[subject][1]}; keep one of the two"
            )
        latency = reading.latency(batch)
        macs = batch * count_macs(subject)
        check_speed(macs, latency.ms, reading.where, _short(reading.subject))
        times[subject] = (latency, reading.where)
    return times


def _short(text: str) -> str:
    return text if len(text) <= 60 else f"{text[:57]}..."


def _foreign(reading: Reading, space: Space) -> str:
    return (
        f"{reading.where}: {_short(reading.subject)!r} names no block and no network of the space "
        f"{space.spec}; is it a table of another space?"
    )


def _subject(
    reading: Reading, named: Mapping[str, Block | Network], space: Space
) -> Block | Network:
    text = reading.subject.strip()
    found = [named[word] for word in _DIGEST.findall(text) if word in named]
    try:
        if reading.kind == "genome":
            return space.decode(_genome(text))
        if text.startswith("{"):
            content = json.loads(text)
            if "blocks" in content:
                return _within(Network.from_json(text), space)
            return Block.from_dict(content)
        if found:
            return found[0]
        if reading.kind == "network":
            from moga.networks.zoo import describe

            return _within(describe(text), space)
    except (MogaError, ValueError) as error:
        raise FormatError(f"{reading.where}: {error}") from error
    raise FormatError(_foreign(reading, space))


def _within(network: Network, space: Space) -> Network:
    space.encode(network)  # raises NotInSpace, naming the block that does not fit
    return network


def _genome(text: str) -> list[int]:
    try:
        return [int(word) for word in re.split(r"[\s,;]+", text.strip("[]() "))]
    except ValueError:
        raise FormatError(f"the genome is {text!r}; expected integers") from None


def network_times(
    readings: Sequence[Reading], space: Space, *, batch: int = 1, precision: str = ""
) -> dict[Network, Latency]:
    """Return the times of whole networks of a space, each once, in the order of the readings.

    Raises:
        UsageError: no such precision.
        FormatError: as `table_of`, or a row that names a block.
    """
    _check_alike(readings, batch, precision)
    found: dict[Network, Latency] = {}
    for subject, (latency, where) in _resolve(readings, {}, space, batch).items():
        if isinstance(subject, Block):
            raise FormatError(f"{where}: a block; expected whole networks of {space.spec}")
        found[subject] = latency
    return found


def _with_constant(
    table: CostTable, values: Mapping[Block, Latency], whole: Mapping[Network, Latency]
) -> CostTable:
    """Return the table with what whole networks took beyond their blocks, and how even that is."""
    beyond = np.array(
        [t.ms - math.fsum(values[block].ms for block in one) for one, t in whole.items()]
    )
    constant = float(beyond.mean()) if len(beyond) else 0.0
    more = {
        "anchors": len(beyond),
        "constant_ms": constant,
        "anchor_error_percent": _left_out(beyond, [t.ms for t in whole.values()]),
    }
    table = dataclasses.replace(table, constant=constant, provenance={**table.provenance, **more})
    low, _ = table.bounds
    if low <= 0:
        raise FormatError(
            f"the blocks of the whole networks sum to {-constant:.3g} ms more than these took, so "
            "that the fastest network would take no time; were they timed in another way?"
        )
    return table


def _left_out(beyond: NDArray[np.float64], measured: Sequence[float]) -> float | None:
    """Return the MAPE over the whole networks, each with the constant of the others, in %."""
    n = len(beyond)
    if n < 2:
        return None
    off = (beyond - beyond.mean()) * n / (n - 1)
    return 100 * float(np.mean(np.abs(off) / np.array(measured)))
