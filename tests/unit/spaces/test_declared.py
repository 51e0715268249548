import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from moga.contracts import Gene
from moga.errors import InvalidBlock, UsageError
from moga.network import Block
from moga.networks.count import count_macs, count_params
from moga.spaces.base import sample_uniform
from moga.spaces.cost import CostTables, count_table
from moga.spaces.declared import Choice, DeclaredSpace, Image, Part
from moga.spaces.subspace import Subspace


def stem(image: Image, activation: str = "relu") -> list[Block]:
    return [image.block("conv", 8, kernel=3, stride=2, activation=activation, norm_eps=1e-5)]


def stage(image: Image, kernel: int, width: int, layers: int) -> list[Block]:
    blocks = []
    for index in range(layers):
        stride = 1 if index else 2
        block = image.block("conv", width, kernel=kernel, stride=stride, norm_eps=1e-5)
        blocks.append(block)
        image = image.after(block)
    return blocks


def head(image: Image) -> list[Block]:
    pool = image.block("pool")
    return [pool, image.after(pool).block("linear", 10, bias=True)]


STAGE = (Choice("kernel", 3, 5), Choice("width", 8, 16), Choice("layers", 0, 1, 3))


def space_of(*parts: Part, image: Any = (3, 32, 32), **options: Any) -> DeclaredSpace:
    """Stem and head with other parts between them."""
    first = Part("stem", stem, *options.pop("stem", (Choice("activation", "relu", "hswish"),)))
    return DeclaredSpace("mine", image, [first, *parts, Part("head", head)], **options)


def _misspelt(image: Image, kernel: int) -> list[Block]:
    return [image.block("conv", 8, kernel=kernel, norm=1e-5)]


TWO = space_of(Part("one", stage, *STAGE), Part("two", stage, *STAGE))


def test_genes_are_the_choices_by_part() -> None:
    assert TWO.genes[:3] == (
        Gene("stem.activation", "stem", "categorical", ("relu", "hswish")),
        Gene("one.kernel", "one", "ordinal", (3, 5)),
        Gene("one.width", "one", "ordinal", (8, 16)),
    )
    assert TWO.size == 2 * 12 * 12
    assert (TWO.resolution, TWO.num_classes, TWO.spec) == (32, 10, "mine")
    assert (TWO.default_objectives, TWO.default_evaluator) == (("accuracy", "latency"), "")


def test_every_network_is_what_the_functions_say() -> None:
    for genome in itertools.product(*(range(len(gene)) for gene in TWO.genes)):
        values = [gene.values[i] for gene, i in zip(TWO.genes, genome, strict=True)]
        image, expected = Image(3, 32, 32), []
        for function, chosen in (
            *((stem, values[:1]), (stage, values[1:4]), (stage, values[4:]), (head, [])),
        ):
            expected += function(image, *chosen)
            image = image.after(expected[-1])
        assert TWO.decode(genome).blocks == tuple(expected)


def test_tables_equal_direct_counts() -> None:
    tables = CostTables([count_table(TWO, m) for m in ("params", "macs")])
    genomes = np.array(list(itertools.product(*(range(len(gene)) for gene in TWO.genes))))
    direct = [[count_params(n), count_macs(n)] for n in map(TWO.decode, genomes)]
    assert tables(genomes).tolist() == direct


def test_choices_of_an_absent_part_do_not_count() -> None:
    genomes = np.array([[1, 1, 1, 0, 1, 1, 2], [0, 1, 0, 1, 1, 1, 0]])
    assert TWO.canonical(genomes).tolist() == [[1, 0, 0, 0, 1, 1, 2], [0, 1, 0, 1, 0, 0, 0]]


def test_what_an_earlier_part_implies_is_derived_with_few_values() -> None:
    shapes = [slot.shape for slot in TWO.slots]
    # After part one: 8 channels at 16 pixels (absent), or 8 or 16 at 8 pixels.
    assert shapes[:3] == [(2,), (2, 2, 3), (2, 2, 3, 3)]
    assert TWO.slots[2].derived[0].values == (Image(8, 16, 16), Image(8, 8, 8), Image(16, 8, 8))
    assert TWO.slots[2].derived[0].genes == (2, 3)


