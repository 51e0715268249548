"""Space, Slot and Derived; and sampling, mutation and crossover over genes.

A space is a list of slots. A slot reads a few genes, and what earlier genes imply (as a derived
index with few values: the width that reaches a stage, the resolution), and yields blocks. The
network of a genome is the blocks of all slots in order.
"""

import dataclasses
import itertools
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cached_property, partial
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from moga.contracts import Gene, Genome, Genomes
from moga.errors import InvalidGenome, NotInSpace, UsageError
from moga.files import digest
from moga.network import Block, Network

__all__ = [
    "Blocks",
    "Decoder",
    "Derived",
    "Slot",
    "Space",
    "crossover",
    "mutate",
    "sample_sobol",
    "sample_uniform",
]

_CHUNK: Final = 1 << 13
"""Rows that are worked on at once, so that they stay in the processor's cache."""
_REASONS: Final = 4
"""Fields of a block that are named where it is not in a space."""

Blocks = tuple[tuple[Block, int], ...]
"""Blocks with how many times each runs, one after another."""


@dataclasses.dataclass(frozen=True)
class Derived:
    """What genes imply, as an index with few values.

    Args:
        name: for messages.
        values: all that it can be.
        index: (n, genes) -> (n,): which value each genome has; vectorised.
        genes: positions of the genes that `index` reads; None: not said. Where it is said,
            `Space.encode` knows the value as soon as those genes are known, and is fast.
    """

    name: str
    values: tuple[Any, ...]
    index: Callable[[Genomes], NDArray[np.int64]]
    genes: tuple[int, ...] | None = None

    @classmethod
    def of(
        cls,
        name: str,
        genes: Sequence[int],
        gene_values: Sequence[tuple[Any, ...]],
        function: Callable[..., Any],
    ) -> "Derived":
        """Derive a value from those of a few genes, by a table of all their combinations.

        Args:
            name: for messages.
            genes: positions in the genome of the genes that are read.
            gene_values: the values of those genes.
            function: called with one value a gene; what it returns must be hashable.
        """
        implied = [function(*values) for values in itertools.product(*gene_values)]
        values = tuple(dict.fromkeys(implied))
        table = np.array([values.index(value) for value in implied], dtype=np.int64)
        sizes = tuple(len(values) for values in gene_values)
        return cls(name, values, partial(_look_up, table, tuple(genes), sizes), tuple(genes))


def _look_up(
    table: NDArray[np.int64], genes: tuple[int, ...], sizes: tuple[int, ...], genomes: Genomes
) -> NDArray[np.int64]:
    return table.take(_flat([genomes[:, gene] for gene in genes], sizes))


def _flat(columns: list[NDArray[np.int64]], sizes: tuple[int, ...]) -> NDArray[np.int64]:
    """Return positions in a flattened array of shape `sizes`: columns of shape (n,) -> (n,)."""
    flat = columns[0]
    for size, column in zip(sizes[1:], columns[1:], strict=True):
        flat = flat * size + column
    return flat


