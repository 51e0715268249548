import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from timm.data import resolve_data_config

import moga.timm
from moga.errors import UsageError
from moga.networks import zoo


def test_every_name_is_known_to_timm() -> None:
    assert set(zoo.names()) <= set(timm.list_models())
    assert set(timm.list_models(module="moga")) == set(moga.timm.REGISTERED)
    assert set(zoo.names()) - set(moga.timm.REGISTERED) == {f"efficientnet_b{i}" for i in range(8)}
    assert timm.list_models("gpunet_d*") == ["gpunet_d1", "gpunet_d2"]


def test_timm_creates_our_models() -> None:
    model: Any = timm.create_model("moga_a", num_classes=10, drop_rate=0.2, in_chans=1)
    assert model.eval()(torch.randn(1, 1, 64, 64)).shape == (1, 10)
    assert model.network.num_classes == 10
    assert model.default_cfg["architecture"] == "moga_a"
    assert resolve_data_config({}, model=model)["input_size"] == (1, 224, 224)
    assert timm.get_pretrained_cfg("gpunet_2").crop_pct == 1.0


def test_timm_creates_backbones() -> None:
    model: Any = timm.create_model("moga_b", features_only=True, out_indices=(2, 3), img_size=96)
    assert model.feature_info.reduction() == [8, 16]
    assert [m.shape[-1] for m in model(torch.randn(2, 3, 96, 96))] == [12, 6]
    assert model.network.input_shape == (3, 96, 96)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"pretrained": True}, "moga_a has no published weights here; leave pretrained=False"),
        ({"global_pool": "max"}, "moga_a: global_pool must be 'avg'"),
        ({"drop_path_rate": 0.2}, "moga_a: drop_path_rate must be 0"),
        ({"output_stride": 8}, r"moga_a does not take \['output_stride'\]; it takes num_classes"),
        ({"num_classes": 0}, "num_classes is 0; give an integer of 1 or more"),
    ],
)
def test_what_these_networks_cannot_do(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        timm.create_model("moga_a", **arguments)


def test_registering_again_changes_nothing() -> None:
    assert moga.timm._register() == moga.timm.REGISTERED


SCRIPT = """
import sys
import timm
from beside import VALUE
print(__name__, sys.argv[1:], VALUE, timm.is_model("moga_a"))
"""


@pytest.fixture
def script(tmp_path: Path) -> Path:
    (tmp_path / "beside.py").write_text("VALUE = 5\n", encoding="utf-8")
    path = tmp_path / "script.py"
    path.write_text(SCRIPT, encoding="utf-8")
    return path


def test_the_launcher_runs_a_script_as_python_would(
    script: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["moga.timm", str(script), "--model", "moga_a"])
    monkeypatch.setattr(sys, "path", list(sys.path))
    moga.timm.main()
    assert capsys.readouterr().out == "__main__ ['--model', 'moga_a'] 5 True\n"


def test_the_launcher_from_the_shell(script: Path) -> None:
    command = [sys.executable, "-W", "error", "-m", "moga.timm", str(script), "-b", "2"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout == "__main__ ['-b', '2'] 5 True\n"


def test_the_launcher_without_a_script(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"which script\? usage: python -m moga.timm SCRIPT"):
        moga.timm.main([])
    with pytest.raises(UsageError, match=r"absent\.py does not exist; give the path of a script"):
        moga.timm.main([str(tmp_path / "absent.py")])
