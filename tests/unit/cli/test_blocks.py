import json

import pytest
from typer.testing import CliRunner

from moga.cli.main import app
from moga.devices import blockfiles
from moga.devices.blockfiles import Manifest
from moga.spaces.cost import CostTable
from moga.spaces.moga import MoGASpace

SPACE = "moga(resolution=32, width=0.05, num_classes=10)"
OTHER = "moga(resolution=32, width=0.1, num_classes=10)"


@pytest.fixture
def folder(monkeypatch, tmp_path):
    monkeypatch.setattr(blockfiles, "_export", lambda _subject, path, **_: path.write_text(""))
    monkeypatch.chdir(tmp_path)
    return tmp_path / "phone"


def invoke(*arguments):
    return CliRunner().invoke(app, ["profile", *map(str, arguments)], env={"COLUMNS": "120"})


def put_times(folder, ms=0.5):
    names = [name for name in Manifest.load(folder).subjects if name.startswith("block")]
    rows = "\n".join(f"{name}.onnx,{ms}" for name in names)
    (folder / "times.csv").write_text(f"file,ms\n{rows}\n")
    return len(names)


def test_blocks_go_out_and_their_times_come_back(folder, tmp_path):
    result = invoke("--space", SPACE, "--export-blocks", folder, "--limit", 3, "--json")
    assert result.exit_code == 0, result.output
    shown = json.loads(result.stdout)
    assert len(list(folder.glob("*.onnx"))) == 3
    assert shown["left"] == shown["blocks"] + shown["networks"] - 3
    assert shown["batch"] == 1
    result = invoke("--space", SPACE, "--export-blocks", folder)
    assert result.exit_code == 0, result.output
    assert f"moga profile --import {folder}" in result.stderr
    blocks = put_times(folder)
    result = invoke("--import", folder, "--device-name", "my phone", "--json")
    assert result.exit_code == 0, result.output
    shown = json.loads(result.stdout)
    assert shown["table"] == "latency-moga-my_phone.npz"
    assert shown["provenance"]["device"] == "my phone"
    assert shown["provenance"]["blocks"] == blocks
    assert shown["error"] is None
    space = MoGASpace(resolution=32, width=0.05, num_classes=10)
    table = CostTable.load(tmp_path / "latency-moga-my_phone.npz", space)
    assert table([0] * 14) == pytest.approx([10.0])


def test_people_read_what_is_left(folder):
    result = invoke("--space", SPACE, "--export-blocks", folder, "--limit", 1, "--batch", 4)
    assert result.exit_code == 0, result.output
    assert "batch 4" in result.stderr
    assert "files are still to be written: run this again" in result.stderr
    assert "--missing predict, which predicts the blocks without a time" in result.stderr


def test_a_file_of_times_takes_space_batch_and_output(folder, tmp_path):
    invoke("--space", SPACE, "--export-blocks", folder)
    put_times(folder)
    options = ("--space", SPACE, "--batch", 8, "--precision", "fp16", "--output", "t.npz")
    result = invoke("--import", folder / "times.csv", *options)
    assert result.exit_code == 0, result.output
    provenance = CostTable.read_header(tmp_path / "t.npz")["provenance"]
    assert (provenance["batch"], provenance["precision"]) == (8, "fp16")
    assert "imported" in result.stdout
    assert "not known: the times have fewer than two whole networks" in result.stdout


def test_the_error_over_whole_networks_is_printed(folder):
    invoke("--space", SPACE, "--export-blocks", folder)
    blocks = put_times(folder)
    names = [name for name in Manifest.load(folder).subjects if name.startswith("network")]
    with (folder / "times.csv").open("a") as file:
        file.writelines(f"{name}.onnx,{12 + i}\n" for i, name in enumerate(names))
    result = invoke("--import", folder)
    assert result.exit_code == 0, result.output
    assert blocks > 4
    assert "% of the 4 whole networks, each left out in turn" in result.stdout


def test_wrong_use_exits_with_2_and_writes_nothing(folder, tmp_path):
    invoke("--space", SPACE, "--export-blocks", folder)
    blocks = put_times(folder)
    text = (folder / "times.csv").read_text()
    (folder / "times.csv").write_text(text.replace(",0.5", ",-0.5", 1))
    result = invoke("--import", folder)
    assert result.exit_code == 2
    assert "line 2: latency is -0.5 ms; expected a positive, finite time" in result.stderr
    (folder / "times.csv").write_text("\n".join(text.splitlines()[:-3]))
    result = invoke("--import", folder)
    assert result.exit_code == 2
    assert f"3 of the space's {blocks} blocks have no time" in result.stderr
    result = invoke("--import", folder, "--missing", "predict")
    assert result.exit_code == 0
    shown = " ".join(result.stdout.split())
    assert (
        "not known: the times have fewer than two whole networks to compare with; of the" in shown
    )
    assert "of the 3 predicted blocks MAPE" in shown
    assert "a table itself" not in shown
    (tmp_path / f"latency-moga-{folder.name}.npz").unlink()
    (folder / "times.csv").write_text(text)
    result = invoke("--import", folder, "--space", OTHER)
    assert result.exit_code == 2
    assert "holds blocks of the space" in result.stderr
    result = invoke("--import", folder, "--export-blocks", folder)
    assert result.exit_code == 2
    assert result.stderr.startswith("error: give")
    assert all(option in result.stderr for option in ("--export-blocks", "--import"))
    assert not list(tmp_path.glob("*.npz"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ("--missing", "predict"),
            "--missing goes with --import, not with measuring; a device takes",
        ),
        (
            ("--batch", 2),
            "--batch goes with --export-blocks and --import and --fit, not with measur",
        ),
        (
            ("--fit", "x.csv", "--precision", "fp16"),
            "--precision goes with --import, not with --fit",
        ),
        (("--import", "x", "--device", "t4"), "--device goes with measuring, not with --import"),
        (
            ("--export-blocks", "x", "--networks", 2),
            "--networks goes with measuring, not with --exp",
        ),
        (
            ("--import", "x", "--batch", 0),
            "Invalid value for '--batch'",
        ),
    ],
)
def test_options_of_another_way_are_refused(arguments, message):
    result = CliRunner().invoke(app, ["profile", *map(str, arguments)], env={"COLUMNS": "200"})
    assert result.exit_code == 2
    assert message in result.stderr
