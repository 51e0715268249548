"""How a latency table comes of timed blocks.

1. Every *unique* block of a space is timed once (`moga.devices.timing`), and with them a few whole
   networks, the *anchors*. Times that the store has are reused.
2. The anchors say what a network costs besides its blocks: the table's constant is the mean of what
   they took beyond the sum of theirs. Timed again later, they say whether the machine is as fast.
   What is timed later is brought to the speed of what was stored: by how much slower the stored
   anchors, or, where none is stored yet, a few stored blocks have become.
3. Where there are more blocks than time (`missing="predict"`), the blocks that most genomes use are
   timed first, in turn with typical ones, a few at a time, until the time is used up. Each such
   *chunk* holds the same few *probes* as well, one of them a whole network, by which its speed is
   compared with the first chunk's. The rest is predicted by a roofline fitted to those
   (`moga.devices.predict`), and marked in the table. The constant comes of that network, but only
   where it is far from what its predicted blocks explain, as where every call costs (ONNX Runtime).

The assumption of a table, as in MoGA (section 3.2) and GPUNet (section 3.1), is that a network's
time is the sum of its blocks'; `moga.devices.tableerror` tests it on networks that had no part in
the table.
"""

import dataclasses
import itertools
import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, Literal, NamedTuple, get_args

import numpy as np
from numpy.typing import NDArray

from moga.contracts import Progress, Silent
from moga.devices.base import Latency, of_batch, standard_errors, with_noise
from moga.devices.engines.base import Engine
from moga.devices.kernels import Rules, rules_of
from moga.devices.predict import FEWEST, BlockRoofline
from moga.devices.speed import PROBES, at_stored_speed, how_much_slower, note_change
from moga.devices.store import ValueStore
from moga.devices.timing import (
    PROTOCOL,
    Sampling,
    Subject,
    summarise,
    time_rounds,
)
from moga.devices.walks import successions
from moga.errors import MeasurementFailed, UsageError
from moga.network import Block, Network
from moga.networks.count import count_macs, count_params
from moga.spaces.base import Space, sample_uniform
from moga.spaces.cost import CostTable, slot_blocks
from moga.spaces.entries import SlotBlocks, find_blocks

__all__ = [
    "MOST_BLOCKS",
    "Missing",
    "anchor_networks",
    "block_uses",
    "few_blocks",
    "needed_blocks",
    "profile_space",
    "sum_blocks",
    "unique_blocks",
]

Missing = Literal["measure", "predict", "refuse"]
"""What becomes of blocks without a time: all are timed; those that the time allows are, and the
others predicted and marked; or the table is refused."""

MOST_BLOCKS: Final = 5000
"""More blocks of a space than that are not timed one by one."""
_AT_ONCE: Final = 512
_SHARE_SAMPLE: Final = 256
_USES_SAMPLE: Final = 4096
_SUCCESSIONS_SAMPLE: Final = 256
_GOLDEN: Final = (math.sqrt(5) - 1) / 2
_FIRST_CHUNK: Final = 24
_CHUNK: Final = 64
_CHUNK_BYTES: Final = 1 << 30
_NEAR: Final = 4.0
"""How many chunks before the end it begins to matter how long each block takes."""
_WARMUPS: Final = 2
"""Rounds of a chunk that do not count, at most: the machine is warm from the chunk before."""
_ADDITIVE: Final = 0.03
"""How far sums of blocks are off a network where nothing is wrong, relative; at most about that."""
_SURE: Final = 3.0
"""Standard errors beyond which what one network takes besides its blocks is no chance."""
_BUILDING: Final = 3
"""How many times a block's own time it takes about to build it, and to run it a first time."""


def block_uses(space: Space) -> dict[Block, float]:
    """Return all blocks of a space, each with how often it occurs in a random network on average.

    The average is over 4,096 uniform genomes, always the same; blocks that none of them has come
    with 0. The order is that of the slots.
    """
    return _uses(space, *find_blocks(space.slots))


def _uses(space: Space, blocks: Sequence[Block], found: Sequence[SlotBlocks]) -> dict[Block, float]:
    genomes = sample_uniform(space.sizes, _USES_SAMPLE, np.random.default_rng(0))
    uses = np.zeros(len(blocks))
    for slot, where in zip(space.slots, found, strict=True):
        share = np.ones(1)
        if slot.shape:
            share = np.bincount(slot.flat_index(genomes), minlength=where.size) / len(genomes)
        uses += np.bincount(where.block, where.times * share[where.entry], len(blocks))
    return dict(zip(blocks, uses.tolist(), strict=True))


