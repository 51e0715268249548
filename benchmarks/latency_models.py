"""The calibrated roofline against the published latency tables, and how fast it is.

For each table: the error of priors alone, of networks left out one by one, of families left out,
and after 2, 4 and 8 measured networks. ``--write`` writes the calibrations of all measured rows to
``moga/devices/catalog/calibrations.json``.
"""

import argparse
import dataclasses
import itertools
import time
from pathlib import Path
from typing import Any

import numpy as np
import published_networks
from common import Goal, finish, options
from scipy.stats import spearmanr

import moga.devices.catalog
from moga.devices.published import published_latencies
from moga.devices.roofline import RooflineDevice, Timing, data_sheets
from moga.files import atomic_write
from moga.spaces.base import sample_uniform
from moga.spaces.gpunet import GPUNetSpace

COPY_GBS = 12.0
"""GENet's T4 times include the copy of an FP32 image, at what PCIe 3 gives."""


@dataclasses.dataclass(frozen=True)
class Case:
    """One published table on one device, engine and precision.

    Args:
        name: of the device that its calibration becomes.
        table: of the paper, as `published_latencies` names it.
        device: there.
        engine: there.
        precision: there; "": not stated.
        rules: the engine here.
        copy_gbs: of the input, where the times include it.
    """

    name: str
    table: str
    device: str
    engine: str
    precision: str
    rules: str
    copy_gbs: float = 0.0

    @property
    def roofline(self) -> RooflineDevice:
        """The device with priors alone."""
        return RooflineDevice(
            self.name,
            self.device,
            engine=self.rules,
            precision=self.precision or "fp16",
            copy_gbs=self.copy_gbs,
        )

    def timings(self) -> tuple[list[Timing], list[str]]:
        """Return the timings of networks that are built here, and the family of each."""
        entries = getattr(published_networks, self.table.upper())
        built = published_networks.built(self.table.upper())
        found, families = [], []
        for row in published_latencies():
            if (row.table, row.device, row.engine) != (self.table, self.device, self.engine):
                continue
            key = row.network if row.network in entries else (row.network, row.top1)
            if row.precision == self.precision and key in entries:
                found.append(Timing(built[key], row.ms, row.batch, str(key), row.step_ms))
                families.append(entries[key][0])
        return found, families


CASES = (
    Case("v100", "genet", "v100", "pytorch", "fp16", "pytorch"),
    Case("t4", "genet", "t4", "tensorrt", "fp16", "tensorrt", COPY_GBS),
    Case("t4_int8", "genet", "t4", "tensorrt", "int8", "tensorrt", COPY_GBS),
    Case("gv100", "gpunet", "gv100", "tensorrt", "fp16", "tensorrt"),
    Case("v100_tensorflow", "efficientnet_x", "v100", "tensorflow", "fp16", "tensorflow"),
    Case("tpuv3", "efficientnet_x", "tpuv3", "xla", "bf16", "xla"),
    Case("adreno630", "moga", "adreno630", "snpe", "", "mobile"),
    Case("adreno630_mace", "moga", "adreno630", "mace", "", "mobile"),
)
SOURCES = {
    "genet": "Lin et al. 2020, GENet, arXiv 2006.14090, Tables 7 to 9",
    "gpunet": "Wang et al. 2022, GPUNet, arXiv 2205.00841, Table 3: TensorRT 8.0.1",
    "efficientnet_x": "Li et al. 2021, EfficientNet-X, arXiv 2102.05610, Table 3",
    "moga": "Chu et al. 2019, MoGA, arXiv 1908.01314, Table 3",
}


def mape(errors: np.ndarray) -> float:
    """Return the mean absolute error in percent: log(predicted / measured) -> %."""
    return float(100 * np.abs(np.expm1(errors)).mean())


def errors_of(device: RooflineDevice, timings: list[Timing]) -> np.ndarray:
    """Return log(predicted / measured)."""
    return np.log(device.predict_timings(timings) / [timing.ms for timing in timings])


