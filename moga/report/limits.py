"""Why a front is empty, in words: what was proposed, and how near it came to each limit."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final

import numpy as np

from moga.contracts import Objective
from moga.report.text import big, column, label, sentence

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["why_empty"]

_STATES: Final = (
    (
        "skipped",
        "proposed networks exceed the limits by what the tables say, and were not evaluated",
    ),
    ("measured", "evaluated ones break a limit"),
    ("failed", "evaluations failed"),
    ("bounded", "evaluations were stopped early"),
)


def why_empty(
    evaluations: "pd.DataFrame",
    objectives: Sequence[Objective],
    constraints: Sequence[Objective] = (),
) -> str:
    """Say why nothing is on the front, and the nearest value to each limit that nothing keeps.

    Args:
        evaluations: a row a genome, as `moga.result.Result.evaluations`.
        objectives: what is optimised.
        constraints: limits on what is no objective.

    Returns:
        Sentences without the last full stop; "" where the front is not empty.
    """
    if evaluations["on_front"].astype(bool).any():
        return ""
    counts = evaluations["status"].value_counts()
    states = [f"{counts[state]:,} {words}" for state, words in _STATES if state in counts]
    if not states:
        return "nothing has been evaluated"
    text = "; ".join(states)
    limited = [o for o in (*objectives, *constraints) if np.isfinite([o.lower, o.upper]).any()]
    if not limited or not {"skipped", "measured"} & set(counts.index):
        return text
    nearest = [words for objective in limited if (words := _nearest(evaluations, objective))]
    if not nearest and len(limited) > 1:
        nearest = ["some networks keep each of the limits, but none that was evaluated all"]
    return ". ".join([text, *map(sentence, nearest), "Give wider limits"])


def _nearest(evaluations: "pd.DataFrame", objective: Objective) -> str:
    """Return the value that comes nearest to a limit which nothing keeps; "" where one does."""
    name = column(objective.name)
    if name not in evaluations:
        return ""
    values = evaluations[name].to_numpy(dtype=float)
    values = values[np.isfinite(values)]
    away = objective.violation(values)
    if not len(values) or (away == 0).any():
        return ""
    value = float(values[away.argmin()])
    limit = objective.upper if value > objective.upper else objective.lower
    kind = "nearest"
    if (values > objective.upper).all():
        kind = "smallest"
    elif (values < objective.lower).all():
        kind = "largest"
    how = "proposed" if len(values) == len(evaluations) else "evaluated"
    near, at = _told_apart(name, value, limit)
    unit = f" {objective.unit}".rstrip()
    return f"the {kind} {label(name)} of {len(values):,} {how} is {near}{unit}; the limit is {at}"


def _told_apart(name: str, value: float, limit: float) -> tuple[str, str]:
    """Return two numbers as short texts that differ."""
    ways: tuple[Callable[[float], str], ...] = ("{:.4g}".format, "{:.17g}".format)
    if name in ("params", "macs"):
        ways = (big, "{:,.17g}".format)
    short, long = ((way(value), way(limit)) for way in ways)
    return short if short[0] != short[1] else long
