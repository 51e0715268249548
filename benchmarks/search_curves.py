"""The curves of `search_quality.py`: how regret falls with evaluations, kept in curves/.

A curve is the regret of one searcher on one task from one seed at each budget. All take hours, so
that they are kept with the sources: a file a searcher, a line a curve, with a digest of the code
that it depends on (docstrings and comments left out), or of a peer's version. What is of other code
counts as missing and is computed again; or `confirm` computes one seed of every task anew, and
where all of it comes out the same to the last digit, the code's change changed no proposal, and
the other seeds' curves count for the code as it is.
"""

import ast
import csv
import dataclasses
import functools
import hashlib
import importlib
import io
import re
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from importlib import metadata
from pathlib import Path

import numpy as np
from search_peers import PEERS
from search_tasks import Task, all_tasks, chain
from threadpoolctl import threadpool_limits

from moga import registry
from moga.contracts import Observations
from moga.errors import Exhausted
from moga.files import atomic_write

BUDGETS = (50, 100, 200, 400, 800)
BATCH = 4
OURS = {
    "auto": ("auto", True),
    "auto, nothing known": ("auto", False),
    "portfolio": ("portfolio", True),
    "bayes": ("bayes", True),
    "lamcts": ("lamcts", True),
    "llr": ("llr", True),
    "controller": ("controller", True),
    "nsga2": ("nsga2", True),
    "nsga2, nothing known": ("nsga2", False),
    "nsga2(population=20)": ("nsga2(population=20)", True),
    "nsga2(population=20), nothing known": ("nsga2(population=20)", False),
    "local": ("local", True),
    "evolution": ("evolution", True),
}
"""Label -> registered searcher, and whether it is given the known costs."""

FOLDER = Path(__file__).resolve().parent / "curves"
HEADER = ("task", "seed", "code", *(f"at_{budget}" for budget in BUDGETS))


@dataclasses.dataclass(frozen=True)
class Job:
    """A curve to be computed: of a task, by a searcher, from a seed, up to a budget."""

    task: str
    label: str
    seed: int
    most: int

    @property
    def budgets(self) -> tuple[int, ...]:
        """The budgets up to the largest."""
        return tuple(budget for budget in BUDGETS if budget <= self.most)


def compute(job: Job) -> tuple[float, ...]:
    """Return the regret at each budget, to six digits.

    Where a searcher ran dry before a budget, it keeps the regret that it had reached.
    """
    task = tasks_by_name()[job.task]
    if job.label in OURS:
        spec, known = OURS[job.label]
        costs = ours(spec, task, job.seed, job.most, known=known)
    else:
        costs = PEERS[job.label](task, job.seed, job.most)
    return tuple(float(f"{task.regret(costs[:budget]):.6g}") for budget in job.budgets)


def ours(spec: str, task: Task, seed: int, evaluations: int, *, known: bool) -> np.ndarray:
    """Run a registered searcher, four at a time; return costs in the order of evaluation."""
    rng = np.random.default_rng(seed)
    searcher = registry.create("searcher", spec, problem=task.problem(known=known), rng=rng)
    found: list[np.ndarray] = []
    while len(found) < evaluations:
        try:
            genomes = searcher.ask(BATCH)
        except Exhausted:
            break
        costs = task.costs(genomes)
        searcher.tell(Observations.exact(genomes, costs))
        found.extend(costs)
    return np.array(found[:evaluations])


@functools.cache
def tasks_by_name() -> dict[str, Task]:
    """Return all tasks; once a process."""
    return {task.name: task for task in all_tasks(quick=False)}


@functools.cache
def digest(label: str) -> str:
    """Return what a stored curve depends on: code of ours, or a peer's version and its harness."""
    here = Path(__file__).parent
    if label in OURS:
        text = repr(OURS[label])
        problem, rng = chain().problem(known=True), np.random.default_rng(0)
        searcher = registry.create("searcher", OURS[label][0], problem=problem, rng=rng)
        members = [member.searcher for member in getattr(searcher, "members", [])]
        sources = {p for s in [searcher, *members] for p in imported(type(s).__module__)}
    else:
        package = label.split(maxsplit=1)[0].lower()
        text = label if package == "random" else f"{package} {metadata.version(package)}"
        sources = {here / "search_peers.py", *([here / "search_tpe.py"] if "TPE" in label else [])}
    sources.add(here / "search_tasks.py")
    ordered = sorted(sources, key=lambda path: (path.parent.name, path.name))  # wherever moga lies
    contents = "\n".join(code_of(path.read_text("utf-8")) for path in ordered)
    return hashlib.sha256((text + contents).encode()).hexdigest()[:12]


def code_of(source: str) -> str:
    """Return the lines of a source without docstrings, comments of whole lines, and blank lines."""
    lines = source.splitlines()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            for number in range(node.lineno - 1, node.end_lineno or node.lineno):
                lines[number] = ""
    return "\n".join(line for line in lines if line.strip() and not line.lstrip().startswith("#"))


def imported(module: str) -> set[Path]:
    """Return the files of a searcher's module and of all modules of searchers that it imports."""
    waiting, found = [module], set()
    while waiting:
        path = Path(str(importlib.import_module(waiting.pop()).__file__))
        if path not in found:
            found.add(path)
            waiting += re.findall(r"from (moga\.searchers\.\w+) import", path.read_text("utf-8"))
    return found


