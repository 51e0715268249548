import itertools
from collections.abc import Mapping
from functools import cached_property
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from moga.contracts import Gene, Genomes
from moga.errors import InvalidGenome, NotInSpace, UsageError
from moga.network import Block, Network
from moga.spaces.base import (
    Blocks,
    Derived,
    Slot,
    Space,
    crossover,
    mutate,
    sample_sobol,
    sample_uniform,
)


def _conv(channels: int, out: int) -> Block:
    return Block(operation="conv", in_channels=channels, out_channels=out, height=8, width=8)


def _body(width: int, depth: int) -> Blocks:
    return ((_conv(4, width), 1), (_conv(width, width), depth))


def _tail(kernel: int, width: int) -> Blocks | None:
    block = Block(
        operation="conv", in_channels=width, out_channels=4, height=8, width=8, kernel=kernel
    )
    return None if (kernel, width) == (5, 8) else ((block, 1),)


def _width_index(genomes: Genomes) -> NDArray[np.int64]:
    return genomes[:, 0]


class Tiny(Space):
    """Three genes, a derived width, an entry that cannot occur, and depth 0."""

    name = "tiny"

    @property
    def arguments(self) -> Mapping[str, Any]:
        return {"side": 8, "data": "none"}

    @cached_property
    def genes(self) -> tuple[Gene, ...]:
        return (
            Gene("width", "body", "ordinal", (8, 16, 24)),
            Gene("depth", "body", "ordinal", (0, 1, 2)),
            Gene("kernel", "tail", "categorical", (1, 3, 5)),
        )

    @cached_property
    def slots(self) -> tuple[Slot, ...]:
        width, depth, kernel = (gene.values for gene in self.genes)
        derived = (Derived("width", width, _width_index),)
        return (
            Slot("stem", (), (), lambda: ((_conv(3, 4), 1),)),
            Slot("body", (0, 1), (width, depth), _body),
            Slot("tail", (2,), (kernel,), _tail, derived),
        )


GENOMES = [g for g in itertools.product(range(3), repeat=3) if not (g[0] == 0 and g[2] == 2)]


def test_sizes_spec_and_digest() -> None:
    space = Tiny()
    assert space.size == 27
    assert space.sizes.tolist() == [3, 3, 3]
    assert space.spec == "tiny(side=8, data='none')"
    assert repr(space) == space.spec
    assert space.reference == (1, 1, 1)
    assert space.default_objectives == ("accuracy", "latency")
    assert space.default_evaluator == ""
    assert space.digest == Tiny().digest
    assert [slot.shape for slot in space.slots] == [(), (3, 3), (3, 3)]


@pytest.mark.parametrize("genome", GENOMES)
def test_encode_reverses_decode(genome: tuple[int, ...]) -> None:
    space = Tiny()
    network = space.decode(genome)
    assert len(network) == 3 + genome[1]
    assert space.encode(network) == genome


def test_decode_refuses_an_entry_that_cannot_occur() -> None:
    with pytest.raises(InvalidGenome, match=r"slot 'tail' of tiny has no entry \[2, 0\]"):
        Tiny().decode((0, 0, 2))


@pytest.mark.parametrize(
    ("genomes", "message"),
    [
        ([[0, 0]], r"a genome of tiny has 3 genes; got shape \(1, 2\)"),
        ([[[0, 0, 0]]], r"a genome of tiny has 3 genes; got shape \(1, 1, 3\)"),
        ([[0, 0.5, 0]], "genes of tiny are integers; got float64"),
        ([[0, float("nan"), 0]], "genes of tiny are integers; got float64"),
        ([["0", "1", "0"]], "genes of tiny are integers; got <U1"),
        (
            [[0, 0, 0], [0, 3, 0]],
            r"gene 'depth' \(position 1\) of genome 1 is 3; allowed: 0 to 2, for .* 0, 1, 2",
        ),
        ([[0, 0, -1]], r"gene 'kernel' \(position 2\) of genome 0 is -1; allowed: 0 to 2"),
    ],
)
def test_validate_names_the_gene_and_its_range(genomes: Any, message: str) -> None:
    with pytest.raises(InvalidGenome, match=message):
        Tiny().validate(np.array(genomes))