def unique_blocks(space: Space) -> list[Block]:
    """Return all blocks that a space's networks have, each once, in the order of the slots.

    Raises:
        UsageError: more than can be timed one by one.
    """
    if (found := few_blocks(space)) is None:
        raise UsageError(
            f"the space {space.spec} has more than {MOST_BLOCKS} distinct blocks, too many to time "
            'one by one; give a time budget and have the rest predicted, as in "cpu(seconds=120, '
            'missing=predict)", or choose a device that has a table of it'
        )
    return found


def few_blocks(space: Space) -> list[Block] | None:
    """Return what `unique_blocks` does; None where there are more than can be timed one by one."""
    found: dict[Block, None] = {}
    for slot in space.slots:
        for _, blocks in slot_blocks(slot):
            found.update((block, None) for block, _ in blocks)
            if len(found) > MOST_BLOCKS:
                return None
    return list(found)


def needed_blocks(space: Space) -> list[Block]:
    """Return all blocks of a space, however many, in the order in which their times are needed.

    Those that most networks have, in turn with typical ones: a block with as much work as that
    share of a random network's blocks has less than which the multiples of the golden ratio give.
    The most used alone are stems and heads, too small and too few kinds to predict the rest from
    (on GPUNet's space 90 % too low).
    """
    uses = block_uses(space)
    return _order(list(uses), uses)


def anchor_networks(space: Space, n: int) -> list[Network]:
    """Return up to n distinct random networks, always the same for a space."""
    rng = np.random.default_rng(int(space.digest, 16))
    genomes = sample_uniform(space.sizes, n, rng)
    return list(dict.fromkeys(space.decode(genome) for genome in genomes))


def _walked(space: Space) -> list[Network]:
    """Return 256 random networks, always the same for a space: they say what runs after what."""
    genomes = sample_uniform(space.sizes, _SUCCESSIONS_SAMPLE, np.random.default_rng(0))
    return [space.decode(genome) for genome in genomes]


def sum_blocks(
    blocks: Sequence[Block], found: Sequence[SlotBlocks], values: Mapping[Block, Latency]
) -> tuple[tuple[NDArray[np.float64], ...], tuple[NDArray[np.float64], ...]]:
    """Sum blocks' times over the entries of a space's slots.

    Args:
        blocks: all of the space, as `find_blocks` gives them.
        found: where they stand, likewise.
        values: the time of each.

    Returns:
        Milliseconds and standard errors, one array a slot; nan where no network has the entry, or
        a block's error was not measured.
    """
    known = [values[block] for block in blocks]
    ms = np.array([value.ms for value in known])
    errors = standard_errors(known)
    return tuple(one.add(ms) for one in found), tuple(one.add_squares(errors) for one in found)


@dataclasses.dataclass(frozen=True)
class ChunkTimer:
    """Times one chunk of blocks after another on one engine, here or in a worker elsewhere.

    Args:
        engine: runs them.
        settings: what the engine's settings must be, so that no worker on other hardware joins.
        sampling: how often each is timed.
        networks: say what runs after what.
        probes: timed in every chunk, in front.
        progress: is told of the rounds; leave it out for workers elsewhere.
    """

    engine: Engine
    settings: Mapping[str, Any]
    sampling: Sampling
    networks: Sequence[Network]
    probes: tuple[Subject, ...]
    progress: Progress = dataclasses.field(default_factory=Silent)

    def __call__(self, chunk: Sequence[Subject]) -> "Timed":
        """Return the latencies of the probes, those of the chunk, and the seconds timed.

        Raises:
            MeasurementFailed: one cannot be built or run; a machine that is another.
        """
        here = dict(self.engine.settings)
        if differing := sorted(k for k in self.settings if self.settings[k] != here.get(k)):
            name = differing[0]
            raise MeasurementFailed(
                f"a worker has {name} {here.get(name)!r}, the table is of {name} "
                f"{self.settings[name]!r}; use workers of the same kind only"
            )
        subjects = [*self.probes, *chunk]
        rounds = time_rounds(
            self.engine,
            subjects,
            self.sampling,
            rng=np.random.default_rng(),
            progress=self.progress,
            phase="time the blocks",
            successions=successions(self.networks, subjects),
        )
        latencies, _ = summarise(rounds, self.sampling, self.engine.batch, Silent())
        probes = len(self.probes)
        return Timed(latencies[:probes], latencies[probes:], float(rounds.ms.sum()) / 1e3)


