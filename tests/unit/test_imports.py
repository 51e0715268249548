"""`import moga` is quick because it loads nothing heavy; the public names are all there."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import moga

HEAVY = ("ray", "torch", "timm", "pandas", "pymoo", "moocore", "plotly", "matplotlib", "scipy")


@pytest.mark.parametrize(
    "statement",
    [
        "import moga",
        "import moga.cli.main",
        "import moga.network, moga.contracts, moga.registry, moga.spaces.moga, moga.spaces.cost",
        "import moga.devices.base, moga.runtime.journal, moga.runtime.local, moga.runtime.ledger",
    ],
)
def test_nothing_heavy_is_loaded(statement: str) -> None:
    code = f"{statement}\nimport sys; print(*sorted(set({HEAVY!r}) & set(sys.modules)))"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.split() == []


@pytest.mark.parametrize("missing", [("ray", "pymoo", "pandas", "moocore", "plotly")])
def test_measuring_and_training_need_torch_alone(missing: tuple[str, ...]) -> None:
    code = (
        f"import sys\nfor name in {missing!r}: sys.modules[name] = None\n"
        "import moga.devices.profile, moga.devices.engines.torch, moga.devices.host\n"
        "import moga.supernets.training, moga.supernets.supernet, moga.supernets.evaluators\n"
        "import moga.supernets.data\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


def test_a_table_is_measured_where_torch_is_alone(tmp_path: Path) -> None:
    """Neither this process nor the measuring one finds Ray, pymoo, pandas, scipy or pyarrow."""
    missing = ("ray", "pymoo", "pandas", "moocore", "plotly", "scipy", "pyarrow", "onnx")
    (tmp_path / "sitecustomize.py").write_text(
        f"import sys\nsys.modules.update(dict.fromkeys({missing!r}))\n"
    )
    code = (
        "import numpy as np\n"
        "from moga.devices.host import cpu\n"
        "from moga.devices.profile import table_error\n"
        "from moga.spaces.moga import MoGASpace\n"
        "device = cpu(seconds=0, rounds=2)\n"
        "table = device.table(MoGASpace(16, 0.1, 10))\n"
        "assert table_error(table, device, networks=2, rng=np.random.default_rng(0)).mape >= 0\n"
        "import sys; assert sys.modules['ray'] is None\n"
    )
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(tmp_path), *filter(None, sys.path)]),
        "MOGA_CACHE": str(tmp_path / "cache"),
    }
    subprocess.run([sys.executable, "-c", code], check=True, env=environment)


def test_public_names_exist_and_are_sorted() -> None:
    assert [getattr(moga, name) for name in moga.__all__]
    assert moga.__all__ == sorted(moga.__all__)
    assert set(moga.__all__) <= set(dir(moga))
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = moga.nothing
