"""How few evaluations the searchers need, beside what people use today.

    python benchmarks/search_quality.py [--quick] [--json] [--seeds N] [--evaluations N]
        [--searchers "a;b"] [--confirm] [--write]

Regret = 1 - hypervolume / true hypervolume at 50, 100, 200, 400 and 800 unique evaluations,
reference point accuracy 0 and the table's largest latency, on the tasks of `search_tasks.py`:
NAS-Bench-201 with two and three objectives, two pairs of data set and device held back, FBNet's
space on a phone, and a chain of 6**20 genomes. The peers of `search_peers.py` run at their defaults
and population 20. Curves are kept in curves/ (`search_curves.py`), so that a run computes only what
is missing there or of other code; all of them take hours. Two processes of one thread each.

The best peer of a task and budget is the one of lowest mean regret there; peers that were given the
known latency are a control and not among them. A searcher's figure is the mean over tasks of its
mean regret divided by the best peer's; its interval, the 95 % of a paired bootstrap over seeds.

With ``--quick`` a sample of the kept curves is computed anew and compared, and the goals are judged
on all that are kept; curves of other code are a missed goal then. ``--confirm`` first computes one
seed of each searcher anew whose curves are of other code: where all are the same, the others count.
With ``--write`` the table and the figure in docs/ are written anew.
"""

import argparse
import dataclasses
import sys
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
from common import Goal, finish, options
from search_curves import (
    BUDGETS,
    OURS,
    Job,
    Store,
    collect,
    computed,
    confirm,
    gather,
    jobs_of,
    tasks_by_name,
)
from search_peers import PEERS, PROPOSALS
from search_tasks import Task
from search_tpe import check

from moga.files import atomic_write
from moga.runtime.environment import describe_host

CONTROLS = ("pymoo NSGA-II, latency known",)
BOTH = ("latency known to both", "known to neither")
NSGA2S = (
    ("known to ours alone", "nsga2(population=20)", "pymoo NSGA-II"),
    (BOTH[0], "nsga2(population=20)", CONTROLS[0]),
    (BOTH[1], "nsga2(population=20), nothing known", "pymoo NSGA-II"),
)
"""Ours beside pymoo's of the same population: what is known, and the two labels."""

SAMPLE = ("random", "pymoo NSGA-II", "Optuna NSGA-II", "auto", "nsga2(population=20)", "local")
"""Whose curves of one seed and task are computed anew where it must be quick, up to 100."""

DRAWN = (
    *("random", "pymoo NSGA-II", "pymoo NSGA-II, latency known", "Optuna NSGA-II", "Optuna TPE"),
    *("auto", "auto, nothing known", "portfolio", "nsga2(population=20)", "local"),
)
"""Whose curves the figure shows; more would hide each other. The table has all."""

FEWEST = 4
"""Seeds that a searcher must have been run from to a budget to be shown there."""

DOCS = Path(__file__).resolve().parent.parent / "docs"


Results = dict[str, dict[str, np.ndarray]]
"""Task -> searcher -> regrets of shape (seeds, budgets), nan where it was not run so far."""


def seeds_of(results: Results, label: str, budget: int) -> int:
    """Return how many seeds a searcher was run from to a budget, on all tasks."""
    column = BUDGETS.index(budget)
    return min(int(np.isfinite(curves[label][:, column]).sum()) for curves in results.values())


def ran_to(results: Results, labels: Iterable[str], budget: int) -> list[str]:
    """Return the searchers that were run to a budget from at least one seed."""
    return [label for label in labels if seeds_of(results, label, budget)]


