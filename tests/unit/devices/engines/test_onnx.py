from collections import Counter

import numpy as np
import pytest

from moga.devices.engines.onnx import _quantise, _to_half, images_of, require, write_onnx
from moga.errors import MissingExtra, UsageError
from moga.spaces.moga import MoGASpace

onnx = pytest.importorskip("onnx", reason="the extra onnx is not installed")
onnxruntime = pytest.importorskip("onnxruntime", reason="the extra onnx is not installed")

NETWORK = MoGASpace(16, 0.1, 10).decode([0] * 14)
BLOCK = NETWORK.blocks[2]


@pytest.fixture(scope="module")
def single(tmp_path_factory):
    path = tmp_path_factory.mktemp("onnx") / "block.onnx"
    write_onnx(BLOCK, path, batch=2)
    return path


def outputs(path, images):
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return session.run(None, {"images": images})[0]


def test_half_files_hold_and_take_halves(tmp_path, single):
    path = tmp_path / "half.onnx"
    path.write_bytes(single.read_bytes())
    _to_half(path)
    model = onnx.load(path)
    onnx.checker.check_model(model)
    kinds = {tensor.data_type for tensor in model.graph.initializer}
    assert onnx.TensorProto.FLOAT not in kinds
    assert model.graph.input[0].type.tensor_type.elem_type == onnx.TensorProto.FLOAT16
    images = images_of(BLOCK, 2, "fp16")
    assert images.dtype == np.float16
    half, exact = outputs(path, images), outputs(single, images_of(BLOCK, 2, "fp32"))
    assert half.dtype == np.float16
    np.testing.assert_allclose(half, exact, atol=0.01 * abs(exact).max())


def test_int8_files_are_what_tensorrt_asks_for(tmp_path, single):
    path = tmp_path / "int8.onnx"
    write_onnx(BLOCK, path, batch=2, precision="int8")
    model = onnx.load(path)
    onnx.checker.check_model(model)
    nodes = Counter(node.op_type for node in model.graph.node)
    assert nodes["QuantizeLinear"] == nodes["DequantizeLinear"] >= 2 * nodes["Conv"]
    tensors = {t.name: onnx.numpy_helper.to_array(t) for t in model.graph.initializer}
    makers = {output: node for node in model.graph.node for output in node.output}
    for node in model.graph.node:
        if node.op_type == "Conv":
            assert [makers[name].op_type for name in node.input[:2]] == ["DequantizeLinear"] * 2
            assert node.input[2] in tensors  # a bias stays as it is
        if node.op_type in ("QuantizeLinear", "DequantizeLinear"):
            zero = tensors[node.input[2]]
            assert zero.dtype == np.int8
            assert not zero.any()
    assert {value.dtype for value in tensors.values() if value.ndim == 4} == {np.dtype("float32")}


def test_int8_files_compute_nearly_the_same(tmp_path, single):
    path = tmp_path / "int8.onnx"
    path.write_bytes(single.read_bytes())
    images = images_of(BLOCK, 2, "fp32")
    _quantise(path, images)
    first, second = outputs(single, images).ravel(), outputs(path, images).ravel()
    assert np.corrcoef(first, second)[0, 1] > 0.98
    assert not np.array_equal(first, second)


def test_what_cannot_be_is_refused(tmp_path):
    with pytest.raises(UsageError, match="precision is 'int4'; give one of fp32, fp16, int8"):
        write_onnx(BLOCK, tmp_path / "x.onnx", precision="int4")
    with pytest.raises(MissingExtra, match=r"nothing_such is not installed.*moga\[onnx\]"):
        require("nothing_such", "onnx")