@dataclasses.dataclass(frozen=True)
class Slot:
    """A part of a network whose blocks follow from a few genes.

    Args:
        name: for messages and pictures.
        genes: positions in the genome of the genes that it reads; () for a fixed part.
        gene_values: the values of those genes.
        blocks: called with the values of `genes`, then of `derived`; returns blocks with times, or
            None where that combination cannot occur.
        derived: what it reads besides.
        side: position in `axes` of what sets the size of images, so that what is known of blocks
            need not be found for each size anew; None: not said. Along it, blocks differ in height
            and width alone, and blocks that are of one size at one value are so at all others.
    """

    name: str
    genes: tuple[int, ...]
    gene_values: tuple[tuple[Any, ...], ...]
    blocks: Callable[..., Blocks | None]
    derived: tuple[Derived, ...] = ()
    side: int | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of a cost array of this slot: one axis a gene, then one a derived index."""
        return tuple(len(values) for values in self.axes)

    @property
    def axes(self) -> tuple[tuple[Any, ...], ...]:
        """The values along each axis of a cost array."""
        return (*self.gene_values, *(derived.values for derived in self.derived))

    def entry(self, index: Sequence[int]) -> Blocks | None:
        """Return the blocks of one entry; None where it cannot occur."""
        return self.blocks(*(values[i] for values, i in zip(self.axes, index, strict=True)))

    def flat_index(
        self, genomes: Genomes, known: dict[int, NDArray[np.int64]] | None = None
    ) -> NDArray[np.int64]:
        """Return where each genome stands in the flattened array: (n, genes) -> (n,).

        Args:
            genomes: shape (n, genes).
            known: derived indices of these genomes by `id` of the `Derived`; filled here, so that
                slots that share one compute it once.
        """
        known = {} if known is None else known
        columns = [genomes[:, gene] for gene in self.genes]
        for derived in self.derived:
            if id(derived) not in known:
                known[id(derived)] = derived.index(genomes)
            columns.append(known[id(derived)])
        return _flat(columns, self.shape)


class Space(ABC):
    """A set of networks that integers stand for.

    A space gives `name`, `genes` and `slots`; the rest follows. It is immutable: what configures it
    is in `arguments`, from which `spec` (the text that builds it again) and `digest` follow.
    """

    name: str

    def __repr__(self) -> str:
        return self.spec

    @property
    @abstractmethod
    def genes(self) -> tuple[Gene, ...]:
        """The decisions, in genome order."""

    @property
    @abstractmethod
    def slots(self) -> tuple[Slot, ...]:
        """The parts of a network, in the order in which they run."""

    @property
    def arguments(self) -> Mapping[str, Any]:
        """What configures this space, as JSON values."""
        return {}

    @property
    def reference(self) -> Genome:
        """Where local methods start: the middle value of every gene."""
        return tuple((len(gene) - 1) // 2 for gene in self.genes)

    @property
    def default_objectives(self) -> tuple[str, ...]:
        """What a search optimises when nothing else is asked for."""
        return ("accuracy", "latency")

    @property
    def default_evaluator(self) -> str:
        """Where accuracy comes from when nothing else is asked for; "" where that is open."""
        return ""

    @cached_property
    def sizes(self) -> NDArray[np.int64]:
        """Number of values of each gene, shape (genes,)."""
        return np.array([len(gene) for gene in self.genes], dtype=np.int64)

    @property
    def size(self) -> int:
        """Number of genomes."""
        return math.prod(int(size) for size in self.sizes)

    @property
    def spec(self) -> str:
        """The text that builds this space again, such as ``moga(resolution=32, width=0.35)``."""
        listed = ", ".join(f"{key}={value!r}" for key, value in self.arguments.items())
        return f"{self.name}({listed})" if listed else self.name

    @cached_property
    def digest(self) -> str:
        """A hash of all that decides what a genome means: name, arguments and genes."""
        genes = [[gene.name, gene.group, gene.kind, repr(gene.values)] for gene in self.genes]
        return digest([self.name, dict(self.arguments), genes])

    def with_resolution(self, resolution: int) -> "Space":
        """Return the same space at another (or at one) input resolution.

        A space with the argument `resolution` is built again with this one and all its other
        arguments; in a space with a gene "resolution", the gene is fixed.

        Raises:
            UsageError: a resolution that the space does not have, or a space without resolution.
        """
        if "resolution" in self.arguments:
            return type(self)(**{**self.arguments, "resolution": resolution})
        if any(gene.name == "resolution" for gene in self.genes):
            from moga.spaces.subspace import Subspace  # a subspace is a space: it lies above

            return Subspace(self, {"resolution": resolution})
        raise UsageError(f"the space {self.spec} has no resolution to choose")

    def validate(self, genomes: NDArray[Any]) -> Genomes:
        """Return genomes as an array of shape (n, genes) after checking them.

        Raises:
            InvalidGenome: naming the gene, what came and its range.
        """
        array = np.atleast_2d(np.asarray(genomes))
        if array.dtype.kind not in "iuf" or (array.size and not _whole(array)):
            raise InvalidGenome(f"genes of {self.name} are integers; got {array.dtype} {array}")
        if array.ndim != 2 or array.shape[1] != len(self.genes):
            raise InvalidGenome(
                f"a genome of {self.name} has {len(self.genes)} genes; got shape {array.shape}"
            )
        array = array.astype(np.int64)
        if (wrong := (array < 0) | (array >= self.sizes)).any():
            row, column = np.argwhere(wrong)[0]
            gene = self.genes[column]
            raise InvalidGenome(
                f"gene {gene.name!r} (position {column}) of genome {row} is {array[row, column]}; "
                f"allowed: 0 to {len(gene) - 1}, for the values {_shorten(gene.values)}"
            )
        return array

    def decode(self, genome: Sequence[int] | Genomes) -> Network:
        """Return the network of one genome.

        Raises:
            InvalidGenome: out of range, of the wrong length, or not exactly one.
        """
        genomes = self.validate(np.asarray(genome))
        if len(genomes) != 1:
            raise InvalidGenome(f"decode takes one genome of {self.name}; got {len(genomes)}")
        blocks: list[Block] = []
        for slot in self.slots:
            index = [int(genomes[0, gene]) for gene in slot.genes]
            index += [int(derived.index(genomes)[0]) for derived in slot.derived]
            entry = slot.entry(index)
            if entry is None:
                raise InvalidGenome(f"slot {slot.name!r} of {self.name} has no entry {index}")
            for block, times in entry:
                blocks.extend([block] * times)
        return Network(tuple(blocks))

    def encode(self, network: Network) -> Genome:
        """Return the canonical genome of a network: the slots are matched in order.

        Raises:
            NotInSpace: naming the first block that no slot explains.
        """
        matcher = _Matcher(self, network.blocks)
        for genome in matcher.matches():
            values = [genome.get(index, 0) for index in range(len(self.genes))]
            if self.decode(values) == network:
                return tuple(
                    int(gene) for gene in self.canonical(self.validate(np.array(values)))[0]
                )
        raise NotInSpace(matcher.explain())

    def canonical(self, genomes: Genomes) -> Genomes:
        """Map genomes of the same network to the same genome: (n, genes) -> (n, genes).

        Default: the identity.
        """
        return genomes


class Decoder:
    """Decodes many genomes of one space: what a slot yields is made once, then shared.

    Blocks check themselves when they are made, which takes most of the time of `Space.decode`; and
    what is shared is sent to another process once.

    Args:
        space: any.
        most: how many entries of slots are kept; beyond, all are forgotten.
    """

    def __init__(self, space: Space, most: int = 1 << 16) -> None:
        self.space, self.most = space, most
        self._slots = space.slots
        self._kept: dict[tuple[int, int], tuple[Block, ...]] = {}

    def __call__(self, genomes: Genomes) -> list[Network]:
        """Return the networks of genomes of shape (n, genes), as `Space.decode` would.

        Raises:
            InvalidGenome: out of range or of the wrong length.
        """
        genomes = self.space.validate(genomes)
        known: dict[int, NDArray[np.int64]] = {}
        n = len(genomes)
        parts = [
            slot.flat_index(genomes, known) if slot.shape else np.zeros(n, dtype=np.int64)
            for slot in self._slots
        ]
        if len(self._kept) > self.most:
            self._kept.clear()
        return [self._network(row) for row in np.stack(parts, axis=1).tolist()]

    def _network(self, entries: list[int]) -> Network:
        blocks: list[Block] = []
        for number, flat in enumerate(entries):
            found = self._kept.get((number, flat))
            if found is None:
                found = self._kept[number, flat] = self._made(self._slots[number], flat)
            blocks += found
        return Network(tuple(blocks))

    def _made(self, slot: Slot, flat: int) -> tuple[Block, ...]:
        index = [int(axis) for axis in np.unravel_index(flat, slot.shape)] if slot.shape else []
        entry = slot.entry(index)
        if entry is None:
            raise InvalidGenome(f"slot {slot.name!r} of {self.space.name} has no entry {index}")
        return tuple(block for block, times in entry for _ in range(times))


_Known = dict[int, int]
"""Genes that are known so far: position -> index of the value."""


class _Matcher:
    """Explains a network's blocks by slots, in order, with backtracking.

    Genes that earlier slots fixed, and derived values that follow from them, are not tried again;
    what has failed once is not tried with other values of genes that nothing reads any more.
    """

    def __init__(self, space: Space, blocks: tuple[Block, ...]) -> None:
        self.space, self.blocks = space, blocks
        self.furthest = 0
        self.tried: dict[int, _Known] = {}
        self._failed: set[tuple[int, int, tuple[tuple[int, int], ...]]] = set()
        self._read = _read_from(space)

    def matches(
        self, number: int = 0, at: int = 0, genes: _Known | None = None
    ) -> Iterator[_Known]:
        """Yield the genes of each explanation of the blocks from `at` on by slots from `number`."""
        genes = genes or {}
        key = (number, at, tuple(sorted(g for g in genes.items() if g[0] in self._read[number])))
        if key in self._failed:
            return
        self._note(number, at, genes)
        found = False
        if number == len(self.space.slots):
            if at == len(self.blocks):
                found = True
                yield genes
        else:
            for length, chosen in self._fitting(number, at, genes):
                for match in self.matches(number + 1, at + length, chosen):
                    found = True
                    yield match
        if not found:
            self._failed.add(key)

    def _note(self, number: int, at: int, genes: _Known) -> None:
        if at > self.furthest:
            self.furthest, self.tried = at, {}
        if at == self.furthest:
            self.tried.setdefault(number, genes)

    def _fitting(self, number: int, at: int, genes: _Known) -> list[tuple[int, _Known]]:
        """Return how many blocks each fitting entry explains and its genes, the most first."""
        found = []
        for chosen, _, entry in _entries(self.space, number, genes):
            blocks = [block for block, times in entry for _ in range(times)]
            pairs = zip(blocks, self.blocks[at:], strict=False)
            fitting = sum(1 for _ in itertools.takewhile(lambda pair: pair[0] == pair[1], pairs))
            if fitting == len(blocks):
                found.append((len(blocks), chosen))
            elif fitting:
                self._note(number, at + fitting, genes)
        return sorted(found, key=lambda item: -item[0])

    def explain(self) -> str:
        """Say which block fits nowhere, and which field of it, by which gene, cannot be had."""
        last = max(self.tried)
        name = _slot_name(self.space, last)
        if self.furthest >= len(self.blocks):
            return f"the network ends before {name} of the space {self.space.spec}"
        block = self.blocks[self.furthest]
        differences = {
            number: _differences(self.space, number, genes, block)
            for number, genes in sorted(self.tried.items())
            if number < len(self.space.slots)
        }
        possible = {number: found for number, found in differences.items() if found is not None}
        nearest = min(possible, key=lambda number: len(possible[number]), default=last)
        found = list(possible.get(nearest, {}).values())
        more = f"; {len(found) - _REASONS} fields more" if len(found) > _REASONS else ""
        reasons = "; ".join(found[:_REASONS]) + more
        return (
            f"block {self.furthest} of the network does not fit "
            f"{_slot_name(self.space, nearest)} of the space {self.space.spec}: "
            f"{block.summary}{f' ({reasons})' if reasons else ''}"
        )


def _slot_name(space: Space, number: int) -> str:
    last = number == len(space.slots)
    return "the end of the space" if last else f"slot {space.slots[number].name!r}"


def _read_from(space: Space) -> list[frozenset[int]]:
    """Return, for each slot and for the end, all genes that it or a later slot reads."""
    everything = frozenset(range(len(space.genes)))
    read: list[frozenset[int]] = [frozenset()]
    for slot in reversed(space.slots):
        derived = [everything if d.genes is None else frozenset(d.genes) for d in slot.derived]
        read.append(read[-1].union(slot.genes, *derived))
    return read[::-1]


def _entries(
    space: Space, number: int, genes: _Known
) -> Iterator[tuple[_Known, tuple[int, ...], Blocks]]:
    """Yield a slot's entries that agree with what is known: genes that they fix, index, blocks."""
    slot = space.slots[number]
    read = {gene for later in space.slots[number:] for gene in later.genes}
    hidden = {gene for derived in slot.derived for gene in derived.genes or ()} - read - set(genes)
    for values in itertools.product(*(range(len(space.genes[gene])) for gene in sorted(hidden))):
        known = {**genes, **dict(zip(sorted(hidden), values, strict=True))}
        for index in itertools.product(*_axes(space, slot, known)):
            if (blocks := slot.entry(index)) is not None:
                yield {**known, **dict(zip(slot.genes, index, strict=False))}, index, blocks