def test_shared_choices_and_an_image_that_follows_one() -> None:
    space = space_of(
        image=lambda resolution: (3, resolution, resolution),
        stem=(),
        shared=[Choice("activation", "relu", "hswish"), Choice("resolution", 32, 64)],
    )
    assert [gene.name for gene in space.genes] == ["activation", "resolution"]
    assert space.genes[0].group == "shared"
    assert space.decode([1, 1]).blocks[0].activation == "hswish"
    assert space.decode([1, 1]).input_shape == (3, 64, 64)
    assert space.encode(space.decode([1, 1])) == (1, 1)
    assert space.resolution is None
    fixed = space.with_resolution(64)
    assert isinstance(fixed, Subspace)
    assert fixed.decode([0]).input_shape == (3, 64, 64)


def test_with_resolution_changes_a_fixed_image() -> None:
    space = space_of(arguments={"resolution": 32, "depth": 2}).with_resolution(64)
    assert space.decode([0]).input_shape == (3, 64, 64)
    assert space.spec == repr(space) == "mine(resolution=64, depth=2)"
    with pytest.raises(UsageError, match="image of the space mine is a function of other choices"):
        space_of(image=lambda side: (3, side, side), shared=[Choice("side", 32)]).with_resolution(8)


def test_blocks_with_times_and_equal_neighbours_are_one_entry() -> None:
    def repeated(image: Image, depth: int) -> list[Any]:
        block = image.block("conv", kernel=3, norm_eps=1e-5)
        return [(block, depth), block]

    space = space_of(Part("body", repeated, Choice("depth", 1, 4)))
    entry = space.slots[1].entry((1,))
    assert entry is not None
    assert [times for _, times in entry] == [5]
    assert len(space.decode([0, 1])) == 8


def test_batch_factors_follow_the_image() -> None:
    def apart(image: Image) -> list[Block]:
        taken = image.block("space_to_batch", stride=2)
        middle = image.after(taken).block("conv", kernel=3, norm_eps=1e-5)
        inner = image.after(taken).after(middle)
        return [taken, middle, inner.block("batch_to_space", stride=2)]

    blocks = space_of(Part("apart", apart)).decode([0]).blocks
    assert [block.batch_factor for block in blocks] == [1, 1, 4, 4, 1, 1]


