import json
import math

import pytest

from moga.devices.importers.ort import read_onnxruntime_profile
from moga.errors import FormatError, UsageError


def event(name, dur, cat="Session", **args):
    return {
        "cat": cat,
        "pid": 1,
        "tid": 1,
        "dur": dur,
        "ts": 10,
        "ph": "X",
        "name": name,
        "args": args,
    }


def run(dur):
    node = event("y_kernel_time", dur - 10, "Node", op_name="Conv")
    inner = event("SequentialExecutor::Execute", dur - 5)
    return [node, inner, event("model_run", dur)]


def write(tmp_path, events):
    start = [event("model_loading_uri", 300), event("session_initialization", 2500)]
    path = tmp_path / "block-1_2026-01-02_03-04-05.json"
    path.write_text(json.dumps([*start, *events]))
    return path


def test_a_node_may_say_nothing_of_itself(tmp_path):
    path = write(
        tmp_path, [{**event("y_kernel_time", 50, "Node"), "args": None}, *run(19), *run(110)]
    )
    assert "y" in dict(read_onnxruntime_profile(path).parts)


def test_the_first_run_does_not_count(tmp_path):
    path = write(tmp_path, [*run(900), *run(110), *run(130)])
    reading = read_onnxruntime_profile(path)
    assert reading.value == pytest.approx(0.12)
    assert reading.count == 2
    assert reading.spread > 0
    assert reading.parts == (("Conv y", pytest.approx((890 + 100 + 120) / 3 / 1e3)),)
    assert read_onnxruntime_profile(path, warmups=0).count == 3


def test_a_real_profile_is_read(tmp_path):
    onnxruntime = pytest.importorskip("onnxruntime")
    onnx = pytest.importorskip("onnx")
    tensor = onnx.helper.make_tensor_value_info
    shape = ("images", onnx.TensorProto.FLOAT, [1, 3, 4, 4])
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("Relu", ["images"], ["y"])],
        "g",
        [tensor(*shape)],
        [tensor("y", *shape[1:])],
    )
    opset = [onnx.helper.make_opsetid("", 18)]
    model = onnx.helper.make_model(graph, opset_imports=opset, ir_version=9)
    options = onnxruntime.SessionOptions()
    options.enable_profiling = True
    options.profile_file_prefix = str(tmp_path / "block-1")
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    import numpy as np

    for _ in range(4):
        session.run(None, {"images": np.zeros((1, 3, 4, 4), np.float32)})
    reading = read_onnxruntime_profile(session.end_profiling())
    assert reading.count == 3
    assert 0 < reading.value < 1000
    assert [name.split()[0] for name, _ in reading.parts] == ["Relu"]


@pytest.mark.parametrize("dur", [-50, math.nan, math.inf])
def test_a_nodes_time_is_checked_too(tmp_path, dur):
    node = event("c_kernel_time", dur, "Node", op_name="Conv")
    path = write(tmp_path, [*run(900), *run(110), node])
    message = rf"json, entry 9: dur of c_kernel_time is {dur}; expected a finite number, 0 or more"
    with pytest.raises(FormatError, match=message):
        read_onnxruntime_profile(path)


def test_a_wrong_profile_is_refused(tmp_path):
    path = write(tmp_path, run(100))
    with pytest.raises(FormatError, match=r"1 events 'model_run'; expected more than 1"):
        read_onnxruntime_profile(path)
    path = write(tmp_path, [*run(100), *run(0)])
    with pytest.raises(FormatError, match="entry 8: dur of model_run is 0 us"):
        read_onnxruntime_profile(path)
    with pytest.raises(UsageError, match="warmups is -1; give 0 or more"):
        read_onnxruntime_profile(path, warmups=-1)
