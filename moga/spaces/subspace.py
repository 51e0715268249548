"""A space with some genes fixed: what is left is a space again."""

from collections.abc import Iterator, Mapping
from functools import cached_property, partial
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from moga import registry
from moga.contracts import Gene, Genome, Genomes, is_count
from moga.errors import NotInSpace, UnknownName, UsageError
from moga.files import digest
from moga.network import Network
from moga.spaces.base import Blocks, Derived, Slot, Space

__all__ = ["Subspace"]

_SHORT: Final = 4
"""Genes of a run; all shorter ones are tried."""


class Subspace(Space):
    """The networks of a space that have given values of some genes; the other genes remain.

    Args:
        space: a space, its name, or text such as ``"gpunet(num_classes=10)"``.
        fixed: gene name -> one of its values. Where the values are neither numbers nor booleans
            (MoGA's are tuples), an integer stands for the position of a value, as in a genome.
        resolution: passed on to a space given as text, where it takes one and the text has none.
        num_classes: the same.

    Raises:
        UnknownName: no such gene, or space.
        UsageError: a value that the gene does not have, or no gene is left.

    Example:
        >>> space = Subspace("moga", {"layer_3": (6, 5, True), "layer_4": 0})
        >>> space.size == 12**12
        True
        >>> space.decode([0] * 12).blocks[5].kernel
        5
    """

    name = "subspace"

    def __init__(
        self,
        space: Space | str,
        fixed: Mapping[str, Any],
        resolution: int | None = None,
        num_classes: int | None = None,
    ) -> None:
        given = {"resolution": resolution, "num_classes": num_classes}
        given = {name: value for name, value in given.items() if value is not None}
        self.space: Space = registry.create("space", space, **given)
        names = [gene.name for gene in self.space.genes]
        for name in fixed:
            if name not in names:
                raise UnknownName(f"gene of {self.space.name}", name, names)
        self._fixed = {
            names.index(name): _index(self.space.genes[names.index(name)], value)
            for name, value in fixed.items()
        }
        self._free = tuple(i for i in range(len(names)) if i not in self._fixed)
        if not self._free:
            raise UsageError(f"all genes of {self.space.spec} are fixed; leave at least one free")
        self.resolution = getattr(self.space, "resolution", None)
        self.num_classes = getattr(self.space, "num_classes", None)

    @property
    def arguments(self) -> Mapping[str, Any]:
        """The space as text, and the fixed genes: their value, or its position where no number."""
        genes = self.space.genes
        fixed = {
            genes[gene].name: genes[gene].values[index] if _plain(genes[gene]) else index
            for gene, index in sorted(self._fixed.items())
        }
        return {"space": self.space.spec, "fixed": fixed}

    @cached_property
    def digest(self) -> str:
        """A hash of the whole space's and of the fixed genes."""
        return digest([self.name, self.space.digest, dict(self.arguments["fixed"])])

    @property
    def reference(self) -> Genome:
        """The space's own reference, as far as its genes are free."""
        return tuple(self.space.reference[gene] for gene in self._free)

    @property
    def default_objectives(self) -> tuple[str, ...]:
        """The space's own."""
        return self.space.default_objectives

    @property
    def default_evaluator(self) -> str:
        """The space's own."""
        return self.space.default_evaluator

    @cached_property
    def genes(self) -> tuple[Gene, ...]:
        """The genes that are not fixed."""
        return tuple(self.space.genes[gene] for gene in self._free)

    @cached_property
    def slots(self) -> tuple[Slot, ...]:
        """The space's slots, each without the axes of fixed genes."""
        shared: dict[int, Derived] = {}
        return tuple(self._restrict(slot, shared) for slot in self.space.slots)

    def _restrict(self, slot: Slot, shared: dict[int, Derived]) -> Slot:
        for derived in slot.derived:
            shared.setdefault(id(derived), self._follow(derived))
        kept = [axis for axis, gene in enumerate(slot.genes) if gene not in self._fixed]
        inserted = {
            axis: slot.gene_values[axis][self._fixed[gene]]
            for axis, gene in enumerate(slot.genes)
            if gene in self._fixed
        }
        side = slot.side
        if side is not None:
            side = None if side in inserted else side - sum(axis < side for axis in inserted)
        return Slot(
            slot.name,
            tuple(self._free.index(slot.genes[axis]) for axis in kept),
            tuple(slot.gene_values[axis] for axis in kept),
            partial(_with_fixed, slot.blocks, inserted) if inserted else slot.blocks,
            tuple(shared[id(derived)] for derived in slot.derived),
            side,
        )

    def _follow(self, derived: Derived) -> Derived:
        read = derived.genes
        if read is not None:
            read = tuple(self._free.index(gene) for gene in read if gene not in self._fixed)
        return Derived(
            derived.name, derived.values, partial(_through, self.expand, derived.index), read
        )

    def expand(self, genomes: Genomes) -> Genomes:
        """Return genomes of the whole space: (n, free genes) -> (n, genes)."""
        whole = np.empty((len(genomes), len(self.space.genes)), dtype=np.int64, order="F")
        whole[:, list(self._free)] = genomes
        for gene, index in self._fixed.items():
            whole[:, gene] = index
        return whole

    def encode(self, network: Network) -> Genome:
        """Return the canonical genome of a network.

        Raises:
            NotInSpace: naming a block that the space does not have, or a gene that is fixed here.
        """
        whole = self.space.encode(network)
        genome = tuple(whole[gene] for gene in self._free)
        if self.decode(genome) == network:
            return tuple(self.canonical(self.validate(np.array(genome)))[0].tolist())
        try:  # the whole space's form of the network may have other values of fixed genes
            return super().encode(network)
        except NotInSpace:
            wrong = next(gene for gene, index in self._fixed.items() if whole[gene] != index)
        gene, index = self.space.genes[wrong], self._fixed[wrong]
        raise NotInSpace(
            f"the network has {gene.values[whole[wrong]]!r} for gene {gene.name!r}, which is "
            f"fixed to {gene.values[index]!r} in {self.spec}"
        )

    def canonical(self, genomes: Genomes) -> Genomes:
        """Map genomes of the same network to the same genome, as the whole space does.

        The whole space's form may be beyond this one, as where layers would move into a stage whose
        depth is fixed. Then as many runs of neighbouring genes have their values of that form as
        leave the network as it is. Genomes that need other genes changed at once stay apart, though
        they be of one network.
        """
        whole = self.space.canonical(self.expand(genomes))
        result = whole[:, list(self._free)]
        moved = np.flatnonzero(
            (whole[:, list(self._fixed)] != list(self._fixed.values())).any(axis=1)
        )
        if len(moved):
            lost = moved[~self._gives(result[moved], whole[moved])]
            if len(lost):
                result[lost] = self._towards(whole[lost], np.asarray(genomes)[lost])
        return result

    def _towards(self, whole: Genomes, genomes: Genomes) -> Genomes:
        """Set run by run to the whole space's form where that leaves the network as it is."""
        result, form = genomes.copy(), whole[:, list(self._free)]
        before: Genomes | None = None
        while before is None or (result != before).any():
            before = result.copy()
            for run in _runs(len(self._free)):
                trial = result.copy()
                trial[:, run] = form[:, run]
                same = (trial != result).any(axis=1)
                same[same] = self._gives(trial[same], whole[same])
                result[same] = trial[same]
        return result

    def _gives(self, genomes: Genomes, whole: Genomes) -> NDArray[np.bool_]:
        """Whether genomes are of the networks of the whole space's canonical ones: -> (n,)."""
        found = self.space.canonical(self.expand(genomes)) == whole
        return np.asarray(found.all(axis=1))