def test_the_digest_follows_the_blocks() -> None:
    def other(image: Image, activation: str) -> list[Block]:
        return [image.block("conv", 8, kernel=5, stride=2, activation=activation)]

    one = space_of()
    parts = [Part("stem", other, Choice("activation", "relu", "hswish")), Part("head", head)]
    assert one.digest == space_of().digest
    assert one.digest != DeclaredSpace("mine", (3, 32, 32), parts).digest


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        ((3, 5, 7), "ordinal"),
        ((1.0, 0.5, 0.25), "ordinal"),
        ((3, 7, 5), "categorical"),
        ((False, True), "categorical"),
        (("relu", "swish"), "categorical"),
        (((3, 1), (5, 1)), "categorical"),
    ],
)
def test_the_kind_follows_the_values(values: tuple[Any, ...], kind: str) -> None:
    assert Choice("any", *values).kind == kind
    assert Choice("any", *values, kind="categorical").kind == "categorical"


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Choice("a b", 1), "name is 'a b'; give a name that an argument can have"),
        (lambda: Choice("a"), r"choice 'a' has the values \(\); give each once, at least 1"),
        (lambda: Choice("a", 1, 2, 1), r"has the values \(1, 2, 1\); give each once"),
        (lambda: Choice("a", 1, kind="other"), "kind is 'other'; give 'ordinal' or 'categorical'"),
        (lambda: DeclaredSpace("mine", (3, 8, 8), []), r"named \[\]; give at least one"),
        (lambda: space_of(Part("stem", stem)), "give at least one, each name once, and none 'shar"),
        (
            lambda: space_of(Part("one", stage, *STAGE, Choice("kernel", 7))),
            r"the choices of 'mine' are .*'one.kernel'.*; give each name once",
        ),
        (
            lambda: space_of(Part("one", stage, *STAGE, Choice("ratio", 2))),
            r"the choices \['ratio'\] of part 'one' are no arguments of its function, which takes",
        ),
        (
            lambda: space_of(Part("one", stage, *STAGE[:2])),
            "the function of part 'one' takes 'layers', which is no choice; known there: none",
        ),
        (
            lambda: space_of(Part("one", lambda *values: [])),
            "the function of part 'one' must name its arguments, the image first",
        ),
        (
            lambda: space_of(Part("one", lambda image: ["conv"])),
            r"part 'one' with Image\(.*\) and \{\} returns 'conv'; expected a Block, or a pair",
        ),
        (
            lambda: space_of(Part("one", lambda image: image.block("conv", 8))),
            r"part 'one' with Image\(.*\) and \{\} returns one block, conv 1x1 8->8 at 16x16; "
            r"expected a list of Blocks or of pairs \(Block, times\), an empty one where the part",
        ),
        (
            lambda: space_of(Part("one", lambda image: None)),
            r"part 'one' with .* returns None; expected a list of Blocks",
        ),
        (
            lambda: space_of(Part("one", lambda image, a: {}[a], Choice("a", 1, 2))),
            r"part 'one' with .* and \{'a': 1\} raises KeyError: 1$",
        ),
        (
            lambda: space_of(Part("one", _misspelt, Choice("kernel", 3, 5))),
            r"part 'one' with .* and \{'kernel': 3\}: image.block\('conv'\) takes no norm; it "
            r"takes: out_channels, kernel, stride, .*, norm_eps, bias, shortcut, edges$",
        ),
        (
            lambda: space_of(Part("one", lambda image: [(image.block("conv", 8), 0)])),
            r"returns \(conv 1x1 8->8 at 16x16, 0\); expected a Block, or a pair \(Block, times\)",
        ),
        (lambda: space_of(image=(3, 32)), r"the image of 'mine' is \(3, 32\); give channels, hei"),
        (lambda: space_of(image=(3, 32, 0)), r"\(3, 32, 0\); give channels, height and width, 1"),
        (
            lambda: space_of(Part("one", stage, *STAGE[:2], Choice("layers", *range(60_000)))),
            "part 'one' has more than 200000 combinations of its choices and those that decide",
        ),
    ],
)
def test_declarations_that_make_no_space_are_refused(make: Callable[[], Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        make()


def test_impossible_blocks_name_the_part_and_the_values() -> None:
    def grouped(image: Image, groups: int) -> list[Block]:
        return [image.block("conv", 8, groups=groups)]

    message = r"part 'one' with Image\(channels=8, .*\) and \{'groups': 3\}: block 'conv': groups"
    with pytest.raises(InvalidBlock, match=message):
        space_of(Part("one", grouped, Choice("groups", 2, 3)))


def test_blocks_that_do_not_fit_name_the_part() -> None:
    def skips(image: Image) -> list[Block]:
        return [image.block("conv", 16), image.block("conv", 16)]

    with pytest.raises(InvalidBlock, match=r"part 'one' .*: block 1 \(conv\) takes channels x hei"):
        space_of(Part("one", skips))
    elsewhere = Image(5, 4, 4).block("conv", 8)
    with pytest.raises(InvalidBlock, match=r"part 'one' .* another image: conv 1x1 5->8 at 4x4$"):
        space_of(Part("one", lambda image: [elsewhere]))


def test_random_genomes_encode_to_their_canonical_form_where_parts_cannot_swap_blocks() -> None:
    never = Choice("layers", 1, 3)
    space = space_of(Part("one", stage, *STAGE[:2], never), Part("two", stage, *STAGE))
    for genome in sample_uniform(space.sizes, 50, np.random.default_rng(0)):
        expected = tuple(space.canonical(genome[None])[0])
        assert space.encode(space.decode(genome)) == expected
