import dataclasses

import pytest

from moga.devices.base import Latency
from moga.devices.host import HostDevice
from moga.devices.presets import PRESETS, preset
from moga.devices.timing import Sampling
from moga.errors import UnknownName, UsageError
from moga.registry import create
from moga.spaces.moga import MoGASpace
from moga.testing.devices import FakeEngine


def test_genet_reports_ms_an_image_and_the_others_ms_a_batch():
    assert PRESETS["genet"].figure(Latency(32.0, batch=64)) == 0.5
    assert PRESETS["efficientnet_x"].figure(Latency(32.0, batch=128)) == 32.0
    assert {name: p.unit for name, p in PRESETS.items()} == {
        "genet": "ms an image",
        "gpunet": "ms a batch",
        "efficientnet_x": "ms a batch",
        "moga": "ms a batch",
    }


def test_another_batch_is_never_taken_for_the_papers():
    with pytest.raises(UsageError, match="genet is of batch 64 or 32; this latency is of batch 1"):
        PRESETS["genet"].figure(Latency(1.0))
    with pytest.raises(UsageError, match="the preset genet is of batch 64 or 32; got 16"):
        preset("genet", 16)
    with pytest.raises(UnknownName, match=r"unknown preset 'gpunett'\. Did you mean 'gpunet'"):
        preset("gpunett")
    with pytest.raises(UsageError, match=r"as in preset\(name=genet\); known: genet, gpunet"):
        create("device", "preset")


def test_protocols_are_those_of_the_papers():
    genet, gpunet = PRESETS["genet"].sampling, PRESETS["gpunet"].sampling
    assert (genet.rounds, genet.most, genet.trim) == (30, 30, 0.1)
    assert (gpunet.rounds, gpunet.most) == (1000, 1000)
    assert PRESETS["gpunet"].arguments == {"precision": "fp16", "workspace_gb": 10.0}
    assert PRESETS["efficientnet_x"].batches == (128,)


def test_a_table_says_what_the_papers_figures_are_in(monkeypatch, tmp_path):
    monkeypatch.setenv("MOGA_CACHE", str(tmp_path))
    sampling = Sampling(rounds=3, seconds=0, warmups=1)
    engine = FakeEngine(batch=64)
    monkeypatch.setattr(
        "moga.devices.presets.create",
        lambda kind, name, **more: HostDevice("fake", engine, sampling=sampling),
    )
    device = preset("genet")
    device.sampling = sampling
    provenance = device.table(MoGASpace(32, 0.05, 10)).provenance
    assert (provenance["unit"], provenance["batch"]) == ("ms a batch", 64)
    assert provenance["paper_unit"] == "ms an image (ms a batch, divided by 64)"
    assert (provenance["preset"], provenance["method"]) == ("genet", "measured")
    assert preset("moga").about["paper_unit"] == "ms a batch"


def test_the_device_carries_the_protocol():
    device = create("device", "preset(name=moga)")
    assert (device.name, device.batch) == ("preset(name=moga, batch=1)", 1)
    assert device.sampling == dataclasses.replace(PRESETS["moga"].sampling, seconds=600.0)
    budget = create("device", "preset(name=moga, seconds=9, missing=predict)")
    assert (budget.sampling.seconds, budget.sampling.most, budget.missing) == (9.0, 30, "predict")
    assert [
        create("device", f"preset(name=moga{more})").refresh for more in ("", ", refresh=true")
    ] == [
        False,
        True,
    ]
