import pytest

from moga.devices.published import published_latencies


def test_times_are_those_of_a_batch():
    rows = {
        (r.table, r.device, r.engine, r.precision, r.batch, r.network): r
        for r in published_latencies()
    }
    genet = rows["genet", "v100", "pytorch", "fp16", 64, "GENet-light"]
    assert (genet.ms, genet.step_ms, genet.top1) == (pytest.approx(5.76), pytest.approx(0.64), 75.7)
    x = rows["efficientnet_x", "v100", "tensorflow", "fp16", 128, "EfficientNet-X-B0"]
    assert (x.ms, x.step_ms) == (22.5, pytest.approx(0.1))
    assert rows["gpunet", "gv100", "tensorrt", "fp16", 1, "GPUNet-0"].ms == 0.62
    assert rows["moga", "adreno630", "snpe", "", 1, "MoGA-A"].ms == 11.8
    assert {row.table for row in published_latencies()} == {
        "genet",
        "efficientnet_x",
        "gpunet",
        "moga",
    }
    assert len(published_latencies()) == 583
    assert all(row.ms > 0 for row in published_latencies())
