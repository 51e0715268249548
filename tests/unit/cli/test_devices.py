import json

from typer.testing import CliRunner

from moga.cli.main import app


def test_devices_are_listed():
    shown = CliRunner().invoke(app, ["devices"])
    assert shown.exit_code == 0
    lines = shown.stdout.splitlines()
    assert lines[0].split()[:3] == ["name", "hardware", "engine"]
    (v100,) = [line for line in lines if line.startswith("v100 ")]
    assert "NVIDIA Tesla V100" in v100
    assert "roofline" in v100
    assert "1 (of 1 to 64)" in v100
    assert "128 (of 128)" in next(line for line in lines if line.startswith("tpuv3 "))
    (h100,) = [line for line in lines if line.startswith("h100 ")]
    assert "~" in h100
    assert "not calibrated: priors alone" in shown.stdout
    (tensorrt,) = [line for line in lines if line.startswith("tensorrt ")]
    assert tensorrt.endswith("!")
    assert "! tensorrt: written against TensorRT's documentation, not verified on" in shown.stdout
    assert "preset(name=...)" in shown.stdout


def test_devices_as_json():
    shown = CliRunner().invoke(app, ["devices", "--json"])
    rows = {row["name"]: row for row in json.loads(shown.stdout)}
    assert rows["cpu"]["provenance"] == "measured"
    assert rows["t4"]["batch"] == 1
    assert rows["h100"]["error_kind"] == "priors alone"
