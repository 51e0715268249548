"""Ranks of convolution kernels, and where modules and checkpoints come from."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import save_file
from torch import nn

from moga.errors import FormatError, UnknownName, UsageError
from moga.network import Block, Network
from moga.networks import zoo
from moga.networks.analyze import (
    find_module,
    input_shape,
    is_checkpoint,
    rank_table,
    read_checkpoint,
    stage_table,
)
from moga.networks.build import build_network, save_weights


def low_rank(out: int, inside: int, rank: int) -> torch.Tensor:
    """A kernel whose singular values are `rank` ones, then zeros."""
    rng = np.random.default_rng(0)
    left, _ = np.linalg.qr(rng.normal(size=(out, rank)))
    right, _ = np.linalg.qr(rng.normal(size=(inside * 9, rank)))
    return torch.from_numpy(left @ right.T).reshape(out, inside, 3, 3)


def test_a_kernel_of_known_rank() -> None:
    (row,) = rank_table({"layer1.0.conv.weight": low_rank(12, 4, 5)})
    assert row.stage == "layer1"
    assert row.shape == (12, 4, 3, 3)
    assert row.full_rank == 12
    assert row.effective_rank == {0.5: 5, 0.25: 5, 0.1: 5}
    np.testing.assert_allclose(row.singular_values, [1] * 5 + [0] * 7, atol=1e-12)


def test_singular_values_are_those_of_the_unfolded_kernel_and_sorted() -> None:
    kernel = torch.randn(6, 3, 3, 3, generator=torch.Generator().manual_seed(0))
    (row,) = rank_table({"conv.weight": 7 * kernel}, thresholds=(1.0, 0.5))
    expected = torch.linalg.svdvals(kernel.double().flatten(1))
    np.testing.assert_allclose(row.singular_values, expected / expected[0], rtol=1e-6)
    assert (np.diff(row.singular_values) <= 0).all()
    assert row.effective_rank[1.0] == 1


def test_a_kernel_of_zeros_has_no_rank() -> None:
    (row,) = rank_table({"conv.weight": torch.zeros(4, 2, 3, 3)})
    assert set(row.effective_rank.values()) == {0}


def test_stages_by_name_leave_depthwise_kernels_out() -> None:
    weights = {
        "stem.conv.weight": low_rank(8, 3, 2),
        "blocks.1.0.conv_pw.weight": low_rank(8, 8, 8),
        "blocks.1.0.conv_dw.weight": torch.ones(8, 1, 3, 3),
        "blocks.1.1.conv_pw.weight": low_rank(8, 8, 4),
        "head.weight": torch.ones(8, 8),
    }
    rows = rank_table(weights)
    assert [row.stage for row in rows] == ["stem", "blocks.1", "blocks.1", "blocks.1"]
    assert [row.depthwise for row in rows] == [False, False, True, False]
    stem, blocks = stage_table(rows)
    assert (stem.stage, stem.kernels, stem.rank[0.5]) == ("stem", 1, 2 / 8)
    assert (blocks.stage, blocks.kernels, blocks.rank[0.5]) == ("blocks.1", 2, (1 + 0.5) / 2)
    assert blocks.spectrum.shape == (101,)
    assert blocks.spectrum[0] == 1
    assert blocks.spectrum[-1] == pytest.approx(0.5)


def test_stages_of_a_moga_network_are_its_reductions() -> None:
    module = zoo.create_model("genet_light", resolution=32)
    stages = stage_table(rank_table(module))
    assert [stage.stage for stage in stages] == ["1/2", "1/4", "1/8", "1/16", "1/32"]
    kernels = sum(isinstance(part, nn.Conv2d) and part.groups == 1 for part in module.modules())
    assert sum(stage.kernels for stage in stages) == kernels


def test_reductions_return_after_space_to_batch() -> None:
    at = {"in_channels": 4, "out_channels": 4}
    conv = {"operation": "conv", "kernel": 3, **at}
    network = Network(
        (
            Block(operation="space_to_batch", **at, height=8, width=8, stride=2),
            Block(**conv, height=4, width=4, batch_factor=4),
            Block(operation="batch_to_space", **at, height=4, width=4, stride=2, batch_factor=4),
            Block(**conv, height=8, width=8),
        )
    )
    assert [row.stage for row in rank_table(build_network(network))] == ["1/2", "1/1"]


def test_what_has_no_rank() -> None:
    with pytest.raises(UsageError, match="there is no convolution"):
        rank_table(nn.Linear(3, 2))
    with pytest.raises(FormatError, match=r"a\.weight holds values that are not finite"):
        rank_table({"a.weight": torch.full((2, 2, 1, 1), torch.nan)})
    with pytest.raises(UsageError, match=r"above 0 to 1; got \[0, 2\]"):
        rank_table({"a.weight": torch.ones(2, 2, 1, 1)}, thresholds=(0, 0.5, 2))


def test_modules_by_name_file_and_from_timm(tmp_path: Path) -> None:
    file = tmp_path / "net.json"
    zoo.network("moga_a").save(file)
    by_name, by_file = find_module("moga_a", meta=True), find_module(str(file), meta=True)
    assert by_name.network == by_file.network == find_module(file, meta=True).network
    assert next(by_name.parameters()).is_meta
    assert input_shape(by_name) == (3, 224, 224)
    other = find_module("resnet18", meta=True)
    assert not other.training
    assert input_shape(other) == (3, 224, 224)
    assert input_shape(other, 64) == (3, 64, 64)
    assert input_shape(nn.Conv2d(1, 1, 1), 8) == (3, 8, 8)


def test_weights_are_loaded(tmp_path: Path) -> None:
    file, weights = tmp_path / "net.json", tmp_path / "net.safetensors"
    block = Block(operation="conv", in_channels=3, out_channels=2, height=4, width=4, kernel=3)
    Network((block,)).save(file)
    module = build_network(Network.load(file))
    save_weights(module, weights)
    loaded = find_module(file, weights=weights).state_dict()
    assert all(torch.equal(loaded[name], value) for name, value in module.state_dict().items())


@pytest.mark.parametrize(
    ("model", "options", "error", "text"),
    [
        ("mogaa", {}, UnknownName, "unknown network 'mogaa'. Did you mean 'moga_a'"),
        ("resnet_18", {}, UnknownName, "Did you mean .*'resnet18'"),
        ("nowhere.json", {}, UsageError, r"nowhere\.json does not exist"),
        ("moga_a", {"weights": "no.safetensors"}, UsageError, "does not exist; give a safetensors"),
        ("moga_a", {"pretrained": True}, UsageError, "moga ships no trained weights"),
        ("resnet18", {"pretrained": True, "meta": True}, UsageError, "of no use to a network with"),
    ],
)
def test_modules_that_are_not_there(
    model: str, options: dict[str, Any], error: type[Exception], text: str
) -> None:
    with pytest.raises(error, match=text):
        find_module(model, **options)


def test_weights_that_timm_cannot_fetch(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **options: Any) -> nn.Module:
        assert options == {"pretrained": True}
        raise OSError("no network")

    monkeypatch.setattr(timm, "create_model", refuse)
    with pytest.raises(UsageError, match="timm cannot make 'resnet18': no network"):
        find_module("resnet18", pretrained=True)


def test_images_of_unknown_size() -> None:
    with pytest.raises(UsageError, match="Conv2d does not say its images' size"):
        input_shape(nn.Conv2d(1, 1, 1))
    with pytest.raises(UsageError, match="resolution is 0; give an integer of 1 or more"):
        input_shape(nn.Conv2d(1, 1, 1), 0)


STATE = {"conv.weight": torch.ones(2, 3, 1, 1), "conv.bias": torch.zeros(2)}


def test_checkpoints_of_both_kinds(tmp_path: Path) -> None:
    save_file(STATE, tmp_path / "a.safetensors")
    torch.save(STATE, tmp_path / "b.pth")
    torch.save({"epoch": 3, "state_dict": STATE}, tmp_path / "c.pth")
    torch.save({"model": {"state_dict": STATE}}, tmp_path / "d.pt")
    for file in tmp_path.iterdir():
        assert is_checkpoint(file)
        found = read_checkpoint(file)
        assert set(found) == set(STATE)
        assert torch.equal(found["conv.weight"], STATE["conv.weight"])
    assert not is_checkpoint("net.json")


class _Code:
    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return print, ("this must not run",)


def test_checkpoints_that_cannot_be_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(UsageError, match="does not exist; give a checkpoint"):
        read_checkpoint(tmp_path / "no.pth")
    (tmp_path / "a.json").write_text("{}")
    with pytest.raises(UsageError, match=r"is no checkpoint; known endings: \.safetensors, "):
        read_checkpoint(tmp_path / "a.json")
    for name in ("a.safetensors", "a.pth"):
        (tmp_path / name).write_bytes(b"nonsense")
        with pytest.raises(FormatError, match="is no readable checkpoint"):
            read_checkpoint(tmp_path / name)
    torch.save({"state_dict": _Code()}, tmp_path / "code.pth")
    with pytest.raises(FormatError, match="is no readable checkpoint"):
        read_checkpoint(tmp_path / "code.pth")
    assert capsys.readouterr().out == ""
    for content in ({"epoch": 3}, [1, 2]):
        torch.save(content, tmp_path / "empty.pth")
        with pytest.raises(FormatError, match="holds no tensors by name"):
            read_checkpoint(tmp_path / "empty.pth")
