"""How wrong a measured latency table of this machine's CPU is, and what measuring it costs.

A table of MoGA's space is measured (in a fresh cache) and compared with 30 random networks that had
no part in it, timed end to end in the same rounds as the blocks, as `moga profile` does. Run it on
a quiet machine: what is judged cannot be better than the networks' own noise, printed beside.

Overhead is processor time that is not inside a timed run (start of the measuring process, imports,
building, warm-ups, blocks that run again on the way to others, and what this process does for the
table), as a share of all of it; it is of a table without networks.

    python benchmarks/cpu_table.py [--quick] [--json]
"""

import os
import resource
import tempfile
import time
from pathlib import Path
from typing import Any, cast

import numpy as np
from common import Goal, finish, options

from moga.devices.host import HostDevice, cpu
from moga.devices.isolated import Isolated
from moga.devices.tableerror import checked_table
from moga.registry import create
from moga.spaces.base import Space
from moga.spaces.cost import CostTable

SPACES = {
    "224": "moga(resolution=224, num_classes=1000)",
    "32": "moga(resolution=32, width=0.35, num_classes=10)",
}
LARGEST = "gpunet"
BUDGETED, BUDGET_S = "efficientnet_x", 120.0


def processor_s() -> float:
    """Return the processor time of this process and of its children that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + used.ru_utime + used.ru_stime


def overhead(space: Space, device: HostDevice) -> float:
    """Time a space's blocks; return the percentage of processor time outside of timed runs."""
    before = processor_s()
    table = device.table(space)
    cast(Isolated, device.engine).close()
    return 100 * (1 - table.provenance["seconds_timed"] / (processor_s() - before))


def measured(text: str, seconds: float, networks: int) -> dict[str, float]:
    """Measure a table, its overhead and its error; return figures."""
    space, device = create("space", text), cpu(seconds=seconds)
    outside = overhead(space, device)
    device.refresh = True
    rng = np.random.default_rng(0)
    table, error = checked_table(space, device, networks=networks, rng=rng)
    cast(Isolated, device.engine).close()
    return {
        "MAPE %": error.mape,
        "Spearman": error.spearman,
        "spread of the networks %": 100 * error.measured_ms.std() / error.measured_ms.mean(),
        "noise of a network %": error.noise,
        "constant ms": table.constant,
        "overhead %": outside,
    }


def reading_ms(space: Space) -> float:
    """Return the least wall time of five to read a table of a space, with errors and marks."""
    rng = np.random.default_rng(0)
    shapes = [slot.shape for slot in space.slots]
    table = CostTable(
        "latency",
        "ms",
        space,
        tuple(rng.random(shape) for shape in shapes),
        tuple(rng.random(shape) for shape in shapes),
        predicted=tuple(rng.random(shape) < 0.5 for shape in shapes),
    )
    times = []
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "table.npz"
        table.save(path)
        for _ in range(5):
            begin = time.perf_counter()
            CostTable.load(path, space)
            times.append(1e3 * (time.perf_counter() - begin))
    return min(times)


def main() -> None:
    """Measure, and print."""
    asked = options("The error and the cost of a latency table of this machine's CPU.")
    seconds, networks = (3.0, 10) if asked.quick else (60.0, 30)
    figures: dict[str, Any] = {}
    goals: list[Goal] = []
    with tempfile.TemporaryDirectory() as folder:
        os.environ["MOGA_CACHE"] = folder
        for name in ("32",) if asked.quick else ("224", "32"):
            found = measured(SPACES[name], seconds, networks)
            figures |= {f"{name} px {key}": value for key, value in found.items()}
            if name == "224":
                goals += [
                    Goal("224 px MAPE %", found["MAPE %"], "<=", 5.0),
                    Goal("224 px Spearman", found["Spearman"], ">=", 0.98),
                    Goal("224 px overhead %", found["overhead %"], "<=", 25.0),
                ]
        if not asked.quick:
            space, device = create("space", BUDGETED), cpu(seconds=BUDGET_S, missing="predict")
            outside = overhead(space, device)
            figures[f"overhead of a budget of {BUDGET_S:g} s %"] = outside
            goals.append(Goal("overhead of a time budget %", outside, "<=", 25.0))
    space = create("space", LARGEST)
    reading = reading_ms(space)
    figures["reading the largest table ms"] = reading
    goals.append(Goal("reading the largest table ms", reading, "<", 200.0))
    finish(figures, goals, asked)


if __name__ == "__main__":
    main()
