"""Space, Slot and Derived; and sampling, mutation, crossover and neighbours over genes.

A space is a list of slots. A slot reads a few genes, and what earlier genes imply (as a derived
index with few values: the width that reaches a stage, the resolution), and yields blocks. The
network of a genome is the blocks of all slots in order.
"""

import dataclasses
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from moga.contracts import Gene, Genome, Genomes
from moga.errors import InvalidGenome, NotInSpace
from moga.files import digest
from moga.network import Block, Network

__all__ = [
    "Blocks",
    "Derived",
    "Slot",
    "Space",
    "crossover",
    "mutate",
    "neighbours",
    "sample_sobol",
    "sample_uniform",
]

Blocks = tuple[tuple[Block, int], ...]
"""Blocks with how many times each runs, one after another."""


@dataclasses.dataclass(frozen=True)
class Derived:
    """What genes imply, as an index with few values.

    Args:
        name: for messages.
        values: all that it can be.
        index: (n, genes) -> (n,): which value each genome has; vectorised.
    """

    name: str
    values: tuple[Any, ...]
    index: Callable[[Genomes], NDArray[np.int64]]


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
    """

    name: str
    genes: tuple[int, ...]
    gene_values: tuple[tuple[Any, ...], ...]
    blocks: Callable[..., Blocks | None]
    derived: tuple[Derived, ...] = ()

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of a cost array of this slot: one axis a gene, then one a derived index."""
        return (
            *(len(values) for values in self.gene_values),
            *(len(derived.values) for derived in self.derived),
        )

    def entry(self, index: Sequence[int]) -> Blocks | None:
        """Return the blocks of one entry; None where it cannot occur."""
        axes = (*self.gene_values, *(derived.values for derived in self.derived))
        return self.blocks(*(values[i] for values, i in zip(axes, index, strict=True)))

    def flat_index(self, genomes: Genomes) -> NDArray[np.int64]:
        """Return where each genome stands in the flattened array: (n, genes) -> (n,)."""
        columns = [genomes[:, gene] for gene in self.genes]
        columns += [derived.index(genomes) for derived in self.derived]
        flat = columns[0]
        for size, column in zip(self.shape[1:], columns[1:], strict=True):
            flat = flat * size + column
        return flat


class Space(ABC):
    """A set of networks that integers stand for.

    A space gives `name`, `genes` and `slots`; the rest follows. It is immutable: what configures it
    is in `arguments`, from which `spec` (the text that builds it again) and `digest` follow.
    """

    name: str

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
        for genome in matcher.matches(0, 0, {}):
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


class _Matcher:
    """Explains a network's blocks by slots, in order, with backtracking."""

    def __init__(self, space: Space, blocks: tuple[Block, ...]) -> None:
        self.space, self.blocks = space, blocks
        self.furthest, self.slot = 0, "the first slot"

    def matches(self, number: int, at: int, genes: dict[int, int]) -> Iterator[dict[int, int]]:
        if number == len(self.space.slots):
            if at == len(self.blocks):
                yield genes
            elif at >= self.furthest:
                self.furthest, self.slot = at, "the end of the space"
            return
        slot = self.space.slots[number]
        if at >= self.furthest:
            self.furthest, self.slot = at, f"slot {slot.name!r}"
        for index in np.ndindex(*slot.shape):
            chosen = dict(zip(slot.genes, index, strict=False))
            if any(genes.get(gene, value) != value for gene, value in chosen.items()):
                continue
            entry = slot.entry(index)
            if entry is None:
                continue
            blocks = [block for block, times in entry for _ in range(times)]
            if tuple(blocks) == self.blocks[at : at + len(blocks)]:
                yield from self.matches(number + 1, at + len(blocks), {**genes, **chosen})

    def explain(self) -> str:
        if self.furthest >= len(self.blocks):
            return f"the network ends before {self.slot} of the space {self.space.spec}"
        return (
            f"block {self.furthest} of the network does not fit {self.slot} of the space "
            f"{self.space.spec}: {self.blocks[self.furthest].to_dict()}"
        )


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
    from scipy.stats import qmc

    sobol = qmc.Sobol(len(sizes), scramble=True, rng=rng)
    points = sobol.random_base2(max(n - 1, 0).bit_length())[:n]
    genomes: Genomes = np.minimum((points * sizes).astype(np.int64), sizes - 1)
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


def neighbours(genome: Sequence[int], genes: Sequence[Gene]) -> Genomes:
    """Return all genomes one step away, shape (m, genes).

    A step changes one gene: an ordinal one to the next or previous value, a categorical one to any.
    """
    base = np.asarray(genome, dtype=np.int64)
    found = []
    for position, gene in enumerate(genes):
        value = int(base[position])
        if gene.kind == "ordinal":
            others = [v for v in (value - 1, value + 1) if 0 <= v < len(gene)]
        else:
            others = [v for v in range(len(gene)) if v != value]
        for other in others:
            step = base.copy()
            step[position] = other
            found.append(step)
    return np.array(found, dtype=np.int64).reshape(-1, len(base))
