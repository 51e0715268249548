"""A space of your own: choices, and functions that turn their values into blocks.

Everything else follows: genes, slots, cost tables, sampling, mutation, encoding, canonical form and
validation. What reaches a part (channels, image size) depends on choices made before it; the space
finds out by itself which images can reach which part.
"""

import dataclasses
import inspect
import itertools
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cached_property, partial
from typing import Any, Final, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from moga.contracts import Gene, Genomes
from moga.errors import InvalidBlock, UsageError
from moga.files import digest
from moga.network import Block, Network
from moga.spaces.base import Blocks, Derived, Slot, Space
from moga.spaces.subspace import Subspace

__all__ = ["Choice", "DeclaredSpace", "Image", "Part"]

_MOST: Final = 200_000
"""Entries of one part: more would take minutes to check."""
_FIELDS: Final = tuple(
    field.name
    for field in dataclasses.fields(Block)
    if field.name
    not in ("operation", "in_channels", "out_channels", "height", "width", "batch_factor")
)
"""Fields of a block that neither the image nor its place in the call decides."""


class Choice:
    """A decision: a name and its values.

    Args:
        name: the argument by which functions receive the value.
        *values: at least one, each once; numbers, texts, booleans or tuples of these.
        kind: "ordinal" where neighbouring values are alike, else "categorical"; None: ordinal for
            numbers in rising or falling order.

    Raises:
        UsageError: no values, or one twice, or an unknown kind.

    Example:
        >>> Choice("kernel", 3, 5, 7)
        Choice('kernel', 3, 5, 7, kind='ordinal')
    """

    def __init__(
        self,
        name: str,
        *values: Any,
        kind: Literal["ordinal", "categorical"] | None = None,
    ) -> None:
        if not name.isidentifier():
            raise UsageError(f"a choice's name is {name!r}; give a name that an argument can have")
        if not values or len(dict.fromkeys(values)) < len(values):
            raise UsageError(f"choice {name!r} has the values {values}; give each once, at least 1")
        if kind not in (None, "ordinal", "categorical"):
            raise UsageError(f"choice {name!r}: kind is {kind!r}; give 'ordinal' or 'categorical'")
        self.name, self.values = name, values
        self.kind: Literal["ordinal", "categorical"] = kind or _kind(values)

    def __repr__(self) -> str:
        values = "".join(f", {value!r}" for value in self.values)
        return f"Choice({self.name!r}{values}, kind={self.kind!r})"


def _kind(values: tuple[Any, ...]) -> Literal["ordinal", "categorical"]:
    if not all(isinstance(v, int | float) and not isinstance(v, bool) for v in values):
        return "categorical"
    return "ordinal" if list(values) in (sorted(values), sorted(values)[::-1]) else "categorical"


class Image(NamedTuple):
    """What reaches a part of a network.

    Args:
        channels: of the image.
        height: rows.
        width: columns.
        batch_factor: how many times more images than the input batch.
    """

    channels: int
    height: int
    width: int
    batch_factor: int = 1

    def block(self, operation: str, out_channels: int | None = None, **values: Any) -> Block:
        """Build a block that takes this image.

        Args:
            operation: a key of `network.OPERATIONS`.
            out_channels: None: as many as enter.
            **values: further fields of `network.Block`.

        Raises:
            InvalidBlock: naming the field, what came and what is allowed.
        """
        if unknown := [field for field in values if field not in _FIELDS]:
            raise InvalidBlock(
                f"image.block({operation!r}) takes no {', '.join(unknown)}; it takes: "
                f"out_channels, {', '.join(_FIELDS)}"
            )
        return Block(
            operation=operation,
            in_channels=self.channels,
            out_channels=self.channels if out_channels is None else out_channels,
            height=self.height,
            width=self.width,
            batch_factor=self.batch_factor,
            **values,
        )

    def after(self, block: Block) -> "Image":
        """Return what leaves a block."""
        return Image(block.out_channels, *block.out_size, block.out_batch_factor)