def test_validate_shortens_long_lists_of_values() -> None:
    class Long(Tiny):
        @cached_property
        def genes(self) -> tuple[Gene, ...]:
            return (Gene("long", "g", "ordinal", tuple(range(20))),)

    with pytest.raises(InvalidGenome, match=r"10, 11, \.\.\. \(20 in all\)$"):
        Long().validate(np.array([20]))


def test_validate_returns_int64_of_two_dimensions_and_takes_none() -> None:
    space = Tiny()
    got = space.validate(np.array([2.0, 1.0, 0.0]))
    assert got.dtype == np.int64
    assert got.tolist() == [[2, 1, 0]]
    assert space.validate(np.empty((0, 3))).shape == (0, 3)


def test_decode_takes_exactly_one_genome() -> None:
    with pytest.raises(InvalidGenome, match="decode takes one genome of tiny; got 2"):
        Tiny().decode(np.zeros((2, 3), dtype=np.int64))


def test_encode_names_the_block_that_does_not_fit() -> None:
    space = Tiny()
    with pytest.raises(NotInSpace) as caught:
        space.encode(Network((_conv(3, 4), _conv(4, 8), _conv(8, 9), _conv(9, 4))))
    assert str(caught.value).startswith(
        "block 2 of the network does not fit slot 'tail' of the space tiny(side=8, data='none'): "
        "conv 1x1 8->9 at 8x8 ("
    )


def test_encode_names_a_few_of_many_fields_that_no_gene_gives() -> None:
    other = Block(
        operation="mbconv",
        in_channels=3,
        hidden_channels=5,
        out_channels=5,
        height=9,
        width=9,
        kernel=7,
        activation="swish",
    )
    with pytest.raises(NotInSpace) as caught:
        Tiny().encode(Network((other,)))
    message = str(caught.value)
    assert "mbconv 7x7 3->5->5 at 9x9 (operation is 'mbconv'; the space has conv; " in message
    assert message.endswith(" fields more)")
    assert message.count(" is ") == 4


def test_encode_names_the_first_block_where_nothing_fits() -> None:
    with pytest.raises(NotInSpace, match="block 0 of the network does not fit slot 'stem'"):
        Tiny().encode(Network((_conv(5, 4),)))


def test_encode_says_where_the_network_ends_or_goes_on() -> None:
    blocks = Tiny().decode((1, 1, 1)).blocks
    with pytest.raises(NotInSpace, match="the network ends before slot 'tail' of the space tiny"):
        Tiny().encode(Network(blocks[:-1]))
    with pytest.raises(NotInSpace, match="block 4 of the network does not fit the end of the sp"):
        Tiny().encode(Network((*blocks, _conv(4, 4))))


def test_encode_follows_derived_values() -> None:
    """A tail of another width than the body's does not fit, though its slot has such an entry."""
    body, tail = Tiny().decode((1, 0, 1)).blocks, Tiny().decode((2, 0, 1)).blocks
    bridge = _conv(16, 24)
    with pytest.raises(NotInSpace):
        Tiny().encode(Network((*body[:-1], bridge, tail[-1])))


def test_encode_says_which_field_no_gene_gives() -> None:
    class Wide(Tiny):
        """The tail's derived width says which gene it reads, so that it is known early."""

        @cached_property
        def slots(self) -> tuple[Slot, ...]:
            stem, body, tail = super().slots
            width = Derived.of("width", (0,), (self.genes[0].values,), int)
            return stem, body, Slot(tail.name, tail.genes, tail.gene_values, _tail, (width,))

    space = Wide()
    blocks = space.decode((1, 1, 1)).blocks
    assert space.encode(Network(blocks)) == (1, 1, 1)
    even = Block(operation="conv", in_channels=16, out_channels=4, height=8, width=8, kernel=7)
    with pytest.raises(NotInSpace, match=r"\(kernel is 7; gene 'kernel' gives 1, 3, 5\)$"):
        space.encode(Network((*blocks[:-1], even)))
    narrow = Network((blocks[0], _conv(4, 9), _conv(9, 4)))
    with pytest.raises(NotInSpace, match=r"out_channels is 9; gene 'width' gives 8, 16, 24\)$"):
        space.encode(narrow)