class Timed(NamedTuple):
    """What became of a chunk.

    Args:
        probes: their latencies.
        chunk: the latencies of the others.
        seconds: the time inside the rounds that count.
    """

    probes: list[Latency]
    chunk: list[Latency]
    seconds: float


Chunks = Iterable[Sequence[Subject]]
Spread = Callable[[ChunkTimer, Chunks, Callable[[int, Timed], None]], Iterator[Timed]]
"""Carries a timer over chunks, in order, and hands each result to a function as it comes."""


def here(work: ChunkTimer, chunks: Chunks, record: Callable[[int, Timed], None]) -> Iterator[Timed]:
    """Time chunks in this process, one after another."""
    for number, chunk in enumerate(chunks):
        timed = work(chunk)
        record(number, timed)
        yield timed


@dataclasses.dataclass(frozen=True)
class _Job:
    """What profiling needs at every step."""

    space: Space
    engine: Engine
    store: ValueStore
    sampling: Sampling
    rng: np.random.Generator
    progress: Progress


def _time_at_once(
    job: _Job,
    missing: Sequence[Block],
    anchors: Sequence[Network],
    beside: Sequence[Network] = (),
    *,
    familiar: Mapping[Subject, Latency],
) -> tuple[dict[Subject, Latency], float | None, float]:
    """Time blocks and networks in sets of rounds of up to 512 blocks; store each set as it comes.

    The anchors are in each set, the networks beside in the first. A set's times are divided by how
    much slower what is `familiar` was than before, or else the anchors than in the first set.

    Returns:
        The new values; the drift of greatest size within a set or between sets; seconds timed.
    """
    parts, walked = max(1, math.ceil(len(missing) / _AT_ONCE)), _walked(job.space)
    values: dict[Subject, Latency] = {}
    reference = dict(familiar)
    drifts, seconds = [], 0.0
    for part in range(parts):
        others = beside if part == 0 else ()
        wanted = [*missing[part::parts], *anchors, *reference, *others]
        subjects: list[Subject] = list(dict.fromkeys(wanted))
        share = job.sampling.seconds / parts * (2 if others else 1)
        rounds = time_rounds(
            job.engine,
            subjects,
            dataclasses.replace(job.sampling, seconds=share),
            rng=job.rng,
            progress=job.progress,
            phase="time the blocks",
            successions=successions(walked, subjects),
        )
        latencies, drift = summarise(rounds, job.sampling, job.engine.batch, job.progress)
        timed = dict(zip(subjects, latencies, strict=True))
        slower = how_much_slower(timed, reference)
        if familiar and part == 0:
            note_change(job.progress, slower - 1)
        fresh = at_stored_speed(timed, slower, besides=reference)
        job.store.write(fresh)
        values.update(fresh)
        reference = {anchor: {**reference, **fresh}[anchor] for anchor in anchors}
        drifts += [drift, slower - 1]
        seconds += float(rounds.ms.sum()) / 1e3
    return values, max(drifts, key=abs), seconds


def _familiar(
    known: Mapping[Subject, Latency],
    uses: Mapping[Block, float],
    anchors: Sequence[Network] = (),
) -> dict[Subject, Latency]:
    """Return what tells, timed again, how much slower the machine is than when it was stored.

    The anchors that are known; where none is, a few blocks, most used and typical ones.
    """
    networks: dict[Subject, Latency] = {one: known[one] for one in anchors if one in known}
    blocks = [block for block in uses if block in known]
    if networks or not blocks:
        return networks
    return {block: known[block] for block in _order(blocks, uses)[:PROBES]}