class Store:
    """The curves of all searchers in a folder of CSV files.

    Args:
        folder: made where it lacks.
    """

    def __init__(self, folder: Path = FOLDER) -> None:
        self.folder = folder
        self._read: dict[str, dict[tuple[str, int], tuple[str, tuple[float, ...]]]] = {}

    def path(self, label: str) -> Path:
        """Return the file of a searcher."""
        return self.folder / (re.sub(r"[^a-z0-9]+", "-", label.lower()).strip("-") + ".csv")

    def find(self, job: Job) -> tuple[float, ...] | None:
        """Return a stored curve of the present code that goes as far as the job; None: none."""
        code, regrets = self._curves(job.label).get((job.task, job.seed), ("", ()))
        wanted = len(job.budgets)
        return regrets[:wanted] if code == digest(job.label) and len(regrets) >= wanted else None

    def add(self, job: Job, regrets: tuple[float, ...]) -> None:
        """Write a curve behind the others of its searcher."""
        path, curves = self.path(job.label), self._curves(job.label)
        curves[job.task, job.seed] = digest(job.label), regrets
        path.parent.mkdir(parents=True, exist_ok=True)
        head = () if path.exists() else (HEADER,)
        with path.open("a", encoding="utf-8", newline="") as file:
            file.write(_lines([*head, (job.task, job.seed, digest(job.label), *regrets)]))

    def of_seed(self, label: str, seed: int) -> dict[Job, tuple[float, ...]]:
        """Return all stored curves of a searcher from a seed, of whatever code."""
        kept = {key: found for key, found in self._curves(label).items() if key[1] == seed}
        return {
            Job(task, label, seed, BUDGETS[len(regrets) - 1]): regrets
            for (task, _), (_, regrets) in kept.items()
        }

    def stamp(self, label: str, seed: int) -> None:
        """Let curves of a searcher count for the present code that are of the code of a seed's."""
        curves = self._curves(label)
        codes = {code for (_, of), (code, _) in curves.items() if of == seed}
        for key, (code, regrets) in curves.items():
            if code in codes:
                curves[key] = digest(label), regrets
        self.tidy(label)

    def tidy(self, label: str) -> None:
        """Write the file of a searcher anew: each curve once, in order."""
        curves = self._curves(label)
        rows = [(*key, code, *regrets) for key, (code, regrets) in sorted(curves.items())]
        atomic_write(self.path(label), _lines([HEADER, *rows]))

    def _curves(self, label: str) -> dict[tuple[str, int], tuple[str, tuple[float, ...]]]:
        if label not in self._read:
            path, found = self.path(label), {}
            if path.exists():
                with path.open(encoding="utf-8", newline="") as file:
                    for task, seed, code, *regrets in list(csv.reader(file))[1:]:
                        found[task, int(seed)] = code, tuple(float(r) for r in regrets if r)
            self._read[label] = found
        return self._read[label]


def _lines(rows: Sequence[Sequence[object]]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue()


def jobs_of(tasks: Sequence[Task], labels: Sequence[str], seeds: int, most: int) -> Iterator[Job]:
    """Yield all curves, seed by seed, so that an interrupted run has whole seeds."""
    for seed in range(seeds):
        for task in tasks:
            for label in labels:
                yield Job(task.name, label, seed, most)


def computed(jobs: Sequence[Job]) -> Iterator[tuple[Job, tuple[float, ...]]]:
    """Compute curves, two at a time; yield each with its job, in their order."""
    with ProcessPoolExecutor(2, initializer=threadpool_limits, initargs=(1,)) as pool:
        yield from zip(jobs, pool.map(compute, jobs, chunksize=1), strict=True)


def confirm(labels: Sequence[str], store: Store, seed: int = 0) -> dict[str, str]:
    """Compute a seed's curves of other code anew; where all are the same, let the others count.

    Returns:
        Searcher -> how many came out the same, as "14 of 14"; without those of the present code.
    """
    found = {}
    for label in labels:
        kept = store.of_seed(label, seed)
        stale = [job for job in kept if store.find(job) is None]
        if not stale:
            continue
        same = [regrets == kept[job] for job, regrets in computed(stale)]
        found[label] = f"{sum(same)} of {len(same)}"
        if all(same) and len(stale) == len(kept):
            store.stamp(label, seed)
    return found


def gather(jobs: Sequence[Job], store: Store) -> dict[str, dict[str, np.ndarray]]:
    """Compute what is missing; return what `collect` does."""
    missing = [job for job in jobs if store.find(job) is None]
    for number, (job, regrets) in enumerate(computed(missing), 1):
        store.add(job, regrets)
        if number % 50 == 0 or number == len(missing):
            print(f"{number} of {len(missing)} curves", file=sys.stderr, flush=True)
    for label in {job.label for job in missing}:
        store.tidy(label)
    return collect(jobs, store)


def collect(jobs: Sequence[Job], store: Store) -> dict[str, dict[str, np.ndarray]]:
    """Return what is kept: task -> searcher -> regrets of shape (seeds, budgets), nan where not."""
    found: dict[str, dict[str, list[list[float]]]] = {}
    for job in jobs:
        kept = [dataclasses.replace(job, most=budget) for budget in BUDGETS if budget <= job.most]
        longest = next((c for j in reversed(kept) if (c := store.find(j)) is not None), ())
        row = [*longest, *[np.nan] * (len(BUDGETS) - len(longest))]
        found.setdefault(job.task, {}).setdefault(job.label, []).append(row)
    return {
        task: {label: np.array(rows) for label, rows in curves.items()}
        for task, curves in found.items()
    }
