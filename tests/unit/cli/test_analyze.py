import json
from pathlib import Path
from typing import Any

import pytest
import torch
from typer.testing import CliRunner

from moga.cli.main import app
from moga.network import Block, Network
from moga.networks.build import build_network, save_weights

BLOCK = Block(operation="conv", in_channels=3, out_channels=6, height=8, width=8, kernel=3)
NETWORK = Network((BLOCK,))


def run(*arguments: Any) -> Any:
    return CliRunner().invoke(app, ["analyze", *map(str, arguments)])


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "net.json"
    NETWORK.save(path)
    return path


def test_ranks_of_a_network_with_weights(file: Path, tmp_path: Path) -> None:
    module = build_network(NETWORK)
    torch.nn.init.ones_(module.get_parameter("blocks.0.conv.weight"))
    save_weights(module, tmp_path / "net.safetensors")
    picture = tmp_path / "rank.html"
    weights = ("--weights", tmp_path / "net.safetensors")
    done = run("rank", file, *weights, "--figure", picture, "--json")
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    (kernel,) = found["kernels"]
    assert kernel["shape"] == [6, 3, 3, 3]
    assert kernel["effective_rank"] == {"0.5": 1, "0.25": 1, "0.1": 1}
    assert kernel["singular_values"][0] == 1
    assert found["stages"] == [
        {"stage": "1/1", "kernels": 1, "rank": dict.fromkeys(["0.5", "0.25", "0.1"], 1 / 6)}
    ]
    assert "Rank of net.json" in picture.read_text()
    assert "The weights are random" not in picture.read_text()
    assert found["random_weights"] is False
    assert "random" not in done.stderr


def test_ranks_for_people_and_of_random_weights(file: Path, tmp_path: Path) -> None:
    picture = tmp_path / "rank.html"
    done = run("rank", file, "--figure", picture)
    assert done.exit_code == 0, done.output
    assert "The weights are random" in picture.read_text()
    assert "the weights are random" in done.stderr
    assert "1/1" in done.stdout


def test_ranks_of_a_checkpoint(tmp_path: Path) -> None:
    path = tmp_path / "any.pth"
    torch.save({"state_dict": {"layer1.0.conv.weight": torch.randn(4, 4, 3, 3)}}, path)
    done = run("rank", path, "--json")
    assert done.exit_code == 0, done.output
    assert [stage["stage"] for stage in json.loads(done.stdout)["stages"]] == ["layer1"]
    for option in (["--pretrained"], ["--weights", str(path)]):
        wrong = run("rank", path, *option)
        assert wrong.exit_code == 2
        assert "a checkpoint has its own weights" in wrong.stderr


def test_a_roofline_in_json(tmp_path: Path) -> None:
    picture = tmp_path / "roof.html"
    asked = ("efficientnet_b0", "--device", "tpuv3", "--figure", picture, "--json")
    done = run("roofline", *asked)
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert (found["batch"], found["precision"], found["fusion"]) == (128, "bf16", "fused")
    assert (found["peak_tflops"], found["bandwidth_gbs"]) == (123, 900)
    whole = found["network"]
    assert whole["operations"] == sum(part["operations"] for part in found["parts"])
    assert whole["intensity"] == pytest.approx(whole["operations"] / whole["bytes"])
    assert 20 < whole["intensity"] < 30
    assert "Roofline of efficientnet_b0" in picture.read_text()


def test_a_roofline_for_people_of_an_own_device(file: Path) -> None:
    own = ("--peak", 10, "--bandwidth", 100, "--precision", "fp32", "--fusion", "eager")
    done = run("roofline", file, *own, "--batch", 2, "--resolution", 16)
    assert done.exit_code == 0, done.output
    assert "0 conv" in done.stdout
    last = " ".join(done.stdout.split())
    assert "Batch 2, fp32, traffic: eager" in last
    assert "10 TFLOP/s, 100 GB/s (as given)" in last


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("rank", "nothing"), "unknown network 'nothing'"),
        (("rank", "no.pth"), "no.pth does not exist"),
        (("roofline", "moga_a", "--peak", "1"), "needs both --peak and --bandwidth"),
        (
            ("roofline", "moga_a", "--peak", "1", "--bandwidth", "1", "--device", "v100"),
            "not both",
        ),
        (("roofline", "moga_a", "--device", "abacus"), "unknown accelerator 'abacus'"),
        (("roofline", "moga_a", "--precision", "int8"), "no peak of v100 is known for 'int8'"),
        (("roofline", "moga_a", "--fusion", "some"), "fusion is 'some'"),
        (("roofline", "moga_a", "--batch", "0"), "batch is 0"),
        (("roofline", "moga_a", "--resolution", "0"), "resolution is 0"),
    ],
)
def test_wrong_usage_exits_with_2(arguments: tuple[str, ...], text: str) -> None:
    done = run(*arguments)
    assert done.exit_code == 2
    assert text in done.stderr
