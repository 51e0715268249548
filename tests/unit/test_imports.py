"""`import moga` is quick because it loads nothing heavy; the public names are all there."""

import os
import re
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

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
        "import moga.devices.tableerror, moga.devices.engines.torch, moga.devices.host\n"
        "import moga.supernets.training, moga.supernets.supernet, moga.supernets.evaluators\n"
        "import moga.supernets.data\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


NOT_NEEDED = [
    "ray",
    "pymoo",
    "moocore",
    "pandas",
    "scipy",
    "sklearn",
    "botorch",
    "gpytorch",
    "pyarrow",
    "rich",
    "typer",
    "click",
    "matplotlib",
    "plotly",
    "onnx",
    "onnxruntime",
    "onnxscript",
]


def beside(*names: str) -> list[str]:
    """Return all that can be imported here but moga, these distributions and what they need."""
    needed: set[str] = set()
    waiting = list(names)
    while waiting:
        name = canonicalize_name(waiting.pop())
        if name not in needed:
            needed.add(name)
            required = map(Requirement, metadata.requires(name) or ())
            waiting += [
                one.name for one in required if not (one.marker and not one.marker.evaluate())
            ]
    return [
        module
        for module, owners in metadata.packages_distributions().items()
        if module != "moga" and not needed & {canonicalize_name(owner) for owner in owners}
    ]


def test_a_table_is_measured_where_torch_timm_and_numpy_are_alone(tmp_path: Path) -> None:
    """Neither this process nor the measuring one finds anything else: the page's own program."""
    hidden = sorted({*beside("torch", "timm", "numpy"), *NOT_NEEDED})
    (tmp_path / "sitecustomize.py").write_text(
        f"import sys\nsys.modules.update(dict.fromkeys({hidden!r}))\n"
    )
    page = (Path(moga.__file__).parents[1] / "docs/latency.md").read_text(encoding="utf-8")
    text = page[page.index("**Where moga's other libraries are missing.**") :]
    (program,) = re.findall(r"```python\n(.*?)```", text.partition("\n**")[0], flags=re.DOTALL)
    code = program + (
        "from moga.spaces.cost import CostTable\n"
        "device = create('device', 'cpu(seconds=1, rounds=2, missing=predict)')\n"
        "for name in ('genet', 'gpunet', 'efficientnet_x'):\n"
        "    space = create('space', f'{name}(resolution=64)')\n"
        "    part = device.table(space)\n"
        "    assert part.provenance['blocks_predicted'] > 0\n"
        "    part.save(Path('part.npz'))\n"
        "    assert CostTable.load(Path('part.npz'), space).digest == part.digest\n"
        "network = space.decode([0] * len(space.sizes))\n"
        "assert create('device', 'table(path=part.npz)').latency(network).provenance == 'table'\n"
        "import sys; assert sys.modules['ray'] is None and 'moga.runtime' not in sys.modules\n"
    )
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(tmp_path), *filter(None, sys.path)]),
        "MOGA_CACHE": str(tmp_path / "cache"),
    }
    subprocess.run([sys.executable, "-c", code], check=True, env=environment, cwd=tmp_path)


def test_public_names_exist_and_are_sorted() -> None:
    assert [getattr(moga, name) for name in moga.__all__]
    assert moga.__all__ == sorted(moga.__all__)
    assert set(moga.__all__) <= set(dir(moga))
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = moga.nothing