def _axes(space: Space, slot: Slot, known: _Known) -> list[Iterable[int]]:
    """Return what each axis of a slot can be, given what is known."""
    axes: list[Iterable[int]] = [
        (known[gene],) if gene in known else range(len(values))
        for gene, values in zip(slot.genes, slot.gene_values, strict=True)
    ]
    row = np.zeros((1, len(space.genes)), dtype=np.int64)
    row[0, list(known)] = list(known.values())
    for derived in slot.derived:
        given = derived.genes is not None and known.keys() >= set(derived.genes)
        axes.append((int(derived.index(row)[0]),) if given else range(len(derived.values)))
    return axes


def _differences(space: Space, number: int, genes: _Known, block: Block) -> dict[str, str] | None:
    """Return the fields that no entry's first block has, with words on each; None: no blocks."""
    slot = space.slots[number]
    firsts = {index: entry[0][0] for _, index, entry in _entries(space, number, genes) if entry}
    if not firsts:
        return None
    found = {}
    for field in (field.name for field in dataclasses.fields(Block)):
        values = {getattr(first, field) for first in firsts.values()}
        if getattr(block, field) not in values:
            names = _deciding(space, slot, firsts, field)
            by = f"gene {' and '.join(map(repr, names))} gives" if names else "the space has"
            listed = _shorten(tuple(sorted(values, key=lambda v: (str(type(v)), v))))
            found[field] = f"{field} is {getattr(block, field)!r}; {by} {listed}"
    return found