def test_encode_names_the_slot_in_the_midst_of_which_a_block_differs() -> None:
    blocks = Tiny().decode((1, 2, 1)).blocks
    other = Block(
        operation="conv",
        in_channels=16,
        out_channels=16,
        height=8,
        width=8,
        activation="relu",
    )
    with pytest.raises(NotInSpace, match="block 3 of the network does not fit slot 'body' of"):
        Tiny().encode(Network((*blocks[:3], other, *blocks[4:])))


def test_derived_values_of_a_table_are_few_and_known_by_their_genes() -> None:
    derived = Derived.of("half", (2, 0), ((4, 6), (1, 2, 3)), lambda a, b: a * b // 2)
    assert derived.values == (2, 4, 6, 3, 9)
    assert derived.genes == (2, 0)
    genomes = np.array(list(itertools.product(range(3), range(1), range(2))))
    got = [derived.values[i] for i in derived.index(genomes)]
    assert got == [(4, 6)[c] * (1, 2, 3)[a] // 2 for a, _, c in genomes.tolist()]


def test_encode_finds_genes_that_only_a_derived_value_reads() -> None:
    class Hidden(Tiny):
        @cached_property
        def slots(self) -> tuple[Slot, ...]:
            width = Derived.of("width", (0,), (self.genes[0].values,), int)
            depth, kernel = (gene.values for gene in self.genes[1:])
            return (
                Slot("stem", (), (), lambda: ((_conv(3, 4), 1),)),
                Slot("body", (1,), (depth,), lambda depth, width: _body(width, depth), (width,)),
                Slot("tail", (2,), (kernel,), lambda k, w: _tail(min(k, 3), w), (width,)),
            )

    space = Hidden()
    for genome in itertools.product(range(3), range(3), range(2)):
        assert space.encode(space.decode(genome)) == genome


def test_slots_that_share_a_derived_value_compute_it_once() -> None:
    calls = []

    def index(genomes: Genomes) -> NDArray[np.int64]:
        calls.append(len(genomes))
        return genomes[:, 0]

    derived = (Derived("width", (8, 16, 24), index),)
    slots = [Slot(name, (2,), ((1, 3, 5),), _tail, derived) for name in "ab"]
    genomes = np.array([[2, 0, 1], [1, 0, 2]])
    known: dict[int, NDArray[np.int64]] = {}
    for slot in slots:
        assert slot.flat_index(genomes, known).tolist() == [5, 7]
    assert calls == [2]
    assert slots[0].flat_index(genomes).tolist() == [5, 7]
    assert calls == [2, 2]


def test_with_resolution_needs_a_resolution() -> None:
    with pytest.raises(UsageError, match=r"the space tiny\(.*\) has no resolution to choose"):
        Tiny().with_resolution(8)


def test_with_resolution_fixes_a_gene_of_that_name() -> None:
    class Sized(Tiny):
        @cached_property
        def genes(self) -> tuple[Gene, ...]:
            first, second, _ = super().genes
            return first, second, Gene("resolution", "tail", "ordinal", (1, 3, 5))

    space = Sized().with_resolution(3)
    assert [gene.name for gene in space.genes] == ["width", "depth"]
    assert space.decode((1, 1)) == Sized().decode((1, 1, 1))
    with pytest.raises(UsageError, match="gene 'resolution' cannot be fixed to 2; its values"):
        Sized().with_resolution(2)


SIZES = np.array([12, 3, 1, 2], dtype=np.int64)


def test_uniform_sampling_reaches_every_value_about_equally() -> None:
    genomes = sample_uniform(SIZES, 12_000, np.random.default_rng(0))
    assert genomes.shape == (12_000, 4)
    assert genomes.dtype == np.int64
    for column, size in enumerate(SIZES):
        share = np.bincount(genomes[:, column], minlength=size) / 12_000
        np.testing.assert_allclose(share, 1 / size, atol=0.015)


@pytest.mark.parametrize("n", [0, 1, 3, 64, 100])
def test_sobol_samples_have_the_right_number_and_range(n: int) -> None:
    genomes = sample_sobol(SIZES, n, np.random.default_rng(1))
    assert genomes.shape == (n, 4)
    assert ((genomes >= 0) & (genomes < SIZES)).all()


def test_sobol_is_balanced_and_reproducible() -> None:
    sizes = np.array([4, 8, 2], dtype=np.int64)
    genomes = sample_sobol(sizes, 64, np.random.default_rng(2))
    for column, size in enumerate(sizes):
        assert set(np.bincount(genomes[:, column])) == {64 // size}
    again = sample_sobol(sizes, 64, np.random.default_rng(2))
    np.testing.assert_array_equal(genomes, again)
    other = sample_sobol(sizes, 64, np.random.default_rng(3))
    assert (genomes != other).any()


def test_sobol_samples_are_the_first_points_of_the_sequence_whatever_the_pieces() -> None:
    from scipy.stats import qmc

    n = (1 << 14) + 5
    own = np.random.default_rng(int(np.random.default_rng(9).integers(2**63)))
    points = qmc.Sobol(4, scramble=True, rng=own).random_base2(15)[:n]
    genomes = sample_sobol(SIZES, n, np.random.default_rng(9))
    np.testing.assert_array_equal(genomes, (points * SIZES).astype(np.int64))


def test_mutation_changes_at_the_rate_and_never_its_argument() -> None:
    rng = np.random.default_rng(4)
    genomes = sample_uniform(SIZES, 4000, rng)
    before = genomes.copy()
    changed = mutate(genomes, SIZES, rng, rate=0.5) != genomes
    np.testing.assert_array_equal(genomes, before)
    # Rows where no gene changed (one in eight) change one at random, a third for each able gene.
    np.testing.assert_allclose(changed.mean(axis=0), [0.542, 0.542, 0, 0.542], atol=0.03)
    assert changed.any(axis=1).all()


def test_mutation_at_rate_zero_changes_exactly_one_gene_and_at_one_all() -> None:
    rng = np.random.default_rng(5)
    genomes = sample_uniform(SIZES, 200, rng)
    assert ((mutate(genomes, SIZES, rng, rate=0) != genomes).sum(axis=1) == 1).all()
    assert ((mutate(genomes, SIZES, rng, rate=1) != genomes).sum(axis=1) == 3).all()


def test_mutation_of_a_space_of_one_changes_nothing() -> None:
    ones = np.array([1, 1], dtype=np.int64)
    genomes = np.zeros((3, 2), dtype=np.int64)
    np.testing.assert_array_equal(mutate(genomes, ones, np.random.default_rng(0)), genomes)


def test_crossover_takes_a_head_and_a_tail_of_at_least_one_gene_each() -> None:
    first, second = np.zeros((500, 6), dtype=np.int64), np.ones((500, 6), dtype=np.int64)
    children = crossover(first, second, np.random.default_rng(6))
    assert (np.diff(children, axis=1) >= 0).all()
    assert set(children.sum(axis=1)) == {1, 2, 3, 4, 5}


@pytest.mark.parametrize("name", ["moga", "nasbench201", "genet"])
def test_decoder_decodes_as_the_space_does(name) -> None:
    from moga import registry
    from moga.spaces.base import Decoder

    space = registry.create("space", name)
    genomes = sample_uniform(space.sizes, 12, np.random.default_rng(0))
    decode = Decoder(space, most=5)  # so few that it forgets
    for part in (genomes[:6], genomes[6:], genomes):
        assert decode(part) == [space.decode(genome) for genome in part]
    with pytest.raises(InvalidGenome, match="allowed: 0 to"):
        decode(genomes + 99)