def _time_in_chunks(
    job: _Job,
    ordered: Sequence[Block],
    anchors: Sequence[Network],
    *,
    seconds: float,
    spread: Spread,
    familiar: Mapping[Subject, Latency],
) -> tuple[dict[Subject, Latency], float | None, float]:
    """Time blocks in their order, then anchors, until `seconds` are used up.

    Returns as `_time_at_once` does, and one of the anchors in any case.

    Every chunk's times are divided by how much slower its probes were than before: those that are
    `familiar`, of an earlier profile, or else the first chunk's. The drift is the largest such
    difference; None where there is one chunk and nothing before. One of the probes is a whole
    network, which is meant to leave the caches as networks do. What is timed is stored as it comes,
    but for the probes.
    """
    networks = anchor_networks(job.space, job.sampling.anchors)
    smallest = min(networks, key=lambda network: sum(map(count_macs, network)))
    probes: tuple[Subject, ...] = (*(familiar or ordered[:PROBES]), smallest)
    warmups = min(job.sampling.warmups, _WARMUPS)
    sampling = dataclasses.replace(job.sampling, seconds=0.0, warmups=warmups)
    progress = job.progress if spread is here else Silent()
    timer = ChunkTimer(
        job.engine, dict(job.engine.settings), sampling, _walked(job.space), probes, progress
    )
    visits = sampling.rounds + sampling.warmups + _BUILDING
    values: dict[Subject, Latency] = {}
    timed: dict[Block, Latency] = {}
    sent: list[Sequence[Subject]] = []
    reference = dict(familiar)
    speeds: list[float] = []
    begin = time.monotonic()

    def left() -> float:
        return seconds - (time.monotonic() - begin)

    def chunks() -> Iterator[Sequence[Subject]]:
        rest = list(ordered)
        while rest and (not sent or left() > 0):
            size = _chunk_size(rest, timed, left(), visits)
            sent.append(rest[:size])
            rest = rest[size:]
            yield sent[-1]
        if anchors and not rest and left() > 0:
            sent.append(anchors)
            yield anchors

    def record(number: int, result: Timed) -> None:
        now = dict(zip(probes, result.probes, strict=True))
        speeds.append(how_much_slower(now, reference))
        if familiar and number == 0:
            note_change(job.progress, speeds[-1] - 1)
        reference.update(at_stored_speed(now, speeds[-1], besides=reference))
        fresh = at_stored_speed(dict(zip(sent[number], result.chunk, strict=True)), speeds[-1])
        job.store.write(fresh)
        values.update(fresh)
        blocks = {block: value for block, value in fresh.items() if isinstance(block, Block)}
        timed.update(blocks)
        if blocks:
            job.progress.note(f"{len(timed)} of {len(ordered)} blocks are timed.")

    timed_s = sum(result.seconds for result in spread(timer, chunks(), record))
    compared = speeds if familiar else speeds[1:]
    drift = max((speed - 1 for speed in compared), key=abs, default=None)
    return {smallest: reference[smallest], **values}, drift, timed_s


def _chunk_size(
    rest: Sequence[Block], values: Mapping[Block, Latency], left_s: float, visits: int
) -> int:
    """Return how many blocks to time next: what memory allows, and the seconds that are left.

    How long a block will take, each time of `visits`, is told from those that have been timed.
    """
    size = _CHUNK if values else _FIRST_CHUNK
    like_before = size * visits * sum(v.ms for v in values.values()) / 1e3 / max(len(values), 1)
    if values and left_s < _NEAR * like_before:
        each = _expected_ms(rest[:size], values) * visits / 1e3
        size = int(np.searchsorted(np.cumsum(each), left_s, side="right"))
    weights = np.cumsum([4 * count_params(block) for block in rest[:size]])
    return max(1, int(np.searchsorted(weights, _CHUNK_BYTES, side="right")))


def _expected_ms(blocks: Sequence[Block], values: Mapping[Block, Latency]) -> NDArray[np.float64]:
    if sum(value.ms > 0 for value in values.values()) >= FEWEST:
        return BlockRoofline.fit(values)(blocks)
    return np.full(len(blocks), np.mean([value.ms for value in values.values()]))


