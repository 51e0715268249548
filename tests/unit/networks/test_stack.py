import dataclasses

import numpy as np
import pytest

from moga.network import OPERATIONS, Block
from moga.networks import zoo
from moga.networks.count import Convolution, convolutions, stacked_convolutions
from moga.networks.operations import Operation, operations, stacked_operations
from moga.networks.stack import BlockStack, structure
from moga.spaces.nasbench201 import NASBench201

NETWORKS = ("moga_a", "genet_large", "gpunet_1", "efficientnet_x_b0_tpu", "efficientnet_x_b3_gpu")


def _blocks():
    for name in NETWORKS:
        yield from zoo.network(name)
    yield from NASBench201().decode([0, 1, 2, 3, 4, 1])
    values = {"in_channels": 16, "out_channels": 16, "height": 10, "width": 8, "norm_eps": 1e-3}
    for channels in (16, 32):
        wide = {**values, "in_channels": channels, "out_channels": channels}
        for groups in (4, 16):
            yield Block(operation="conv", kernel=3, groups=groups, **wide)
        yield Block(operation="mbconv", kernel=3, hidden_channels=64, groups=4, **wide)
        yield Block(operation="dsconv", kernel=3, se_channels=channels // 4, **wide)
        yield Block(operation="fused_mbconv", kernel=2, hidden_channels=9, padding="same", **wide)
        yield Block(operation="space_to_batch", stride=2, **wide)
        yield Block(operation="batch_to_space", batch_factor=4, stride=2, **wide)
        yield Block(operation="norm_act", activation="relu", **wide)


def _stacks():
    groups = {}
    for block in dict.fromkeys(_blocks()):
        groups.setdefault(structure(block), []).append(block)
    for models in groups.values():
        model = np.arange(len(models)).repeat(2)
        height = np.array([side for block in models for side in (block.height, 2 * block.height)])
        width = np.array([side for block in models for side in (block.width, block.width)])
        if models[0].operation == "linear":
            height[:] = 1
        yield models, BlockStack.of(models, model, height, width)


def _row(value, number):
    """One block's value of a stack's."""
    if isinstance(value, tuple):
        return tuple(_row(each, number) for each in value)
    return int(value[number]) if isinstance(value, np.ndarray) else value


def test_every_operation_is_among_the_stacks():
    assert {models[0].operation for models, _ in _stacks()} == set(OPERATIONS)


@pytest.mark.parametrize(
    ("models", "stack"), [pytest.param(*case, id=case[0][0].operation) for case in _stacks()]
)
def test_a_stack_says_what_its_blocks_say_one_by_one(models, stack):
    for number, height in enumerate(stack.height):
        model = models[number // 2]
        block = dataclasses.replace(model, height=int(height))
        listed = [
            Operation(*(_row(value, number) for value in operation))
            for operation in stacked_operations(stack)
        ]
        assert tuple(listed) == operations(block)
        fields = [field.name for field in dataclasses.fields(Convolution)]
        stacked = [
            Convolution(*(_row(getattr(conv, name), number) for name in fields))
            for conv in stacked_convolutions(stack)
        ]
        assert tuple(stacked) == convolutions(block)


def test_a_stack_is_kept_by_no_cache():
    models = [zoo.network("moga_a").blocks[1]]
    stack = BlockStack.of(models, np.zeros(2, int), np.array([7, 9]), np.array([7, 9]))
    with pytest.raises(TypeError, match="unhashable type"):
        operations(stack)


def test_structures_differ_in_all_but_numbers_and_in_whether_there_is_se():
    block = Block(
        operation="dsconv", in_channels=8, out_channels=8, height=9, width=9, kernel=3, stride=1
    )
    assert structure(block) == structure(dataclasses.replace(block, out_channels=16, height=8))
    assert structure(block) != structure(dataclasses.replace(block, kernel=5))
    squeezed = dataclasses.replace(block, se_channels=2)
    assert structure(block) != structure(squeezed)
    assert structure(squeezed) == structure(dataclasses.replace(squeezed, se_channels=4))