def _runs(length: int) -> Iterator[slice]:
    """Yield runs of neighbours: all, halves, quarters, overlapping by half; of 4 to 1, each."""
    width = length
    while width:
        for start in range(0, length - width + 1, 1 if width <= _SHORT else -(-width // 2)):
            yield slice(start, start + width)
        width = width - 1 if width <= _SHORT else max(width // 2, _SHORT)


def _plain(gene: Gene) -> bool:
    """Whether values are told by themselves; an integer is then never taken for a position."""
    return all(isinstance(value, int | float | str) for value in gene.values)


def _index(gene: Gene, value: Any) -> int:
    if value in gene.values:
        return gene.values.index(value)
    numbers = any(isinstance(known, int | float) for known in gene.values)
    if not numbers and is_count(value) and value < len(gene):
        return int(value)
    raise UsageError(
        f"gene {gene.name!r} cannot be fixed to {value!r}; its values are "
        f"{', '.join(map(repr, gene.values))}"
    )


def _with_fixed(blocks: Any, inserted: Mapping[int, Any], *values: Any) -> Blocks | None:
    given = list(values)
    for axis, value in sorted(inserted.items()):
        given.insert(axis, value)
    found: Blocks | None = blocks(*given)
    return found


def _through(expand: Any, index: Any, genomes: Genomes) -> NDArray[np.int64]:
    found: NDArray[np.int64] = index(expand(genomes))
    return found