def _deciding(
    space: Space, slot: Slot, firsts: Mapping[tuple[int, ...], Block], field: str
) -> list[str]:
    """Return the genes that change a field of a slot's first block when they alone change."""
    base = next(iter(firsts))
    names = []
    for axis, gene in enumerate(slot.genes):
        line = (b for i, b in firsts.items() if i[:axis] + i[axis + 1 :] == _without(base, axis))
        if len({getattr(block, field) for block in line}) > 1:
            names.append(space.genes[gene].name)
    return names


def _without(index: tuple[int, ...], axis: int) -> tuple[int, ...]:
    return index[:axis] + index[axis + 1 :]


def _whole(array: NDArray[Any]) -> bool:
    return bool(np.isfinite(array).all() and np.array_equal(array, np.trunc(array)))


def _shorten(values: tuple[Any, ...], most: int = 12) -> str:
    shown = ", ".join(map(str, values[:most]))
    return shown if len(values) <= most else f"{shown}, ... ({len(values)} in all)"


def sample_uniform(sizes: NDArray[np.int64], n: int, rng: np.random.Generator) -> Genomes:
    """Draw genomes with every gene independent and uniform, shape (n, genes)."""
    return rng.integers(0, sizes, size=(n, len(sizes)), dtype=np.int64)