class Part:
    """One part of a network: a function, and the choices that are its own.

    Args:
        name: unique in the space; the group of its genes, which are named ``part.choice``.
        blocks: called with the `Image` that reaches the part, and by name with the values of those
            of its own and the space's shared choices that it names. Returns blocks in order, or
            pairs (block, times); an empty list where the part is absent.
        *choices: its own; each must be an argument of the function.
    """

    def __init__(self, name: str, blocks: Callable[..., Iterable[Any]], *choices: Choice) -> None:
        self.name, self.blocks, self.choices = name, blocks, choices


class _Axis(NamedTuple):
    """A gene as an axis of a table: its position in the genome and the number of its values."""

    gene: int
    size: int


class _Reaching(NamedTuple):
    """Which image reaches a part: `images[table[genes on axes]]`."""

    images: tuple[Image, ...]
    axes: tuple[_Axis, ...]
    table: NDArray[np.int64]


class DeclaredSpace(Space):
    """A space made of parts with choices.

    All combinations of each part are built once, here, so that a function that makes an impossible
    block says so at once, with the values that made it.

    Args:
        name: of the space.
        image: channels, height and width of the input; or a function of shared choices.
        parts: in the order in which they run.
        shared: choices that several parts, or `image`, read.
        objectives: what a search optimises when nothing else is asked for.
        evaluator: where accuracy comes from when nothing else is asked for; "" leaves that open.
            "supernet" needs parts that choose one block by one choice.
        arguments: what a function that builds this space was called with, for `spec`.

    Raises:
        UsageError: names twice, choices that no function takes, functions that return no blocks,
            or a part with more than 200,000 entries.
        InvalidBlock: a combination that makes an impossible block, or blocks that do not fit.

    Example:
        >>> def stem(image, kernel):
        ...     return [image.block("conv", 8, kernel=kernel, norm_eps=1e-5)]
        >>> def head(image):
        ...     pool = image.block("pool")
        ...     return [pool, image.after(pool).block("linear", 10, bias=True)]
        >>> parts = [Part("stem", stem, Choice("kernel", 3, 5, 7)), Part("head", head)]
        >>> space = DeclaredSpace("mine", (3, 32, 32), parts)
        >>> space.size, space.decode([1]).blocks[0].kernel
        (3, 5)
    """

    def __init__(
        self,
        name: str,
        image: Sequence[int] | Callable[..., Sequence[int]],
        parts: Sequence[Part],
        *,
        shared: Sequence[Choice] = (),
        objectives: Sequence[str] = ("accuracy", "latency"),
        evaluator: str = "",
        arguments: Mapping[str, Any] | None = None,
    ) -> None:
        self.name, self.image, self.parts, self.shared = name, image, tuple(parts), tuple(shared)
        self._objectives, self._evaluator = tuple(objectives), evaluator
        self._arguments = dict(arguments or {})
        self._genes = self._make_genes()
        self._entries: list[dict[tuple[int, ...], Blocks]] = []
        self._slots: list[Slot] = []
        self._same: list[tuple[tuple[int, ...], Slot, NDArray[np.int64]]] = []
        self._build()

    @property
    def genes(self) -> tuple[Gene, ...]:
        """The shared choices, then those of each part."""
        return self._genes

    @property
    def slots(self) -> tuple[Slot, ...]:
        """One slot a part."""
        return tuple(self._slots)

    @property
    def arguments(self) -> Mapping[str, Any]:
        """What the space was declared with."""
        return self._arguments

    @property
    def default_objectives(self) -> tuple[str, ...]:
        """As declared."""
        return self._objectives

    @property
    def default_evaluator(self) -> str:
        """As declared."""
        return self._evaluator

    @cached_property
    def digest(self) -> str:
        """A hash of the genes and of all blocks: another function is another space."""
        blocks = [
            [[[block.to_dict(), times] for block, times in entry] for entry in entries.values()]
            for entries in self._entries
        ]
        genes = [[gene.name, gene.group, gene.kind, repr(gene.values)] for gene in self.genes]
        return digest([self.name, self._arguments, genes, blocks])

    @property
    def resolution(self) -> int | None:
        """Rows of the input image; None where a choice decides."""
        heights = {block.height for blocks in self._first_blocks() for block in blocks[:1]}
        return heights.pop() if len(heights) == 1 else None

    @property
    def num_classes(self) -> int:
        """Channels that leave the network of the reference."""
        return self.decode(self.reference).num_classes

    def _first_blocks(self) -> Iterator[tuple[Block, ...]]:
        for entry in self._entries[0].values():
            yield tuple(block for block, _ in entry)

    def with_resolution(self, resolution: int) -> Space:
        """Return the same space with a square input image of another side.

        Raises:
            UsageError: a function decides the image, and no choice is called "resolution".
        """
        if any(choice.name == "resolution" for choice in self.shared):
            return Subspace(self, {"resolution": resolution})
        if callable(self.image):
            raise UsageError(f"the image of the space {self.spec} is a function of other choices")
        arguments = self._arguments
        if "resolution" in arguments:
            arguments = {**arguments, "resolution": resolution}
        return DeclaredSpace(
            self.name,
            (self.image[0], resolution, resolution),
            self.parts,
            shared=self.shared,
            objectives=self._objectives,
            evaluator=self._evaluator,
            arguments=arguments,
        )

    def canonical(self, genomes: Genomes) -> Genomes:
        """Map genomes of the same network to the same genome: (n, genes) -> (n, genes).

        Choices that make no difference (of an absent part, say) take their first values. This looks
        at one part at a time: two parts that can swap blocks between them are not noticed.
        """
        genomes = np.array(genomes, dtype=np.int64)
        for own, slot, first in self._same:
            sizes = tuple(len(self.genes[gene]) for gene in own)
            same = first.ravel().take(slot.flat_index(genomes))
            for gene, column in zip(own, np.unravel_index(same, sizes), strict=True):
                genomes[:, gene] = column
        return genomes

    def _make_genes(self) -> tuple[Gene, ...]:
        names = [part.name for part in self.parts]
        if not names or len(set(names)) < len(names) or "shared" in names:
            raise UsageError(
                f"the parts of {self.name!r} are named {names}; give at least one, each name once, "
                "and none 'shared'"
            )
        genes = [Gene(c.name, "shared", c.kind, c.values) for c in self.shared]
        for part in self.parts:
            genes += [
                Gene(f"{part.name}.{c.name}", part.name, c.kind, c.values) for c in part.choices
            ]
        listed = [gene.name for gene in genes]
        if len(set(listed)) < len(listed):
            raise UsageError(f"the choices of {self.name!r} are {listed}; give each name once")
        return tuple(genes)

    def _build(self) -> None:
        """Build every part's entries, in order, following which images can reach it."""
        reaching = self._inputs()
        start = len(self.shared)
        for part in self.parts:
            own = tuple(range(start, start + len(part.choices)))
            start += len(part.choices)
            reaching = self._add(part, own, reaching)

    def _inputs(self) -> _Reaching:
        if not callable(self.image):
            return _Reaching((_as_image(self.name, self.image),), (), np.array(0))
        takes = _arguments(self.image, f"the image of {self.name!r}", skip=0)
        read = self._shared_of(takes, f"the image of {self.name!r}")
        values = [self.genes[gene].values for gene in read]
        made = [
            _as_image(self.name, self.image(**dict(zip(takes, chosen, strict=True))))
            for chosen in itertools.product(*values)
        ]
        return _indexed(made, self._axes(read))

    def _axes(self, genes: Iterable[int]) -> tuple[_Axis, ...]:
        return tuple(_Axis(gene, len(self.genes[gene])) for gene in genes)

    def _shared_of(self, names: Sequence[str], where: str) -> tuple[int, ...]:
        known = [choice.name for choice in self.shared]
        for name in names:
            if name not in known:
                raise UsageError(
                    f"the function of {where} takes {name!r}, which is no choice; "
                    f"known there: {', '.join(known) or 'none'}"
                )
        return tuple(known.index(name) for name in names)

    def _add(self, part: Part, own: tuple[int, ...], reaching: _Reaching) -> _Reaching:
        """Build a part's entries and its slot; return which images leave it."""
        takes = _arguments(part.blocks, f"part {part.name!r}", skip=1)
        names = [choice.name for choice in part.choices]
        if idle := [name for name in names if name not in takes]:
            raise UsageError(
                f"the choices {idle} of part {part.name!r} are no arguments of its function, "
                f"which takes {takes}"
            )
        others = [name for name in takes if name not in names]
        read = (*own, *self._shared_of(others, f"part {part.name!r}"))
        axes = self._axes(dict.fromkeys((*read, *(axis.gene for axis in reaching.axes))))
        if math.prod(axis.size for axis in axes) > _MOST:
            raise UsageError(
                f"part {part.name!r} has more than {_MOST} combinations of its choices and those "
                "that decide its image; split it into parts with fewer choices each"
            )
        entries: dict[tuple[int, ...], Blocks] = {}
        left = []
        for key in _keys(axes, read, reaching):
            image = reaching.images[key[-1]]
            if key not in entries:
                values = [self.genes[g].values[i] for g, i in zip(read, key[:-1], strict=True)]
                entries[key] = _call(part, image, dict(zip((*names, *others), values, strict=True)))
            left.append(_leaving(entries[key], image))
        self._entries.append(entries)
        self._append_slot(part, own, read, reaching)
        return _indexed(left, axes)

    def _append_slot(
        self, part: Part, own: tuple[int, ...], read: tuple[int, ...], reaching: _Reaching
    ) -> None:
        values = tuple(self.genes[gene].values for gene in read)
        entries = self._entries[-1]
        found = {
            (
                *(v[i] for v, i in zip(values, key[:-1], strict=True)),
                reaching.images[key[-1]],
            ): entry
            for key, entry in entries.items()
        }
        fixed: tuple[Image, ...] = reaching.images
        derived: tuple[Derived, ...] = ()
        if len(reaching.images) > 1:
            genes = tuple(axis.gene for axis in reaching.axes)
            index = partial(_index_of, reaching.table, genes)
            fixed = ()
            derived = (Derived(f"image before {part.name}", reaching.images, index, genes),)
        slot = Slot(part.name, read, values, partial(_entry, found, fixed), derived)
        self._slots.append(slot)
        first = _first_of_same(entries, (*slot.shape, *(1 for _ in fixed)), len(own))
        if first is not None:
            self._same.append((own, slot, first))


