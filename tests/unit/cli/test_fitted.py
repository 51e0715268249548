import json

import numpy as np
import pytest
from typer.testing import CliRunner

from moga.cli.main import app
from moga.spaces.base import sample_uniform
from moga.spaces.cost import CostTable, count_table
from moga.spaces.fbnet import FBNetSpace

SPACE = FBNetSpace(resolution=32, num_classes=10)


def invoke(*arguments):
    words = ["profile", "--space", SPACE.spec, *map(str, arguments)]
    return CliRunner().invoke(app, words, env={"COLUMNS": "120"})


@pytest.fixture
def times(tmp_path):
    genomes = sample_uniform(SPACE.sizes, 30, np.random.default_rng(0))
    ms = count_table(SPACE, "macs")(genomes) / 1e6
    rows = [f"{' '.join(map(str, g))},{t!r}" for g, t in zip(genomes, ms.tolist(), strict=True)]
    path = tmp_path / "phone.csv"
    path.write_text("\n".join(["genome,latency_ms", *rows]) + "\n")
    return path


def test_a_table_is_fitted_saved_and_described(times, tmp_path):
    result = invoke("--fit", times, "--output", tmp_path / "t.npz", "--batch", 2, "--json")
    assert result.exit_code == 0, result.output
    provenance = json.loads(result.stdout)["provenance"]
    assert (provenance["method"], provenance["networks"]) == ("fitted", 30)
    assert (provenance["device"], provenance["batch"]) == ("phone", 2)
    assert provenance["gmacs_per_s"] == pytest.approx(2)  # 1e6 multiply-adds a ms, of two images
    genomes = sample_uniform(SPACE.sizes, 100, np.random.default_rng(1))
    expected = count_table(SPACE, "macs")(genomes) / 1e6
    np.testing.assert_allclose(CostTable.load(tmp_path / "t.npz", SPACE)(genomes), expected, 0.01)


@pytest.mark.parametrize(("options", "name"), [((), "my phone"), (("--device-name", "x"), "x")])
def test_the_device_is_the_one_that_the_times_name(times, tmp_path, options, name):
    header, *rows = times.read_text().splitlines()
    rows = [f"{row},my phone,int8" for row in rows]
    times.write_text("\n".join([f"{header},device,precision", *rows]))
    result = invoke("--fit", times, "--output", tmp_path / "t.npz", "--json", *options)
    assert result.exit_code == 0, result.output
    provenance = json.loads(result.stdout)["provenance"]
    assert (provenance["device"], provenance["precision"]) == (name, "int8")


def test_people_read_the_error(times, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = invoke("--fit", times, "--device-name", "my phone")
    assert result.exit_code == 0, result.output
    shown = " ".join(result.stdout.split())
    assert "networks held out (30 networks, cross-validated)" in shown
    assert "of so few networks the interval is rough: give 50 or more" in shown
    assert (tmp_path / "latency-fbnet-my_phone.npz").exists()


@pytest.mark.parametrize(
    ("factor", "words"),
    [
        (1, ""),
        (0.9e-6, "1.1e+06 gmacs per s is more than any device does (0.01 to 1e+06): the times are"),
        (1.2e2, "0.0083 gmacs per s is less than any device does"),
    ],
)
def test_times_that_are_all_of_another_unit_are_told_by_the_speed(times, tmp_path, factor, words):
    header, *rows = times.read_text().splitlines()
    pairs = [row.split(",") for row in rows]
    rows = [f"{genome},{float(ms) * factor!r}" for genome, ms in pairs]
    times.write_text("\n".join([header, *rows]))
    result = invoke("--fit", times, "--output", tmp_path / "t.npz")
    assert result.exit_code == 0, result.output
    shown = " ".join(result.stdout.split())
    assert f"gmacs per s {1 / factor:.4g} cv" in shown
    assert ("caution" in shown) == bool(words)
    assert words in shown


def test_a_bad_row_leaves_nothing_behind(times, tmp_path):
    times.write_text(times.read_text() + f"{' '.join(['0'] * 22)},-3\n")
    result = invoke("--fit", times, "--output", tmp_path / "t.npz")
    assert result.exit_code == 2
    assert "line 32: latency_ms is -3" in " ".join(result.stderr.split())
    assert not (tmp_path / "t.npz").exists()


def test_two_ways_at_once_are_refused(times, tmp_path):
    result = invoke("--fit", times, "--import", tmp_path)
    assert result.exit_code == 2
    assert "give --fit alone" in result.stderr
