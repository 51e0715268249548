import numpy as np
import pytest

from moga.devices.kernels import (
    DENSE,
    DEPTHWISE,
    ELEMENTWISE,
    GROUPED,
    RULES,
    Kernel,
    KernelArrays,
    Rates,
    fuse,
    kernel_ms,
    rules,
    rules_of,
)
from moga.errors import UnknownName
from moga.network import Block
from moga.networks.operations import Operation, operations

MBCONV = Block(
    operation="mbconv",
    in_channels=16,
    out_channels=16,
    height=8,
    width=8,
    kernel=3,
    hidden_channels=64,
    se_channels=4,
    activation="swish",
    norm_eps=1e-3,
    shortcut="identity",
)


def kinds(engine, block=MBCONV):
    return [kernel.type for kernel in fuse(operations(block), rules(engine))]


def test_each_engine_fuses_by_its_rules():
    # expansion, norm, 2 swish; depthwise, norm, 2 swish; pool, 2 x (conv, bias), swish twice,
    # gate, product; projection, norm, addition
    assert len(kinds("pytorch")) == 8 + 1 + 2 + 2 + 2 + 1 + 1 + 3
    assert len(kinds("tensorflow")) == len(kinds("pytorch")) - 1  # the norm takes the addition
    # expansion, swish; depthwise, swish; pool, conv, swish, conv, gate, product; projection
    tensorrt = kinds("tensorrt")
    assert len(tensorrt) == 3 + 3 + 1 + 3 + 2 + 1 + 1
    assert (tensorrt.count(DENSE), tensorrt.count(DEPTHWISE)) == (4, 1)
    assert kinds("xla").count(ELEMENTWISE) == 1  # the pooling
    assert len(kinds("mobile")) == len(tensorrt) - 6


def test_a_folded_addition_still_reads_its_other_addend():
    values = 16 * 64
    eager = fuse(operations(MBCONV), rules("pytorch"))
    folded = fuse(operations(MBCONV), rules("tensorrt"))
    assert eager[-1].wide == 3 * values
    assert folded[-1].values == 64 * 64 + values + values
    tensorflow = fuse(operations(MBCONV), rules("tensorflow"))
    assert tensorflow[-1].wide == 2 * values + values


def test_what_folds_stays_apart_without_a_host():
    alone = [Operation("relu", 10, 10), Operation("norm", 10, 10, 4)]
    assert [kernel.wide for kernel in fuse(alone, rules("tensorrt"))] == [20, 20]


def test_wide_groups_use_matrix_units_in_pytorch_alone():
    def convolution(width):
        return [Operation("conv", 9, 9, 9, 9, 1, 4 * width, 4)]

    assert fuse(convolution(32), rules("pytorch"))[0].type == DENSE
    assert fuse(convolution(16), rules("pytorch"))[0].type == GROUPED
    assert fuse(convolution(32), rules("tensorrt"))[0].type == GROUPED
    assert fuse(convolution(1), rules("tensorrt"))[0][-2:] == (1, 1)
    assert fuse(convolution(16), rules("tensorrt"))[0][-2:] == (16, 4)


def test_arrays_gather_the_kernels_of_groups_of_owners():
    same = Kernel(ELEMENTWISE, 0, 0, 10, 0, 0, 0, 1)
    each = same._replace(wide=np.array([20, 30]))
    groups = [(np.array([2, 0]), [each, same]), (np.array([3]), [same])]
    arrays = KernelArrays.of(groups, 4)
    assert arrays.column("wide").tolist() == [20, 10, 30, 10, 10]
    assert set(arrays.column("type")) == {ELEMENTWISE}
    assert arrays.total(arrays.column("wide").astype(float)).tolist() == [40, 0, 30, 10]


def test_an_unknown_engine_is_refused():
    with pytest.raises(UnknownName, match=r"unknown engine 'tensorr'. Did you mean 'tensorrt'"):
        rules("tensorr")
    assert set(RULES) == {"pytorch", "tensorflow", "tensorrt", "xla", "mobile"}


def test_a_kernel_computes_while_it_moves_data():
    rates = Rates(dense=4.0, depthwise=2.0, grouped=1.0, values=1.0, wide=0.5, idle=3.0)
    kernels = KernelArrays.of(
        [
            (
                np.array([0]),
                [
                    Kernel(DENSE, 4_000_000, 1_000_000, 0, 500_000, 64, 65, 1),  # 2 tiles an image
                    Kernel(DEPTHWISE, 2_000_000, 0, 0, 0, 64, 1, 1),
                    Kernel(GROUPED, 4_000_000, 0, 0, 0, 64, 16, 2),  # groups twice as wide as 8
                    Kernel(ELEMENTWISE, 0, 0, 1_000_000, 0, 0, 0, 1),
                ],
            )
        ],
        1,
    )
    alone = [np.hypot(1 * (1 + 3 / 2), 1.5), 1.0, 2.0, 2.0]
    np.testing.assert_allclose(kernel_ms(kernels, 1, rates), alone)
    batch = np.array([4, 1, 1, 2])
    several = [np.hypot(4 * (1 + 3 / 8), 4.5), 1.0, 2.0, 4.0]
    np.testing.assert_allclose(kernel_ms(kernels, batch, rates), several)


@pytest.mark.parametrize(
    ("engine", "expected"),
    [
        ("torch eager", "pytorch"),
        ("torch compile", "xla"),
        ("onnxruntime", "tensorrt"),
        ("of a plug-in", "pytorch"),
    ],
)
def test_engines_that_run_here_have_rules(engine, expected):
    assert rules_of({"engine": engine}) == rules(expected)
    assert rules_of({}) == rules("pytorch")