def spearman(errors: np.ndarray, timings: list[Timing]) -> float:
    """Return the rank correlation of predicted and measured times of a batch."""
    measured = np.array([timing.ms for timing in timings])
    return float(spearmanr(measured * np.exp(errors), measured)[0])


def grouped(timing: Timing) -> bool:
    """Whether a network has convolutions with groups that are not depthwise."""
    return any(op.kind == "conv" and 1 < op.groups < op.channels for op in timing.subject)


_UNSEEN = 1000


def drawn(names: list[str], networks: int, draws: int) -> list[tuple[str, ...]]:
    """Return the sets of networks to measure: all pairs, or draws of more.

    The draws are none of those (seeds below 1,000) that were looked at while the fit was written.
    """
    if networks == 2 and draws >= len(names):
        return list(itertools.combinations(names, 2))
    seeds = range(_UNSEEN, _UNSEEN + draws)
    rngs = [np.random.default_rng(seed) for seed in seeds]
    return [tuple(rng.choice(names, networks, replace=False).tolist()) for rng in rngs]


def budget(case: Case, timings: list[Timing], networks: int, draws: int) -> tuple[float, float]:
    """Return the mean MAPE over the other networks after measuring a few of them, and before."""
    found = []
    for chosen in drawn(sorted({timing.name for timing in timings}), networks, draws):
        inside = [timing for timing in timings if timing.name in chosen]
        outside = [timing for timing in timings if timing.name not in chosen]
        device = fitted(case.roofline, inside)
        found.append([mape(errors_of(one, outside)) for one in (device, case.roofline)])
    after, none = np.mean(found, axis=0).tolist()
    return after, none


def fitted(device: RooflineDevice, timings: list[Timing], engine: str = "") -> RooflineDevice:
    """Return the device with fitted parameters (and other rules), its error not looked at."""
    return RooflineDevice(
        device.name,
        device.sheet,
        engine=engine or device.engine.name,
        precision=device.precision,
        parameters=device.fit(timings),
        copy_gbs=device.copy_gbs,
    )


def judge(case: Case) -> tuple[dict[str, float], dict[str, Any]]:
    """Return a table's figures, and its calibration as `calibrations.json` holds it."""
    timings, families = case.timings()
    device = case.roofline.calibrate(timings, source=SOURCES[case.table])
    left_out = device.left_out(timings)
    family = device.left_out(timings, families)
    plain = np.array([not grouped(timing) for timing in timings])
    plainly = [timing for timing in timings if not grouped(timing)]
    figures = {
        "timings": len(timings),
        "networks": len({timing.name for timing in timings}),
        "priors": mape(errors_of(case.roofline, timings)),
        "fit": mape(errors_of(device, timings)),
        "one out": mape(left_out),
        "Spearman": spearman(left_out, timings),
        "ungrouped": mape(left_out[plain]),
        "ungrouped alone": mape(case.roofline.left_out(plainly)),
        "family out": mape(family),
        "family out, ungrouped": mape(family[plain]),
    }
    entry = {
        "name": case.name,
        "sheet": case.device,
        "engine": case.rules,
        "precision": device.precision,
        "parameters": {key: float(f"{value:.4g}") for key, value in device.parameters.items()},
        "covered": sorted(device.covered),
        "spread": round(device.spread, 3),
        "error": round(device.error, 3),
        "spearman": round(figures["Spearman"], 3),
        "networks": figures["networks"],
        "timings": len(timings),
        "batches": sorted({timing.batch for timing in timings}),
        "copy_gbs": case.copy_gbs,
        "source": device.source,
    }
    return figures, entry


def transfer(rules: str) -> tuple[float, float]:
    """Return MAPE and Spearman of GENet's V100 calibration on EfficientNet-X's table, no refit."""
    timings, _ = CASES[0].timings()
    other, _ = CASES[4].timings()
    device = fitted(CASES[0].roofline, timings, engine=rules)
    errors = errors_of(device, other)
    return mape(errors), spearman(errors, other)