def _keys(
    axes: tuple[_Axis, ...], read: tuple[int, ...], reaching: _Reaching
) -> Iterator[tuple[int, ...]]:
    """Yield, for each combination of axes, the indices of the genes read and of the image."""
    place = {axis.gene: number for number, axis in enumerate(axes)}
    for index in np.ndindex(*(axis.size for axis in axes)):
        image = reaching.table[tuple(index[place[axis.gene]] for axis in reaching.axes)]
        yield (*(index[place[gene]] for gene in read), int(image))


def _entry(
    found: Mapping[tuple[Any, ...], Blocks], fixed: tuple[Image, ...], *values: Any
) -> Blocks | None:
    """Return an entry, by the values of the genes and the image (the only one, where `fixed`)."""
    return found.get((*values, *fixed))


def _index_of(
    table: NDArray[np.int64], genes: tuple[int, ...], genomes: Genomes
) -> NDArray[np.int64]:
    return table[tuple(genomes[:, gene] for gene in genes)]


def _as_image(name: str, values: Sequence[int]) -> Image:
    if len(values) not in (3, 4) or any(not isinstance(v, int) or v < 1 for v in values):
        raise UsageError(
            f"the image of {name!r} is {values!r}; give channels, height and width, 1 or more each"
        )
    return Image(*values)


