"""How wrong a measured latency table of this machine's CPU is, and what measuring it costs.

A table of MoGA's space is measured (in a fresh cache) and compared with 30 random networks that had
no part in it, measured end to end. Run it on a quiet machine: the plain error is judged; "at one
speed" takes out by how much the machine changed between table and networks, and is printed beside.

Overhead is processor time that is not inside a timed run (start of the measuring process, imports,
building, warm-ups, and what this process does for the table), as a share of all of it.

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

from moga.devices.host import cpu
from moga.devices.isolated import Isolated
from moga.devices.profile import table_error
from moga.registry import create
from moga.spaces.base import Space
from moga.spaces.cost import CostTable

SPACES = {
    "224": "moga(resolution=224, num_classes=1000)",
    "32": "moga(resolution=32, width=0.35, num_classes=10)",
}
LARGEST = "gpunet"


def processor_s() -> float:
    """Return the processor time of this process and of its children that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + used.ru_utime + used.ru_stime


def measured(text: str, seconds: float, networks: int) -> tuple[dict[str, float], float]:
    """Measure a table and its error; return figures, and the overhead of the table."""
    space, device = create("space", text), cpu(seconds=seconds)
    engine = cast(Isolated, device.engine)
    before = processor_s()
    table = device.table(space)
    engine.close()
    spent = processor_s() - before
    error = table_error(table, device, networks=networks, rng=np.random.default_rng(0))
    engine.close()
    figures = {
        "MAPE %": error.mape,
        "MAPE at one speed %": error.mape if error.drift is None else error.mape_same_speed or 0.0,
        "Spearman": error.spearman,
        "drift %": 100 * (error.drift or 0.0),
        "noise of a network %": error.noise,
        "constant ms": table.constant,
    }
    return figures, 100 * (1 - table.provenance["seconds_timed"] / spent)


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
    seconds, networks = (3.0, 10) if asked.quick else (25.0, 30)
    figures: dict[str, Any] = {}
    goals: list[Goal] = []
    with tempfile.TemporaryDirectory() as folder:
        os.environ["MOGA_CACHE"] = folder
        for name in ("32",) if asked.quick else ("224", "32"):
            found, overhead = measured(SPACES[name], seconds, networks)
            figures |= {f"{name} px {key}": value for key, value in found.items()}
            figures[f"{name} px overhead %"] = overhead
            if name == "224":
                goals += [
                    Goal("224 px MAPE %", found["MAPE %"], "<=", 5.0),
                    Goal("224 px Spearman", found["Spearman"], ">=", 0.98),
                    Goal("224 px overhead %", overhead, "<=", 25.0),
                ]
    space = create("space", LARGEST)
    reading = reading_ms(space)
    figures["reading the largest table ms"] = reading
    goals.append(Goal("reading the largest table ms", reading, "<", 200.0))
    finish(figures, goals, asked)


if __name__ == "__main__":
    main()
