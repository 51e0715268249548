"""Rooflines: by hand, the published table, and devices' figures."""

import dataclasses
import math

import pytest
import torch
from scipy.stats import spearmanr
from torch import Tensor, nn

from moga.errors import UnknownName, UsageError
from moga.networks.analyze import find_module, input_shape
from moga.networks.intensity import (
    accelerator,
    accelerators,
    published_intensities,
    roofline,
)


class _Two(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Conv2d(4, 8, 1, bias=False)
        self.b = nn.Conv2d(8, 8, 3, padding=1, groups=8, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.b(self.a(x))
        return out.flatten(1)


WORK = (2 * 2 * 32 * 16, 2 * 2 * 72 * 16)  # two operations a MAC, a batch of two
TRAFFIC = (2 * (2 * 12 * 16 + 32), 2 * (2 * 16 * 16 + 72))  # two bytes a number


@pytest.mark.parametrize(
    ("peak", "bandwidth", "limits"),
    [(1e3, 1e6, ("compute", "compute")), (1e6, 1e3, ("memory", "memory"))],
)
def test_a_roofline_by_hand(peak: float, bandwidth: float, limits: tuple[str, str]) -> None:
    found = roofline(_Two(), (4, 4, 4), peak=peak, bandwidth=bandwidth, batch=2)
    assert [part.name for part in found.parts] == ["a", "b"]
    for part, work, traffic, limit in zip(found.parts, WORK, TRAFFIC, limits, strict=True):
        assert (part.operations, part.traffic_bytes) == (work, traffic)
        assert part.intensity == work / traffic
        assert part.limit == limit
        assert part.attainable == pytest.approx(min(peak, part.intensity * bandwidth))
        assert part.least_ms == pytest.approx(1000 * work / part.attainable)
    whole = found.whole
    assert whole.operations == sum(WORK)
    assert whole.intensity == sum(WORK) / sum(TRAFFIC)
    assert whole.least_ms == pytest.approx(sum(part.least_ms for part in found.parts))
    assert whole.limit == limits[0]


def test_bytes_follow_the_precision() -> None:
    def traffic(precision: str) -> int:
        found = roofline(_Two(), (4, 4, 4), peak=1, bandwidth=1, precision=precision)
        return found.whole.traffic_bytes

    assert traffic("fp32") == 2 * traffic("fp16") == 2 * traffic("bf16") == 4 * traffic("int8")


def test_parts_without_work_or_traffic() -> None:
    found = roofline(nn.Sequential(nn.ReLU()), (1, 2, 2), peak=1, bandwidth=1)
    assert (found.parts[0].limit, found.parts[0].attainable) == ("none", 0)
    assert found.parts[0].intensity == found.whole.attainable == 0


def test_blocks_are_named_by_their_kind() -> None:
    found = roofline(find_module("genet_light", meta=True), (3, 192, 192), peak=1, bandwidth=1)
    assert [part.name for part in found.parts][:2] == ["0 conv", "1 xx"]
    assert found.parts[-1].name.endswith(" linear")


def test_settings_that_cannot_be() -> None:
    with pytest.raises(UsageError, match="precision is 'fp8'; give one of fp32, tf32"):
        roofline(_Two(), (4, 4, 4), peak=1, bandwidth=1, precision="fp8")
    with pytest.raises(UsageError, match="peak is 0; give a number above 0"):
        roofline(_Two(), (4, 4, 4), peak=0, bandwidth=1)
    with pytest.raises(UsageError, match="bandwidth is nan; give a number above 0"):
        roofline(_Two(), (4, 4, 4), peak=1, bandwidth=float("nan"))


def test_devices() -> None:
    assert set(accelerators()) == {"v100", "tpuv3"}
    assert accelerator("v100").ridge("fp16") == pytest.approx(138.9, abs=0.1)
    assert accelerator("tpuv3").peak_of("bf16") == 123e12
    assert all(device.source for device in accelerators().values())
    with pytest.raises(UnknownName, match=r"unknown accelerator 'v10'\. Did you mean 'v100'"):
        accelerator("v10")
    with pytest.raises(UsageError, match="no peak of tpuv3 is known for 'fp16'; known: bf16"):
        accelerator("tpuv3").peak_of("fp16")


@pytest.mark.parametrize("wrong", [True, 0.0, -1.0, math.nan, math.inf])
def test_an_accelerator_of_ones_own_must_have_figures(wrong: float) -> None:
    message = f"accelerator v100: the bandwidth is {wrong}; give a number above 0"
    with pytest.raises(UsageError, match=message):
        dataclasses.replace(accelerator("v100"), bandwidth=wrong)
    message = f"accelerator v100: the peak for fp16 is {wrong}; give a number above 0"
    with pytest.raises(UsageError, match=message):
        dataclasses.replace(accelerator("v100"), peak={"fp16": wrong})


def test_the_published_table() -> None:
    rows = {row.model: row for row in published_intensities()}
    assert len(rows) == 18
    assert rows["EfficientNet-X-B0"].intensity == 63.8
    assert rows["ResNet-50"].latency_ms == {"tpuv3": 35.1, "v100": 35.6}
    assert sum(row.grouped for row in rows.values()) == 4


@pytest.mark.golden
def test_intensities_rank_as_in_the_paper() -> None:
    names = ("EfficientNet-X-B0", "EfficientNet-B0", "EfficientNet-B3", "EfficientNet-X-B3")
    rows = [
        row for row in published_intensities() if row.model in names or row.model == "ResNet-50"
    ]
    ours = []
    for row in rows:
        module = find_module(row.network, meta=True)
        shape = input_shape(module, row.resolution)
        whole = roofline(module, shape, peak=1, bandwidth=1, precision="bf16").whole
        ours.append(whole.intensity)
        assert whole.operations / 2 / 128 / 1e9 == pytest.approx(row.macs_g, rel=0.03)
        assert 1 < whole.intensity / row.intensity < 1.25
    assert spearmanr(ours, [row.intensity for row in rows]).statistic == pytest.approx(1)
    assert torch.is_grad_enabled()