def ratio(
    results: Results, label: str, other: str | None, budget: int
) -> tuple[float, float, float]:
    """Return the mean over tasks of regret / regret of another (None: the best peer), and 95 %.

    Over the seeds that all of them were run from.
    """
    column = BUDGETS.index(budget)
    peers = [n for n in ran_to(results, PEERS, budget) if n not in CONTROLS]
    others = [other] if other else peers
    seeds = min(seeds_of(results, name, budget) for name in [label, *others])
    rng, pairs = np.random.default_rng(0), []
    for curves in results.values():
        at = {name: curves[name][:seeds, column] for name in [label, *others]}
        best = min(others, key=lambda name: float(at[name].mean()))
        pairs.append((at[label], at[best]))
    drawn = np.concatenate([np.arange(seeds)[None], rng.integers(0, seeds, (2000, seeds))])
    each = [a[drawn].mean(axis=1) / b[drawn].mean(axis=1) for a, b in pairs]
    values = np.mean(each, axis=0)
    low, high = np.quantile(values[1:], [0.025, 0.975])
    return float(values[0]), float(low), float(high)


def goals_of(
    results: Results, labels: list[str], budgets: tuple[int, ...]
) -> tuple[dict[str, Any], list[Goal]]:
    """Return figures and goals from what was run."""
    most = max(seeds_of(results, label, 100) for label in labels)
    figures: dict[str, Any] = {}
    goals: list[Goal] = []
    held = {name: c for name, c in results.items() if tasks_by_name()[name].held_back}
    for budget in (b for b in (100, 200) if b in budgets):
        for label in ran_to(results, [label for label in labels if label in OURS], budget):
            value, low, high = ratio(results, label, None, budget)
            seeds = seeds_of(results, label, budget)
            few = f", {seeds} seeds" if seeds < most else ""
            name = f"{label} / best peer at {budget}{few}"
            figures[name] = f"{value:.3f} [{low:.3f}, {high:.3f}]"
            if label == "auto":
                goals.append(Goal(f"auto / best peer at {budget}", value, "<=", 0.6))
                goals.append(Goal(f"its upper 95 % bound at {budget}", high, "<", 1.0))
                value, low, high = ratio(held, label, None, budget)
                name = f"auto / best peer at {budget}, pairs held back"
                figures[name] = f"{value:.3f} [{low:.3f}, {high:.3f}]"
                value, low, high = ratio(results, label, CONTROLS[0], budget)
                name = f"auto / {CONTROLS[0]} at {budget}"
                figures[name] = f"{value:.3f} [{low:.3f}, {high:.3f}]"
        if "portfolio" in labels:
            singles = [
                label
                for label in labels
                if label in OURS and label != "portfolio" and OURS[label][1]
                if seeds_of(results, label, budget) == most
            ]
            best = min(singles, key=lambda label: ratio(results, label, None, budget)[0])
            value, low, high = ratio(results, "portfolio", best, budget)
            figures[f"portfolio / {best} at {budget}"] = f"{value:.3f} [{low:.3f}, {high:.3f}]"
            goals.append(Goal(f"portfolio / best single one at {budget}", value, "<=", 1.1))
    for budget in budgets if "nsga2(population=20)" in labels else ():
        for given, ours, theirs in NSGA2S:
            if len(ran_to(results, (ours, theirs), budget)) < 2:
                continue
            name = f"weighted NSGA-II / pymoo's at {budget}, {given}"
            value, low, high = ratio(results, ours, theirs, budget)
            figures[name] = f"{value:.3f} [{low:.3f}, {high:.3f}]"
            if budget in (100, 200) and given in BOTH:
                goals.append(Goal(name, value, "<=", 1.0))
    return figures, goals


def means_of(results: Results, label: str) -> dict[str, np.ndarray]:
    """Return a searcher's mean regret on each task, at the budgets that enough seeds ran to."""
    enough = min(FEWEST, max(seeds_of(results, label, budget) for budget in BUDGETS))
    ran = [seeds_of(results, label, budget) >= enough for budget in BUDGETS]
    return {name: np.nanmean(curves[label][:, ran], axis=0) for name, curves in results.items()}


