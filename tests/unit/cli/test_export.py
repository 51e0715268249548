import json
from pathlib import Path
from typing import Any

import onnxruntime
import pytest
from typer.testing import CliRunner

from moga.cli.main import app
from moga.network import Block, Network
from moga.networks import export
from moga.networks.build import build_network, save_weights

NETWORK = Network(
    (
        Block(operation="conv", in_channels=3, out_channels=4, height=8, width=8, kernel=3),
        Block(operation="pool", in_channels=4, out_channels=4, height=8, width=8),
        Block(operation="linear", in_channels=4, out_channels=2, height=1, width=1, bias=True),
    )
)


def run(*arguments: Any) -> Any:
    return CliRunner().invoke(app, ["export", *map(str, arguments)])


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "net.json"
    NETWORK.save(path)
    return path


def test_a_file_in_json(file: Path, tmp_path: Path) -> None:
    onnx, weights = tmp_path / "net.onnx", tmp_path / "net.safetensors"
    save_weights(build_network(NETWORK), weights)
    options = ("--onnx", onnx, "--weights", weights, "--dynamic-batch", "--fold", "--opset", 19)
    done = run(file, *options, "--json")
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert found["onnx"] == str(onnx)
    assert found["inputs"] == [None, 3, 8, 8]
    assert (found["opset"], found["folded"]) == (19, 0)
    assert found["difference"] <= 1e-4
    assert found["size_bytes"] == onnx.stat().st_size
    (images,) = onnxruntime.InferenceSession(
        str(onnx), providers=["CPUExecutionProvider"]
    ).get_inputs()
    assert images.shape == ["batch", 3, 8, 8]


def test_for_people(file: Path, tmp_path: Path) -> None:
    done = run(file, "--onnx", tmp_path / "net.onnx", "--batch", 2, "--no-check")
    assert done.exit_code == 0, done.output
    first, second, third = done.stdout.splitlines()
    assert "net.onnx: 2x3x8x8 images" in first
    assert second == "checked against torch: not asked"
    assert third == "weights: random, for no --weights were given"


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("moga_z", "--onnx", "{}"), "unknown network 'moga_z'. Did you mean 'moga_"),
        (("no.json", "--onnx", "{}"), "no.json does not exist"),
        (("moga_a", "--onnx", "{}", "--batch", "2", "--dynamic-batch"), "not both"),
        (("moga_a", "--onnx", "{}", "--batch", "0"), "batch is 0"),
        (("moga_a", "--onnx", "{}", "--opset", "3"), "opset is 3"),
        (("moga_a", "--onnx", "{}", "--weights", "no.st"), "no.st does not exist"),
    ],
)
def test_wrong_usage_exits_with_2_and_writes_nothing(
    tmp_path: Path, arguments: tuple[str, ...], text: str
) -> None:
    done = run(*(part.format(tmp_path / "net.onnx") for part in arguments))
    assert done.exit_code == 2
    assert text in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_damaged_networks(file: Path, tmp_path: Path) -> None:
    for old, new, text in (
        ('"version":1', '"version":2', "format version is 2"),
        ('"blocks"', '"extra":1,"blocks"', "unknown fields"),
        ('"kernel":3', '"kernel":0', "kernel is 0"),
    ):
        wrong = tmp_path / "wrong.json"
        wrong.write_text(file.read_text().replace(old, new))
        done = run(wrong, "--onnx", tmp_path / "net.onnx")
        assert done.exit_code == 2
        assert text in done.stderr
    assert not (tmp_path / "net.onnx").exists()


def test_a_file_that_differs_exits_with_1(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(export, "_relative", lambda *_: 0.5)
    done = run(file, "--onnx", tmp_path / "net.onnx")
    assert done.exit_code == 1
    assert "differs from torch by 0.5" in done.stderr
    assert not (tmp_path / "net.onnx").exists()
