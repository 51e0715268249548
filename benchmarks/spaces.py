"""Cost tables of spaces: how fast they say what a million genomes cost, and how long they take.

    python benchmarks/spaces.py [--quick] [--json]

All in one process and one thread. Goals: 5 million uniform genomes of MoGA's space a second through
params, MACs and latency; the tables of params and MACs of GPUNet's space in 60 s; with tables
built, a million Sobol genomes of it, drawing included, with all three costs in 3 s; all in 1 GiB.
The latency tables are random numbers of the right shapes: a gather takes as long whatever it finds.
With ``--quick``, fewer repeats and 200,000 genomes of GPUNet's space, with a fifth of the time.
"""

import os
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from common import Goal, finish, options

from moga.spaces.base import Space, sample_sobol, sample_uniform
from moga.spaces.cost import CostTable, CostTables, count_table
from moga.spaces.gpunet import GPUNetSpace
from moga.spaces.moga import MoGASpace

MILLION = 1_000_000


def tables_of(space: Space) -> CostTables:
    """Count params and MACs, and make a latency table of random numbers."""
    counted = [count_table(space, metric) for metric in ("params", "macs")]
    rng = np.random.default_rng(0)
    arrays = tuple(rng.random(slot.shape) for slot in space.slots)
    return CostTables([*counted, CostTable("latency", "ms", space, arrays)])


def seconds(function: Callable[[], Any]) -> float:
    """Time one call."""
    began = time.perf_counter()
    function()
    return time.perf_counter() - began


def peak_gib() -> float:
    """Return the most memory that this process has had, in GiB."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**30


def moga_rates(repeats: int) -> dict[str, float]:
    """Evaluate a million uniform genomes of MoGA's space, together and table by table."""
    space = MoGASpace()
    tables = tables_of(space)
    genomes = sample_uniform(space.sizes, MILLION, np.random.default_rng(1))
    together = [seconds(lambda: tables(genomes)) for _ in range(repeats)]
    apart = [seconds(lambda: [table(genomes) for table in tables.tables]) for _ in range(repeats)]
    return {
        "moga, millions of genomes a second, three costs": 1 / statistics.median(together),
        "moga, best repeat": 1 / min(together),
        "moga, table by table": 1 / statistics.median(apart),
    }


def gpunet_seconds(n: int, repeats: int) -> dict[str, float]:
    """Build GPUNet's tables, then draw and evaluate n Sobol genomes."""
    space = GPUNetSpace()
    built = seconds(lambda: tables_of(space))
    loaded = seconds(lambda: tables_of(space))
    tables = tables_of(space)
    tables(sample_uniform(space.sizes, 1000, np.random.default_rng(2)))
    drawn, evaluated = [], []
    for _ in range(repeats):
        rng = np.random.default_rng(3)
        began = time.perf_counter()
        genomes = sample_sobol(space.sizes, n, rng)
        drawn.append(time.perf_counter() - began)
        evaluated.append(seconds(partial(tables, genomes)))
        del genomes  # so that there is one million at a time
    both = [a + b for a, b in zip(drawn, evaluated, strict=True)]
    return {
        "gpunet, entries": sum(float(np.prod(slot.shape)) for slot in space.slots),
        "gpunet, seconds to build params and MACs": built,
        "gpunet, seconds to load them from the cache": loaded,
        "gpunet, genomes": n,
        "gpunet, seconds to draw": statistics.median(drawn),
        "gpunet, seconds of three costs": statistics.median(evaluated),
        "gpunet, seconds of both": statistics.median(both),
    }


def main() -> None:
    """Measure and print."""
    asked = options(__doc__ or "")
    n = MILLION // 5 if asked.quick else MILLION
    with tempfile.TemporaryDirectory() as cache:
        os.environ["MOGA_CACHE"] = cache
        figures = {**moga_rates(5 if asked.quick else 20), **gpunet_seconds(n, 3)}
    figures["peak memory, GiB"] = peak_gib()
    rate = figures["moga, millions of genomes a second, three costs"]
    goals = [
        Goal("moga-million-genomes-per-second", rate, ">=", 5),
        Goal("gpunet-table-seconds", figures["gpunet, seconds to build params and MACs"], "<=", 60),
        Goal(
            f"gpunet-{n}-sobol-genomes-seconds",
            figures["gpunet, seconds of both"],
            "<=",
            3 * n / MILLION,
        ),
        Goal("gpunet-peak-gib", figures["peak memory, GiB"], "<=", 1),
    ]
    finish(figures, goals, asked)


if __name__ == "__main__":
    main()