def table_of(results: Results, labels: list[str]) -> str:
    """Return the mean regrets as markdown: a row a task, a column a searcher."""
    lines = ["| task | " + " | ".join(labels) + " |", "|---" * (len(labels) + 1) + "|"]
    means = [means_of(results, label) for label in labels]
    for name in results:
        cells = ["/".join(f"{mean:.3f}".removeprefix("0") for mean in of[name]) for of in means]
        mark = " (held back)" if tasks_by_name()[name].held_back else ""
        lines.append(f"| {name}{mark} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def picture(results: Results, labels: list[str], path: Path) -> None:
    """Draw the geometric mean of the regret over the tasks against evaluations."""
    import matplotlib as mpl

    mpl.use("svg")
    mpl.rcParams["svg.hashsalt"] = "moga"
    from matplotlib import pyplot as plt
    from matplotlib.ticker import NullFormatter

    figure, axes = plt.subplots(figsize=(9.5, 5))
    for number, label in enumerate(label for label in DRAWN if label in labels):
        means = np.array(list(means_of(results, label).values()))
        values = np.exp(np.log(np.maximum(means, 1e-6)).mean(axis=0))
        style = "-" if label in OURS else "--"
        look = {"marker": "o", "markersize": 3, "color": plt.get_cmap("tab10")(number)}
        axes.plot(BUDGETS[: len(values)], values, style, label=label, **look)
    axes.set(xscale="log", yscale="log", xlabel="unique evaluations")
    axes.set_ylabel("regret, geometric mean over the tasks")
    axes.set_xticks(BUDGETS, [str(budget) for budget in BUDGETS], minor=False)
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.grid(visible=True, alpha=0.3)
    axes.legend(fontsize=8, loc="center left", bbox_to_anchor=(1.01, 0.5))
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)


def partly(results: Results, labels: list[str], seeds: int) -> list[str]:
    """Return which searchers were not run from all seeds to the largest budget, and how far."""
    found = []
    for label in labels:
        counts = {budget: seeds_of(results, label, budget) for budget in BUDGETS}
        found += [
            f"{label} from {count} of the seeds at {budget}"
            for budget, count in counts.items()
            if 0 < count < seeds
        ]
        if not counts[BUDGETS[-1]]:
            found.append(f"{label} to {max(b for b in BUDGETS if counts[b])}")
    return found


def summary(results: Results) -> str:
    """Return the result in three sentences."""

    def at(label: str, other: str | None = None) -> str:
        pairs = [ratio(results, label, other, budget)[0] for budget in (100, 200)]
        return " and ".join(f"{value:.2f}".lstrip("0") for value in pairs)

    return f"""After 100 and 200 evaluations `auto` has {at("auto")} of the regret of the best peer
(pymoo's NSGA-II, Optuna's NSGA-II and TPE, random search), averaged over the tasks;
{at("auto, nothing known")} where no cost is known without an evaluation. A `portfolio` has
{at("portfolio", "auto")} of the regret of `auto`. NSGA-II with weighted crowding and a population
of 20 has {at(*NSGA2S[1][1:])} of that of pymoo's where both know the latency, and
{at(*NSGA2S[2][1:])} where neither does."""