def speed() -> dict[str, float]:
    """Return seconds of a processor of the roofline of a million GPUNet genomes, nothing kept."""
    seconds = {}
    for name, space in (("all resolutions", GPUNetSpace()), ("224 pixels", GPUNetSpace(224))):
        genomes = sample_uniform(space.sizes, 1_000_000, np.random.default_rng(0))
        begin = time.process_time()
        RooflineDevice("v100", "v100").table(space)(genomes)
        seconds[name] = time.process_time() - begin
    return seconds


def goals_of(
    found: dict[str, dict[str, float]], moved: float, took: dict[str, float]
) -> list[Goal]:
    """Return what is asked of the figures."""
    v100, t4, int8 = found["v100"], found["t4"], found["t4_int8"]
    return [
        Goal("V100 PyTorch FP16, one network out, MAPE %", v100["one out"], "<=", 8.0),
        Goal("V100 PyTorch FP16, one network out, Spearman", v100["Spearman"], ">=", 0.95),
        Goal("T4 TensorRT INT8, one network out, MAPE %", int8["one out"], "<=", 8.0),
        Goal("T4 TensorRT INT8, one network out, Spearman", int8["Spearman"], ">=", 0.95),
        Goal("T4 TensorRT FP16, one network out, MAPE %", t4["one out"], "<=", 13.0),
        Goal("T4 TensorRT FP16, ungrouped alone, MAPE %", t4["ungrouped alone"], "<=", 8.0),
        *(
            Goal(f"{name}, one family out, ungrouped, MAPE %", row, "<=", 10.0)
            for name in ("v100", "t4", "t4_int8")
            for row in [found[name]["family out, ungrouped"]]
        ),
        Goal("GENet's V100 table to EfficientNet-X's, MAPE %", moved, "<=", 12.0),
        *(
            Goal(f"a million GPUNet genomes, {name}, s of a processor", seconds, "<=", 5.0)
            for name, seconds in took.items()
        ),
    ]


def write(entries: list[dict[str, Any]]) -> None:
    """Write the catalogue's calibrations, one a line."""
    import json

    folder = Path(moga.devices.catalog.__file__).parent
    lines = ",\n  ".join(json.dumps(entry) for entry in entries)
    head = '"format": "moga-roofline-calibrations",\n "version": 1'
    atomic_write(
        folder / "calibrations.json", f'{{\n {head},\n "calibrations": [\n  {lines}\n ]\n}}\n'
    )


def _add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--write", action="store_true", help="write calibrations.json")


def main() -> None:
    """Judge all tables."""
    asked = options(__doc__ or "", _add)
    found: dict[str, dict[str, float]] = {}
    entries = []
    figures: dict[str, Any] = {}
    for case in CASES[:3] if asked.quick else CASES:
        found[case.name], entry = judge(case)
        entries.append(entry)
        figures |= {f"{case.name}: {key}": value for key, value in found[case.name].items()}
    draws = 3 if asked.quick else 80
    goals = []
    for case, networks in itertools.product(CASES[:3], (2, 4, 8)):
        after, none = budget(case, case.timings()[0], networks, draws)
        name = f"{case.name}: after {networks} networks"
        figures[f"{name}, MAPE % of the others"] = after
        figures[f"{name}, MAPE % of the same from priors alone"] = none
        goals.append(Goal(f"{name} / none", after / none, "<=", 1.0))
    moved, ranks = transfer("tensorflow")
    figures["V100 to EfficientNet-X: Spearman"] = ranks
    figures["V100 to EfficientNet-X with PyTorch's rules: MAPE %"] = transfer("pytorch")[0]
    took = speed() if not asked.quick else {}
    figures["data sheets"] = ", ".join(data_sheets())
    if asked.write:
        write(entries)
    finish(figures, goals_of(found, moved, took) + ([] if asked.quick else goals), asked)


if __name__ == "__main__":
    main()
