"""How well latency tables fitted to end-to-end times predict networks that were not timed.

    python benchmarks/fitted_tables.py --data HELP/data/fbnet [--quick] [--json] [--write]

The data are the times of 5,000 networks of FBNet's space on 23 device settings. They are part of
HELP (https://github.com/HayeonLee/HELP, MIT licence), and not of moga:

    git clone https://github.com/HayeonLee/HELP

and pass its folder ``data/fbnet``. A Parquet file with the columns ``op_0`` to ``op_21`` and
``lat_ms_DEVICE`` works too. Without data, the program says so and exits with 2.

For each device and each number of networks, tables are fitted to networks drawn from 3,000 and
tested on the other 2,000. Goals, in % of MAPE: median over the GPU settings 1.5 from 100 networks,
.9 from 200, .7 from 500; on two CPUs and two phones what a hierarchical ridge regression (columns:
depth, count of each operation, the same by stage, one-hot layers) reached in a trial on the same
data, at every size; and of the networks tested, 90 % in their 90 % intervals (median over all
devices between 87 and 93 at every size). ``--write`` fits all 5,000 and writes the catalogue.
"""

import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from common import Goal, finish, options
from numpy.typing import NDArray

from moga.contracts import Genomes
from moga.devices.catalog.fbnet import RESOLUTION, write_fbnet
from moga.devices.fit import Times, fit_table
from moga.spaces.fbnet import FBNetSpace

SPACE = FBNetSpace(RESOLUTION, 100)
SIZES = (50, 100, 200, 500)
TESTED = 2000
QUICK = ("titanx_1", "titanx_32", "titanxp_64", "silver_4210r", "samsung_a50")
GPUS = ("1080ti", "2080ti", "titan_rtx", "titanx", "titanxp")
GPU_GOALS = {100: 1.5, 200: 0.9, 500: 0.7}
RIDGE = {
    "gold_6226": (11, 8.5, 6.0, 4.2),
    "silver_4210r": (3.3, 2.5, 1.5, 0.9),
    "pixel2": (11, 9.4, 9.3, 8.6),
    "samsung_a50": (7.5, 6.4, 5.7, 5.7),
}
COVERED = (87, 93)
Data = tuple[Genomes, dict[str, NDArray[np.float64]]]


def read(path: Path) -> Data:
    """Read the networks, and the times of each device."""
    if path.is_dir():
        import torch

        genomes = torch.load(path / "arch.pt", weights_only=True)
        files = sorted((path / "latency").glob("*.pt"))
        times = {file.stem: torch.load(file, weights_only=True) for file in files}
    else:
        import pyarrow.parquet

        table = pyarrow.parquet.read_table(path).to_pydict()
        genomes = np.array([table[f"op_{i}"] for i in range(len(SPACE.genes))]).T
        times = {
            name.removeprefix("lat_ms_"): values
            for name, values in table.items()
            if name.startswith("lat_ms_")
        }
    whole = SPACE.validate(np.array(genomes))
    return whole, {name: np.array(values, dtype=float) for name, values in times.items()}


def is_gpu(name: str) -> bool:
    """Whether a setting is a GPU with a batch size."""
    return name.rpartition("_")[0] in GPUS


def test(genomes: Genomes, ms: NDArray[np.float64], size: int, draws: int) -> dict[str, float]:
    """Fit to `size` networks, several times, and test on the 2,000 that are never drawn."""
    order = np.random.default_rng(0).permutation(len(ms))
    pool, tested = order[:-TESTED], order[-TESTED:]
    rows = []
    for draw in range(draws):
        chosen = np.random.default_rng(draw).choice(pool, size, replace=False)
        began = time.perf_counter()
        fitted = fit_table(SPACE, Times(genomes[chosen], ms[chosen]))
        seconds = time.perf_counter() - began
        predicted, error = fitted.predict(genomes[tested])
        off = np.abs(predicted - ms[tested])
        covered = off <= 1.645 * error
        rows.append((np.mean(off / ms[tested]), np.mean(covered), fitted.cv_mape, seconds))
    mape, cover, cross, seconds = np.mean(rows, axis=0)
    return {
        "mape": 100 * float(mape),
        "covered": 100 * float(cover),
        "cv_mape": float(cross),
        "seconds": float(seconds),
    }


def goals_of(found: dict[str, dict[int, dict[str, float]]]) -> list[Goal]:
    """Compare with what is asked, for the devices and sizes that were tested."""
    goals = []
    gpus = [name for name in found if is_gpu(name)]
    sizes = list(next(iter(found.values())))
    for size in sizes:
        if size in GPU_GOALS:
            median = float(np.median([found[name][size]["mape"] for name in gpus]))
            goals.append(Goal(f"GPUs, median, {size} networks, %", median, "<=", GPU_GOALS[size]))
    for name, bounds in RIDGE.items():
        for size, bound in zip(SIZES, bounds, strict=True):
            if name in found and size in sizes:
                value = found[name][size]["mape"]
                goals.append(Goal(f"{name}, {size} networks, %", value, "<=", bound))
    for size in sizes:
        covered = float(np.median([figures[size]["covered"] for figures in found.values()]))
        goals.append(Goal(f"90 % intervals, {size} networks", covered, ">=", COVERED[0]))
        goals.append(Goal(f"90 % intervals, {size} networks", covered, "<=", COVERED[1]))
    return goals


def write(data: Data) -> None:
    """Fit each device's 5,000 networks, and write the catalogue."""
    genomes, times = data
    tables = {}
    for name, ms in times.items():
        batch = int(name.rpartition("_")[2]) if is_gpu(name) else 1
        source = "HELP (Lee et al. 2021)"
        tables[name] = fit_table(SPACE, Times(genomes, ms, source), device=name, batch=batch).table
        print(name, dict(tables[name].provenance), file=sys.stderr, flush=True)
    write_fbnet(tables)


def main() -> None:
    """Run the benchmark."""
    asked = options(
        "Tables fitted to end-to-end times.",
        lambda parser: parser.add_argument(
            "--data", type=Path, help="HELP's data/fbnet, or Parquet"
        ),
        lambda parser: parser.add_argument(
            "--write", action="store_true", help="write the catalogue instead"
        ),
    )
    if asked.data is None:
        print(
            "This benchmark needs the times that HELP measured:\n"
            "  git clone https://github.com/HayeonLee/HELP\n"
            "  python benchmarks/fitted_tables.py --data HELP/data/fbnet",
            file=sys.stderr,
        )
        sys.exit(2)
    genomes, times = read(asked.data)
    if asked.write:
        write((genomes, times))
        return
    names = [name for name in times if not asked.quick or name in QUICK]
    sizes, draws = (SIZES[1:3], 1) if asked.quick else (SIZES, 2)
    found: dict[str, dict[int, dict[str, float]]] = {}
    for name in names:
        found[name] = {size: test(genomes, times[name], size, draws) for size in sizes}
        cells = (f"{f['mape']:6.2f} ({f['covered']:3.0f})" for f in found[name].values())
        print(f"{name:16}", *cells, file=sys.stderr, flush=True)
    every = [figures for sizes_of in found.values() for figures in sizes_of.values()]
    figures: dict[str, Any] = {
        "networks fitted": list(sizes),
        "draws": draws,
        "slowest fit, s": max(figures["seconds"] for figures in every),
        "MAPE % (networks in their 90 % interval, %)": "",
    }
    for name, row in found.items():
        cells = [f"{f['mape']:.2f} ({f['covered']:.0f})" for f in row.values()]
        figures[name] = row if asked.json else "  ".join(cells)
    finish(figures, goals_of(found), asked)


if __name__ == "__main__":
    main()