def sample_sobol(sizes: NDArray[np.int64], n: int, rng: np.random.Generator) -> Genomes:
    """Draw genomes from a scrambled Sobol sequence, shape (n, genes): evenly spread over the space.

    Any n works; balance is exact where it is a power of two (the sequence is drawn up to the next).
    """
    if n == 0:
        return np.empty((0, len(sizes)), dtype=np.int64)
    from scipy.stats import qmc

    # A generator of its own: scipy spawns from what it gets, and how often that was done is not in
    # a generator's state, so that a searcher continued from its state would draw another sequence.
    own = np.random.default_rng(int(rng.integers(2**63)))
    sobol = qmc.Sobol(len(sizes), scramble=True, rng=own)
    genomes = np.empty((n, len(sizes)), dtype=np.int64)
    chunk = min(_CHUNK, 1 << max(n - 1, 0).bit_length())
    for start in range(0, n, chunk):  # one piece of the sequence at a time: 4 times as fast
        points = sobol.random(chunk)[: n - start]
        points *= sizes  # multiples of 2^-30 below 1: no product is rounded up to a size
        genomes[start : start + chunk] = points
    return genomes


def mutate(
    genomes: Genomes,
    sizes: NDArray[np.int64],
    rng: np.random.Generator,
    *,
    rate: float | None = None,
) -> Genomes:
    """Change genes at random, each to another of its values; at least one gene a genome changes.

    Args:
        genomes: shape (n, genes); not changed.
        sizes: number of values of each gene, shape (genes,).
        rng: consumed.
        rate: probability of each gene to change; default 1 / genes.
    """
    able = sizes > 1
    chance = rng.random(genomes.shape) < (1 / max(len(sizes), 1) if rate is None else rate)
    chance &= able
    if able.any():
        forced = rng.choice(np.flatnonzero(able), size=len(genomes))
        rows = np.flatnonzero(~chance.any(axis=1))
        chance[rows, forced[rows]] = True
    steps = rng.integers(1, np.maximum(sizes, 2), size=genomes.shape)
    return np.where(chance, (genomes + steps) % sizes, genomes)


def crossover(first: Genomes, second: Genomes, rng: np.random.Generator) -> Genomes:
    """Cross pairs at a single point: genes before it from `first`, the rest from `second`.

    Args:
        first: shape (n, genes).
        second: shape (n, genes).
        rng: consumed.
    """
    n, genes = first.shape
    points = rng.integers(1, max(genes, 2), size=(n, 1))
    return np.where(np.arange(genes) < points, first, second)