def _arguments(function: Callable[..., Any], where: str, skip: int) -> list[str]:
    """Return the names of a function's arguments but the first `skip`."""
    taken = list(inspect.signature(function).parameters.values())
    if len(taken) < skip or any(p.kind in (p.VAR_KEYWORD, p.VAR_POSITIONAL) for p in taken):
        raise UsageError(
            f"the function of {where} must name its arguments, the image first; it is "
            f"{inspect.signature(function)}"
        )
    return [parameter.name for parameter in taken[skip:]]


def _indexed(images: Sequence[Image], axes: tuple[_Axis, ...]) -> _Reaching:
    """Number the distinct images, and drop the axes that make no difference."""
    distinct = tuple(dict.fromkeys(images))
    numbers = {image: number for number, image in enumerate(distinct)}
    table = np.array([numbers[image] for image in images], dtype=np.int64)
    table = table.reshape([axis.size for axis in axes])
    kept = list(axes)
    for axis in axes:
        place = kept.index(axis)
        one = np.asarray(table.take(0, axis=place))
        if (table == np.expand_dims(one, place)).all():
            table = one
            kept.remove(axis)
    return _Reaching(distinct, tuple(kept), table)


def _call(part: Part, image: Image, chosen: Mapping[str, Any]) -> Blocks:
    """Call a part's function and check what it returns."""
    where = f"part {part.name!r} with {image} and {dict(chosen)}"
    try:
        entry = tuple(_pair(item, where) for item in _made(part, image, chosen, where))
        if entry:
            Network(tuple(block for block, times in entry for _ in range(min(times, 2))))
    except InvalidBlock as error:
        raise InvalidBlock(f"{where}: {error}") from error
    first = entry[0][0] if entry else None
    if first and Image(first.in_channels, first.height, first.width, first.batch_factor) != image:
        raise InvalidBlock(f"{where}: its first block takes another image: {first.summary}")
    return _joined(entry)


