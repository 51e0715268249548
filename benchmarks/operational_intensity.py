"""Operational intensity as computed here beside Table 3 of EfficientNet-X (Li et al. 2021).

    python benchmarks/operational_intensity.py [--quick] [--json]

All 18 networks of the table are built: EfficientNet-X (the TPU variants, whose parameters the table
prints) and EfficientNet from the zoo, the others from timm. The convention is chosen by argument: a
batch of 128, the table's; two bytes a number, for the table's times are of bf16 and fp16 units; two
operations a multiply-add, as devices' peaks count; fused traffic, for the paper's compiler (XLA)
fuses element-wise operators into convolutions. The others are printed beside it, and some of them
come nearer. The paper does not say how it counts; it may have read its figures from a profiler.

Goal: Spearman's rank correlation of .8 or more over all networks, with that convention. Errors are
figures only, and those of networks with and without grouped convolutions stand apart.
"""

import statistics
from collections.abc import Sequence
from typing import Any

from common import Goal, finish, options
from scipy.stats import spearmanr

from moga.networks.analyze import find_module, input_shape
from moga.networks.intensity import PublishedIntensity, published_intensities, roofline
from moga.networks.trace import FUSIONS, Fusion

CHOSEN: tuple[int, Fusion] = (128, "fused")
PRECISION = "bf16"


def conventions(*, quick: bool) -> list[tuple[int, Fusion]]:
    """Return batch and fusion of all that is compared, the chosen ones first."""
    others = [(batch, fusion) for batch in (128, 1) for fusion in FUSIONS]
    return [CHOSEN] if quick else [CHOSEN, *(other for other in others if other != CHOSEN)]


def intensities(
    row: PublishedIntensity, asked: Sequence[tuple[int, Fusion]]
) -> tuple[list[float], float]:
    """Return a network's intensity by each convention, and its multiply-adds in 10^9."""
    module = find_module(row.network, meta=True)
    shape = input_shape(module, row.resolution)
    found = [
        # peak and bandwidth do not enter the intensity
        roofline(
            module, shape, peak=1.0, bandwidth=1.0, batch=batch, precision=PRECISION, fusion=kind
        ).whole
        for batch, kind in asked
    ]
    return [whole.intensity for whole in found], found[0].operations / 2 / asked[0][0] / 1e9


def rank_correlation(ours: Sequence[float], theirs: Sequence[float]) -> float:
    """Return Spearman's rank correlation."""
    return float(spearmanr(ours, theirs).statistic)


def errors(ours: Sequence[float], theirs: Sequence[float]) -> tuple[float, float]:
    """Return the mean absolute error in %, and the median ratio of ours to the paper's."""
    ratios = [a / b for a, b in zip(ours, theirs, strict=True)]
    return 100 * statistics.fmean(abs(ratio - 1) for ratio in ratios), statistics.median(ratios)


def describe(
    name: str, ours: Sequence[float], rows: Sequence[PublishedIntensity]
) -> dict[str, float]:
    """Return correlation, error and bias of a convention."""
    theirs = [row.intensity for row in rows]
    error, ratio = errors(ours, theirs)
    return {
        f"{name}: Spearman": rank_correlation(ours, theirs),
        f"{name}: MAPE, %": error,
        f"{name}: median of ours / paper's": ratio,
    }


def main() -> None:
    """Measure and print."""
    asked = options(__doc__ or "")
    rows, chosen = published_intensities(), conventions(quick=asked.quick)
    computed = [intensities(row, chosen) for row in rows]
    figures: dict[str, Any] = {}
    for row, (values, macs_g) in zip(rows, computed, strict=True):
        ratio = values[0] / row.intensity
        figures[row.model] = (
            f"I {values[0]:.1f}, paper {row.intensity:g} (x {ratio:.2f}); "
            f"10^9 MACs {macs_g:.2f}, paper {row.macs_g:g}"
            f"{'; grouped convolutions' if row.grouped else ''}"
        )
    for index, (batch, kind) in enumerate(chosen):
        ours = [values[index] for values, _ in computed]
        figures |= describe(f"batch {batch}, 2 bytes, {kind}", ours, rows)
        halves = [value / 2 for value in ours]  # twice the bytes; or one operation a multiply-add
        figures |= describe(f"batch {batch}, 4 bytes, {kind}", halves, rows)
    first = [values[0] for values, _ in computed]
    for grouped, name in ((False, "without grouped convolutions"), (True, "with them")):
        pairs = [(a, b) for a, b in zip(first, rows, strict=True) if b.grouped == grouped]
        figures |= describe(f"{len(pairs)} networks {name}", *map(list, zip(*pairs, strict=True)))
    correlation = rank_correlation(first, [row.intensity for row in rows])
    finish(figures, [Goal("intensity-spearman", correlation, ">=", 0.8)], asked)


if __name__ == "__main__":
    main()