def profile_space(
    space: Space,
    engine: Engine,
    *,
    device: str,
    store: ValueStore,
    sampling: Sampling | None = None,
    rng: np.random.Generator | None = None,
    progress: Progress | None = None,
    refresh: bool = False,
    missing: Missing = "measure",
    spread: Spread = here,
    beside: Sequence[Network] = (),
) -> CostTable:
    """Build a device's latency table of a space.

    Values that the store has from as many rounds are reused, whichever space they were timed for;
    new ones are added to it as they come, so that a kill loses one chunk at most. The table's grid
    is the typical standard error of a network (the median over random genomes), rounded to 1, 2 or
    5 times a power of ten. A block that stands in several slots counts there as if it were timed
    for each, so standard errors are slightly too small.

    Args:
        space: any space; of at most 5,000 distinct blocks where all are to be timed.
        engine: what runs the blocks.
        device: name for the provenance.
        store: values by block.
        sampling: how often each is timed. Its seconds are what the rounds may take or, with
            ``missing="predict"``, all that is spent on timing blocks.
        rng: gives the orders of the rounds; consumed. Default: fresh from the system.
        progress: is told how far it is.
        refresh: time everything again.
        missing: what becomes of blocks that have no time yet.
        spread: carries the work over chunks of blocks, here or to workers.
        beside: networks that are timed in the same rounds, which then take up to twice the
            seconds, and put into the store; the table makes no use of them. They are left out where
            blocks are timed in chunks, or not at all.

    Raises:
        UsageError: too many blocks; blocks without a time that may not be timed; too few timed to
            predict the rest.
        MeasurementFailed: a block cannot be built or run.
    """
    if missing not in get_args(Missing):
        raise UsageError(f"missing is {missing!r}; give one of {', '.join(get_args(Missing))}")
    sampling, progress = sampling or Sampling(), progress or Silent()
    job = _Job(space, engine, store, sampling, rng or np.random.default_rng(), progress)
    if missing == "measure":
        unique_blocks(space)
    blocks, found = find_blocks(space.slots)
    uses = _uses(space, blocks, found)
    anchors = anchor_networks(space, sampling.anchors)
    known: dict[Subject, Latency] = {}
    if not refresh:
        known = store.read([*uses, *anchors], sampling.rounds)
    reused = sum(block in known for block in uses)
    if reused:
        progress.note(f"{reused} of {len(uses)} blocks were timed before on this machine; reused.")
    if missing == "measure" and spread is here and reused < len(uses):
        lacking = [block for block in uses if block not in known]
        familiar = _familiar(known, uses, anchors)
        fresh, drift, seconds = _time_at_once(job, lacking, anchors, beside, familiar=familiar)
    else:
        fresh, drift, seconds = _time_rest(
            job, uses, anchors, known, missing=missing, spread=spread
        )
    values = {**known, **fresh}
    measured = {block: values[block] for block in uses if block in values}
    whole = len(measured) == len(uses) and all(anchor in values for anchor in anchors)
    timed = {anchor: values[anchor] for anchor in anchors if anchor in values}
    table = _table(
        space, blocks, found, measured, timed, whole=whole, rule=rules_of(engine.settings)
    )
    provenance = {
        "device": device,
        **of_batch(engine.batch),
        "protocol": PROTOCOL,
        "sampling": {**dataclasses.asdict(sampling), "anchors": len(anchors) if whole else 0},
        "settings": dict(engine.settings),
        "blocks_reused": reused,
        "rounds": min(value.count for value in values.values()),
        "seconds_timed": seconds,
        "anchors": len(anchors) if whole else 0,
        "drift": drift,
    }
    if whole:
        provenance["anchor_ms"] = float(np.mean([values[anchor].ms for anchor in anchors]))
    return dataclasses.replace(table, provenance={**table.provenance, **provenance})


def _time_rest(
    job: _Job,
    uses: Mapping[Block, float],
    anchors: Sequence[Network],
    known: Mapping[Subject, Latency],
    *,
    missing: Missing,
    spread: Spread,
) -> tuple[dict[Subject, Latency], float | None, float]:
    """Time what has no time yet, as told; return the new values, the drift and seconds timed."""
    lacking = [block for block in uses if block not in known]
    if missing == "refuse":
        if lacking:
            raise UsageError(
                f"{len(lacking)} of the {len(uses)} blocks of {job.space.spec} have no time on "
                f"this device, the first is {lacking[0]}; have them timed "
                "(missing=measure) or predicted (missing=predict)"
            )
        return {}, None, 0.0
    unknown = [anchor for anchor in anchors if anchor not in known]
    if not lacking:
        if not unknown:
            return {}, None, 0.0
        return _time_at_once(job, [], anchors, familiar=_familiar(known, uses, anchors))
    order = _order(lacking, uses)
    budget = job.sampling.seconds if missing == "predict" else math.inf
    familiar = _familiar(known, uses)  # no anchors: in every chunk they would take too long
    return _time_in_chunks(job, order, unknown, seconds=budget, spread=spread, familiar=familiar)


