import dataclasses

import numpy as np
import pytest
import torch

from moga.contracts import Gene
from moga.errors import UsageError
from moga.network import Block
from moga.spaces.base import Derived, Slot, Space
from moga.spaces.moga import MoGASpace
from moga.supernets.supernet import SHARINGS, Supernet, load_parameters

SPACE = MoGASpace(resolution=16, width=0.1, num_classes=4)
GENOMES = [(0,) * 14, (11,) * 14, (*range(12), 5, 4), (4, 5) * 7, (9, 0) * 7]


def images(n=8, seed=0):
    return torch.randn(n, 3, 16, 16, generator=torch.Generator().manual_seed(seed))


def shaken(supernet):
    """Give norms and biases, which start at 0 and 1, values that a mistake would show in."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in supernet.parameters():
            if parameter.ndim == 1:
                parameter.add_(torch.rand(parameter.shape, generator=generator))
    return supernet


@pytest.mark.parametrize("genome", GENOMES, ids=str)
@pytest.mark.parametrize("sharing", SHARINGS)
def test_an_extracted_network_equals_its_path(sharing, genome):
    supernet = shaken(Supernet(SPACE, sharing)).double().eval()
    supernet.calibrate(images(16).double(), genome)
    x = images(seed=2).double()
    module = supernet.extract(genome)
    assert module.network == SPACE.decode(genome)
    with torch.no_grad():
        path, alone = supernet(x, genome), module(x)
    assert path.std() > 0.01
    torch.testing.assert_close(alone, path, atol=1e-9, rtol=1e-9)


def test_an_extracted_network_has_its_own_memory():
    supernet = Supernet(SPACE)
    module = supernet.extract(GENOMES[1])
    before = {name: p.detach().clone() for name, p in supernet.named_parameters()}
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(1)
    assert all(torch.equal(p, before[name]) for name, p in supernet.named_parameters())


def test_entangled_choices_share_storage_and_separate_ones_do_not():
    for sharing, shared in (("entangled", True), ("separate", False)):
        layer = Supernet(SPACE, sharing).layers[3]
        parts = [layer.weights(choice)[0] for choice in range(12)]
        for name in ("expand.conv.weight", "depthwise.conv.weight", "project.conv.weight"):
            storages = {part[name].untyped_storage().data_ptr() for part in parts}
            assert (len(storages) == 1) == shared
        norms = {part["expand.bn.weight"].data_ptr() for part in parts}
        assert len(norms) == 12


def test_an_entangled_slice_is_the_centre_of_the_kernel_and_the_first_channels():
    layer = Supernet(SPACE).layers[1]
    narrow, wide = layer.weights(0)[0], layer.weights(11)[0]
    hidden = narrow["expand.conv.weight"].shape[0]
    assert wide["depthwise.conv.weight"].shape == (2 * hidden, 1, 7, 7)
    torch.testing.assert_close(
        narrow["depthwise.conv.weight"], wide["depthwise.conv.weight"][:hidden, :, 2:5, 2:5]
    )
    torch.testing.assert_close(
        narrow["project.conv.weight"], wide["project.conv.weight"][:, :hidden]
    )


def test_entangled_is_far_smaller():
    sizes = [sum(p.numel() for p in Supernet(SPACE, s).parameters()) for s in SHARINGS]
    assert sizes[0] < sizes[1] / 3


@pytest.mark.parametrize("sharing", SHARINGS)
def test_calibration_forgets_what_was_before(sharing):
    x, genome = images(16), GENOMES[2]
    fresh, used = (Supernet(SPACE, sharing).eval() for _ in range(2))
    used.calibrate(images(16, seed=7) * 3, GENOMES[1])
    used.calibrate(images(16, seed=8) * 5, genome)
    for supernet in (fresh, used):
        supernet.calibrate(x, genome)
        assert not supernet.training
    with torch.no_grad():
        torch.testing.assert_close(used(x, genome), fresh(x, genome), atol=0, rtol=0)


def test_large_calibration_sets_pass_in_chunks(monkeypatch):
    monkeypatch.setattr("moga.supernets.supernet._CHUNK_PIXELS", 4 * 16 * 16)
    supernet = Supernet(SPACE).eval()
    supernet.calibrate(images(16), GENOMES[0])
    norm = supernet.layers[0].norms(0)[0]
    assert norm.num_batches_tracked == 4
    chunks = torch.split(supernet.layers[0].blocks[0].conv(images(16)), 4)
    expected = torch.stack([chunk.mean((0, 2, 3)) for chunk in chunks]).mean(0)
    torch.testing.assert_close(norm.running_mean, expected.detach(), atol=1e-5, rtol=1e-4)


def test_blocks_with_a_shortcut_add_nothing_at_first():
    supernet = Supernet(SPACE)
    x = torch.randn(4, 8, 8, 8)
    layer = supernet.layers[2]
    assert layer.blocks[7].shortcut == "identity"
    torch.testing.assert_close(layer(x, 7), x)


def test_the_seed_decides_the_weights_and_the_global_generator_is_left_alone():
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    first, again, other = Supernet(SPACE, seed=1), Supernet(SPACE, seed=1), Supernet(SPACE, seed=2)
    first.extract(GENOMES[0])
    assert torch.equal(torch.rand(1), expected)
    pairs = list(zip(first.parameters(), again.parameters(), other.parameters(), strict=True))
    assert all(torch.equal(a, b) for a, b, _ in pairs)
    assert not all(torch.equal(a, c) for a, _, c in pairs)


def test_parameters_travel_as_arrays():
    source, target = Supernet(SPACE, seed=1), Supernet(SPACE, seed=2)
    arrays = {name: p.detach().numpy() for name, p in source.named_parameters()}
    load_parameters(target, arrays)
    for a, b in zip(source.parameters(), target.parameters(), strict=True):
        assert torch.equal(a, b)
    with pytest.raises(UsageError, match="these weights are of another supernet than moga"):
        load_parameters(Supernet(SPACE, "separate"), arrays)


BLOCK = SPACE.slots[2].entry((0,))[0][0]
POOL = Block(operation="pool", in_channels=8, out_channels=8, height=8, width=8)


class Toy(Space):
    """One slot, given."""

    name = "toy"
    genes = (Gene("a", "a", "categorical", (0, 1)), Gene("b", "b", "categorical", (0, 1)))

    def __init__(self, slot):
        self.slot = slot

    @property
    def slots(self):
        return (self.slot,)


def one_gene(*blocks):
    return Toy(Slot("layer", (0,), ((0, 1),), lambda value: blocks[value]))


def test_unknown_sharing():
    with pytest.raises(UsageError, match="sharing is 'shared'; give one of entangled, separate"):
        Supernet(SPACE, "shared")


def test_a_slot_of_two_genes_is_refused():
    space = Toy(Slot("pair", (0, 1), ((0, 1), (0, 1)), lambda a, b: ((BLOCK, 1),)))
    with pytest.raises(UsageError, match=r"slot 'pair' of toy reads a, b; a supernet needs slots"):
        Supernet(space)


def test_a_slot_with_a_derived_index_is_refused():
    derived = Derived("width", (8,), lambda genomes: np.zeros(len(genomes), dtype=np.int64))
    space = Toy(Slot("layer", (0,), ((0, 1),), lambda a, width: ((BLOCK, 1),), (derived,)))
    with pytest.raises(UsageError, match=r"slot 'layer' of toy reads a, width; a supernet"):
        Supernet(space)


def test_a_choice_of_two_blocks_is_refused():
    space = one_gene(((BLOCK, 1),), ((BLOCK, 2),))
    with pytest.raises(UsageError, match="choice 1 of slot 'layer' of toy gives 2 blocks"):
        Supernet(space)


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (POOL, "need choices that are mbconv with symmetric padding and norm, got 'pool'"),
        (dataclasses.replace(BLOCK, activation="swish"), "choices differ in activation"),
    ],
)
def test_what_cannot_be_entangled_can_be_separate(other, message):
    space = one_gene(((BLOCK, 1),), ((other, 1),))
    with pytest.raises(UsageError, match=message):
        Supernet(space)
    x = torch.randn(2, 8, 8, 8)
    assert Supernet(space, "separate")(x, (1, 0)).shape[0] == 2


def test_se_gates_must_agree():
    gates = ("sigmoid", "hard_sigmoid")
    blocks = [dataclasses.replace(BLOCK, se_channels=4, se_gate=gate) for gate in gates]
    with pytest.raises(UsageError, match="choices differ in se_gate"):
        Supernet(one_gene(((blocks[0], 1),), ((blocks[1], 1),)))
