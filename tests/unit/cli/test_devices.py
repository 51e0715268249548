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
    assert "~48 %" in h100
    assert "not calibrated: priors alone" in shown.stdout
    (tensorrt,) = [line for line in lines if line.startswith("tensorrt ")]
    assert tensorrt.endswith("!")
    assert "! tensorrt: written against TensorRT's documentation, not verified on" in shown.stdout
    assert "preset(name=...)" in shown.stdout
    (fbnet,) = [line for line in lines if line.startswith("pixel3 ") and "fitted" in line]
    assert "fbnet(resolution=32)" in fbnet
    assert fbnet.endswith("!")
    (caution,) = [line for line in lines if line.startswith("! eyeriss, fpga, pixel3, raspi4: ")]
    assert caution.endswith("proves nothing")


def test_a_space_is_listed_as_a_search_takes_it(tmp_path):
    shown = CliRunner().invoke(app, ["devices", "--json"])
    space = next(row["spaces"] for row in json.loads(shown.stdout) if row["spaces"][:5] == "fbnet")
    for number, text in enumerate((space, "fbnet(resolution=32, num_classes=1000)")):
        asked = [
            *("search", "--space", text, "--device", "pixel2", "--objectives", "latency,macs:max"),
            *("--evaluations", "8", "--executor", "local", "--storage", tmp_path / str(number)),
        ]
        done = CliRunner().invoke(app, list(map(str, asked)))
        assert done.exit_code == 0, done.output
        assert "8 networks evaluated" in done.stdout


def test_devices_as_json():
    shown = CliRunner().invoke(app, ["devices", "--json"])
    rows = {row["name"]: row for row in json.loads(shown.stdout)}
    assert rows["cpu"]["provenance"] == "measured"
    assert rows["t4"]["batch"] == 1
    assert rows["h100"]["error_kind"] == "priors alone"
