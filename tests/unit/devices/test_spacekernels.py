import dataclasses

import numpy as np
import pytest

from moga.devices import spacekernels
from moga.devices.kernels import RULES, Kernel, fuse
from moga.devices.spacekernels import space_kernels
from moga.errors import UsageError
from moga.networks.operations import operations
from moga.registry import create
from moga.spaces.efficientnet_x import EfficientNetXSpace
from moga.spaces.genet import GENetSpace
from moga.spaces.gpunet import GPUNetSpace
from moga.spaces.moga import MoGASpace
from moga.spaces.nasbench201 import NASBench201
from moga.spaces.subspace import Subspace

SPACE = MoGASpace(resolution=32)


def part_of(space, *free):
    """The subspace in which only some genes are free: those whose names start so."""
    fixed = {g.name: g.values[0] for g in space.genes if not g.name.startswith(free)}
    return Subspace(space, fixed)


EDGES = [gene.name for gene in NASBench201().genes]
PARTS = {
    "moga": SPACE,
    "gpunet": part_of(
        GPUNetSpace(),
        *("resolution", "s2.kernel", "s3.kernel", "s4.filters", "s4.se", "s5.layers", "s7.layers"),
    ),
    "efficientnet_x": part_of(
        EfficientNetXSpace(), "reshape", "stem", "stage_3", "stage_4.activation", "head"
    ),
    "genet": part_of(GENetSpace(), "resolution", "sb1.block", "sb3", "sb5.width"),
    "nasbench201": part_of(NASBench201(), *EDGES[:3]),
}


def kernels_of(found, slot, flat):
    """All kernels of one entry of a slot, with times."""
    where, kernels = found.slots[slot], found.kernels
    return [
        ([Kernel(*row) for row in kernels.columns[:, kernels.kernel[used]].T.tolist()], times)
        for use in np.flatnonzero(where.entry == flat)
        for times in [int(where.times[use])]
        for used in [kernels.owner == where.block[use]]
    ]


def check(space, rule, most):
    found = space_kernels(space, rule)
    rng = np.random.default_rng(0)
    for number, slot in enumerate(space.slots):
        size = found.slots[number].size
        assert found.slots[number].shape == slot.shape
        for flat in rng.permutation(size)[:most]:
            index = [int(i) for i in np.unravel_index(flat, slot.shape)]
            blocks = slot.entry(index)
            assert (flat in found.slots[number].absent) == (blocks is None)
            expected = [(fuse(operations(block), rule), times) for block, times in blocks or ()]
            assert kernels_of(found, number, flat) == expected
            if number == 0:
                block = blocks[0][0]
                assert found.image[tuple(index)] == operations(block)[0].read


@pytest.mark.parametrize("rule", RULES.values(), ids=RULES)
@pytest.mark.parametrize("space", PARTS.values(), ids=PARTS)
def test_kernels_are_those_of_the_blocks_one_by_one(space, rule):
    check(space, rule, 25)


def test_kernels_of_all_of_gpunet_are_so_too():
    check(GPUNetSpace(), RULES["tensorrt"], 4)


def test_a_space_too_large_or_without_a_stem_is_refused(monkeypatch):
    monkeypatch.setattr(spacekernels, "_MOST", 10)
    with pytest.raises(UsageError, match="entries of slots, more than 10; fix a gene"):
        create("device", "t4").table(SPACE)
    monkeypatch.undo()
    first = SPACE.slots[0]
    empty = dataclasses.replace(first, blocks=lambda *_: ())
    with pytest.raises(
        UsageError, match=r"first slot of moga.* can be empty.*give the space a stem"
    ):
        spacekernels._images(SPACE, empty)