def _order(blocks: Sequence[Block], uses: Mapping[Block, float]) -> list[Block]:
    """Return blocks in the order in which they are needed, as `needed_blocks` says."""
    most = sorted(blocks, key=lambda block: -uses[block])
    by_work = sorted(blocks, key=count_macs)
    share = np.cumsum([uses[block] + 1e-12 for block in by_work])
    points = np.arange(len(blocks)) * _GOLDEN % 1 * share[-1]
    typical = (by_work[i] for i in np.searchsorted(share, points, side="right").tolist())
    turns = itertools.chain.from_iterable(zip(most, typical, strict=True))
    return list(dict.fromkeys(turns))


def _beyond_blocks(
    networks: Mapping[Network, Latency], ms: Mapping[Block, float]
) -> NDArray[np.float64]:
    """Return what each network took beyond the sum of its blocks, in ms."""
    return np.array(
        [latency.ms - math.fsum(ms[block] for block in one) for one, latency in networks.items()]
    )


def _unsure(
    networks: Mapping[Network, Latency],
    ms: Mapping[Block, float],
    measured: Mapping[Block, Latency],
    spread: float,
) -> NDArray[np.float64]:
    """Return the standard error of what `_beyond_blocks` does, in ms.

    Predictions have the relative error `spread`, and a table that is exact is off by `_ADDITIVE`.
    """
    found = []
    for network, latency in networks.items():
        blocks = [
            (measured[block].spread or 0.0) if block in measured else spread * ms[block]
            for block in network
        ]
        found.append(math.hypot(_ADDITIVE * latency.ms, latency.spread or 0.0, *blocks))
    return np.array(found)


def _table(
    space: Space,
    blocks: Sequence[Block],
    found: Sequence[SlotBlocks],
    measured: Mapping[Block, Latency],
    networks: Mapping[Network, Latency],
    *,
    whole: bool,
    rule: Rules,
) -> CostTable:
    """Return the table of the blocks' times, predicting those that are not measured.

    What networks take beyond their blocks is its constant; where it is not `whole`, few networks
    were timed, and of their blocks few, so that it counts only where it is no chance, and leaves
    every network some time.
    """
    provenance: dict[str, Any] = {"method": "measured", "blocks": len(blocks)}
    predicted = np.array([block not in measured for block in blocks])
    ms, errors = np.empty(len(blocks)), np.empty(len(blocks))
    known = [measured[block] for block in blocks if block in measured]
    ms[~predicted] = [value.ms for value in known]
    errors[~predicted] = standard_errors(known)
    relative = 0.0
    if predicted.any():
        model = BlockRoofline.fit(measured, rule)
        ms[predicted] = model([block for block in blocks if block not in measured])
        relative = model.spread
        errors[predicted] = ms[predicted] * relative
        provenance |= model.provenance(int(predicted.sum()))
    by_block = dict(zip(blocks, ms.tolist(), strict=True))
    beyond = _beyond_blocks(networks, by_block)
    if not whole:
        unsure = _unsure(networks, by_block, measured, relative)
        least = sum(np.nanmin(slot.add(ms)) for slot in found)
        if (
            not len(beyond)
            or (np.abs(beyond) <= _SURE * unsure).any()
            or least + beyond.mean() <= 0
        ):
            beyond = beyond[:0]
    if len(beyond):
        provenance["constant_ms"] = float(beyond.mean())
        provenance["constant_spread_ms"] = (
            float(beyond.std(ddof=1) / math.sqrt(len(beyond))) if len(beyond) > 1 else None
        )
    table = CostTable(
        "latency",
        "ms",
        space,
        tuple(slot.add(ms) for slot in found),
        tuple(slot.add_squares(errors) for slot in found),
        constant=float(beyond.mean()) if len(beyond) else 0.0,
        provenance=provenance,
        predicted=tuple(slot.any(predicted) for slot in found) if predicted.any() else (),
    )
    if predicted.any():
        sample = sample_uniform(space.sizes, _SHARE_SAMPLE, np.random.default_rng(0))
        provenance["predicted_share"] = float((table.predicted_slots(sample) > 0).mean())
    return with_noise(table)
