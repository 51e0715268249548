import json
from typing import Any

import pytest
from typer.testing import CliRunner

from moga.cli.main import app
from moga.cli.networks import print_networks
from moga.networks import zoo

ROW: dict[str, Any] = {
    "name": "a_net",
    "family": "nets",
    "resolution": 32,
    "params": 1_234_567,
    "macs": 2_345_678_900,
    "published_params_m": None,
    "published_macs_m": 2300.0,
    "top1": 70.5,
    "notes": ["odd"],
    "family_notes": ["all odd"],
}


def test_rows_for_people(capsys: pytest.CaptureFixture[str]) -> None:
    other = {**ROW, "name": "another", "notes": ["even", "odd"]}
    print_networks([ROW, other], as_json=False)
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].split() == ["a_net", "32", "1.235", "-", "2,345.7", "2,300", "70.5", "1"]
    assert lines[2].split()[-1] == "2,1"
    assert lines[-3:] == ["[1] odd", "[2] even", "[nets] all odd"]
    assert len({line.index("32") for line in lines[1:3]}) == 1


def test_the_command_lists_every_network() -> None:
    done = CliRunner().invoke(app, ["networks"])
    assert done.exit_code == 0
    names = [line.split()[0] for line in done.stdout.splitlines()[1 : 1 + len(zoo.names())]]
    assert tuple(names) == zoo.names()


def test_the_command_in_json_is_a_list_of_objects() -> None:
    done = CliRunner().invoke(app, ["networks", "--json"])
    assert done.exit_code == 0
    rows = json.loads(done.stdout)
    assert rows == zoo.table()
    assert {"name", "params", "macs"} <= set(rows[0])
    assert {row["name"]: row["params"] for row in rows}["gpunet_d2"] == 19036728