def page(
    results: Results,
    labels: list[str],
    seeds: int,
    figures: dict[str, Any],
    goals: list[Goal],
) -> str:
    """Return docs/search-quality.md."""
    host = describe_host()
    versions = {**host["versions"], "optuna": metadata.version("optuna")}
    listed = "\n".join(f"- {name}: {value}" for name, value in figures.items())
    asked = "\n".join(f"- {goal}" for goal in goals)
    note = (
        f"A searcher that repeats itself, as TPE does on most tasks, gives up after {PROPOSALS} "
        "proposals a unique evaluation, and keeps the regret that it had reached. "
        "Not run from all seeds to the largest budget so far: "
        + (", ".join(partly(results, labels, seeds)) or "none")
        + "."
    )
    return f"""# How few evaluations the searchers need

Written by `python benchmarks/search_quality.py --seeds {seeds} --write`; do not edit.
{seeds} seeds, {len(results)} tasks, {host["host"]["cpu"]}, {host["host"]["cores"]} cores;
{", ".join(f"{name} {version}" for name, version in versions.items())}.

Regret is 1 - hypervolume / true hypervolume (reference: accuracy 0 and the largest of each other
cost); lower is better. A task is data set / device / number of objectives: NAS-Bench-201,
validation accuracy after 12 epochs, measured latency, and params as the third. `fbnet` trades the
time of FBNet's space on a phone (evaluated, a fitted table) against multiply-adds (known, more is
better), for its data hold no accuracies. `chain` is a synthetic space of 6^20 genomes. Nothing was
tuned to the pairs held back. Ours ask for four at a time. The source has no times of the 2080 Ti at
batch 32; those at batch 256 stand in.

{summary(results)}

![regret against evaluations](search-quality.svg)

The figure shows ten of the searchers; `bayes` is `auto` up to 400 evaluations.

## Figures

Ratios of regrets, averaged over the tasks, with the 95 % interval of a paired bootstrap over seeds.
The best peer is, for each task and budget, the best of pymoo's NSGA-II, Optuna's NSGA-II and TPE,
and random search. "Nothing known" hides the costs that tables give.

{listed}

{asked}

## Mean regret at {"/".join(map(str, BUDGETS))} unique evaluations

{note}

{table_of(results, labels)}
"""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add what this benchmark takes besides the common options."""
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--evaluations", type=int, default=BUDGETS[-1], choices=BUDGETS)
    parser.add_argument("--searchers", default="", help="labels, separated by semicolons")
    parser.add_argument(
        "--confirm",
        action="store_true",
        help="let curves of other code count that come out the same",
    )
    parser.add_argument("--write", action="store_true", help="write the page and figure in docs/")


def sampled(tasks: list[Task], labels: list[str], store: Store) -> str:
    """Compute some of the kept curves anew up to 100; return how many are the same."""
    jobs = [
        Job(task.name, label, 0, 100)
        for task in tasks
        for label in labels
        if label in SAMPLE and store.find(Job(task.name, label, 0, 100))
    ]
    same = [regrets == store.find(job) for job, regrets in computed(jobs)]
    return f"{sum(same)} of {len(same)}"


def main() -> None:
    """Run, print, judge."""
    asked = options(__doc__ or "", add_options)
    labels = asked.searchers.split(";") if asked.searchers else [*PEERS, *OURS]
    if unknown := [label for label in labels if label not in {**PEERS, **OURS}]:
        sys.exit(f"no searcher {unknown[0]!r}; there are {'; '.join([*PEERS, *OURS])}")
    check()
    tasks, store = list(tasks_by_name().values()), Store()
    jobs = list(jobs_of(tasks, labels, asked.seeds, asked.evaluations))
    figures: dict[str, Any] = {"seeds": asked.seeds, "tasks": len(tasks)}
    goals = []
    if asked.confirm:
        for label, same in confirm(labels, store).items():
            figures[f"{label}: curves of seed 0 that the present code gives, too"] = same
    if asked.quick:
        kept = [store.find(dataclasses.replace(job, most=200)) is not None for job in jobs]
        share = float(np.mean(kept))
        goals.append(Goal("share of curves to 200 that are kept, of this code", share, ">=", 1.0))
        figures["kept curves computed anew that are the same"] = sampled(tasks[:2], labels, store)
    results = collect(jobs, store) if asked.quick else gather(jobs, store)
    labels = [n for n in labels if seeds_of(results, n, 50) >= min(FEWEST, asked.seeds)]
    if not asked.json:
        print(table_of(results, labels))
    if {*PEERS, "auto"} <= set(labels):
        budgets = tuple(budget for budget in BUDGETS if budget <= asked.evaluations)
        judged = goals_of(results, labels, budgets)
        figures, goals = figures | judged[0], goals + judged[1]
    if asked.write:
        alike = [n for n in labels if seeds_of(results, n, 50) == asked.seeds]
        picture(results, alike, DOCS / "search-quality.svg")
        text = page(results, labels, asked.seeds, figures, goals)
        atomic_write(DOCS / "search-quality.md", text)
    finish(figures, goals, asked)


if __name__ == "__main__":
    main()