def _made(part: Part, image: Image, chosen: Mapping[str, Any], where: str) -> list[Any]:
    """Return what a part's function returns, as a list."""
    try:
        made: Any = part.blocks(image, **chosen)
        if isinstance(made, Iterable) and not isinstance(made, str):
            return list(made)
    except InvalidBlock:
        raise
    except Exception as error:  # whatever a function raises, it does not name its part
        raise UsageError(f"{where} raises {type(error).__name__}: {error}") from error
    given = f"one block, {made.summary}" if isinstance(made, Block) else repr(made)
    raise UsageError(
        f"{where} returns {given}; expected a list of Blocks or of pairs (Block, times), an empty "
        "one where the part is absent"
    )


def _pair(item: Any, where: str) -> tuple[Block, int]:
    block, times = item if isinstance(item, tuple) and len(item) == 2 else (item, 1)
    if not isinstance(block, Block) or not isinstance(times, int) or times < 1:
        given = f"({block.summary}, {times!r})" if isinstance(block, Block) else repr(item)
        raise UsageError(f"{where} returns {given}; expected a Block, or a pair (Block, times)")
    return block, times


def _joined(entry: Blocks) -> Blocks:
    """Write equal neighbours as one block with times."""
    runs = itertools.groupby(entry, key=lambda pair: pair[0])
    return tuple((block, sum(times for _, times in run)) for block, run in runs)


def _leaving(entry: Blocks, image: Image) -> Image:
    return image.after(entry[-1][0]) if entry else image


def _first_of_same(
    entries: Mapping[tuple[int, ...], Blocks], shape: tuple[int, ...], own: int
) -> NDArray[np.int64] | None:
    """Return, for each entry, the first own choices with the same blocks; None: all differ."""
    count = math.prod(shape[:own])
    first = np.arange(count).reshape(*shape[:own], *(1,) * (len(shape) - own))
    first = np.broadcast_to(first, shape).copy()
    seen: dict[tuple[Any, ...], int] = {}
    differs = False
    for key in sorted(entries):
        place = int(first[key])
        found = seen.setdefault((key[own:], entries[key]), place)
        differs |= found != place
        first[key] = found
    return first if differs else None
