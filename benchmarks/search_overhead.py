"""What a search costs beside the evaluations: null objective, all in one run, side by side.

    python benchmarks/search_overhead.py [--quick] [--json]

Ask and tell alone, a population of 70 at a time: NSGA-II at the start and after 100,000
evaluations, on two costs of which one falls where the other rises, and on equal costs. On the first
it holds 44 of the front's 45 points after 20,000 evaluations; then more and more of its children
are repeats, and an ask takes 6.4 rounds of breeding where it took 3.8. Equal costs show what
history alone costs, so the goal of flatness is set there. The other searchers stand beside it, and
Optuna's NSGA-II and syne-tune's regularised evolution, one trial at a time, as their users must
(``pip install 'moga[bench]'``; a peer that is absent is skipped, with a line that says so).
Searchers that fit models are asked for four genomes with 200 points told, on one core: the first
time of all (`lamcts` then loads BoTorch), again by a fresh one, which fits its models, and later
asks, most of which do not. Then the whole `Search` with its journal, 64 genomes a batch and 256 in
flight, locally and through Ray, beside raw calls of Ray actors on the same machine; and at a
`Search`'s defaults, 4 and 16, where each evaluation bears a larger share of an ask.

Searchers are asked and told on one thread, as `Search` does. Their times are CPU seconds of this
process, so that other work on the machine does not count. The local `Search` is judged by the clock
(its CPU time stands beside it), and so are rates through Ray, because their work is done in other
processes.
"""

import importlib.util
import logging
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from common import Goal, finish, options

from moga import registry
from moga.contracts import Gene, Measured, Observations, Outcome, Problem, parse_objective
from moga.runtime.guard import one_thread
from moga.runtime.ray import start_ray
from moga.search import Search
from moga.spaces.base import sample_uniform
from moga.spaces.fbnet import FBNetSpace
from moga.testing.devices import FakeDevice

GENES, VALUES, POPULATION = 14, 12, 70
BATCH, IN_FLIGHT = 64, 256
DEFAULTS = (4, 16)
"""Batch and window of a `Search` that is not told otherwise: for evaluations of seconds."""
THINKING = ("auto", "bayes", "llr", "controller", "lamcts")
OTHERS = ("random", "local", "evolution", "nsga2(mode=steady)", "portfolio")


class Null:
    """An evaluator that takes no time."""

    metrics = ("accuracy",)

    def evaluate(self, networks: Any) -> list[Outcome]:
        """Return the number of blocks as the accuracy."""
        return [Measured({"accuracy": float(len(network))}) for network in networks]


def null_problem(*, known: bool) -> Problem:
    """Return MoGA's 14 layers of 12 choices, with costs that are the genes' sums."""
    genes = tuple(
        Gene(f"layer{i}", f"layer{i}", "categorical", tuple(range(VALUES)), factors=(2, 3, 2))
        for i in range(GENES)
    )

    def look_up(genomes: np.ndarray) -> np.ndarray:
        costs = null_costs(genomes)
        costs[:, : 1 if known else None] = np.nan
        return costs

    goals = (parse_objective("accuracy"), parse_objective("latency"))
    return Problem(genes, (0,) * GENES, goals, lambda genomes: genomes, look_up)


def null_costs(genomes: np.ndarray) -> np.ndarray:
    """Return costs of which one falls where the other rises, shape (n, 2)."""
    return np.stack([-genomes[:, :9].sum(axis=1), genomes[:, 5:].sum(axis=1)], axis=1).astype(float)


def equal_costs(genomes: np.ndarray) -> np.ndarray:
    """Return costs that tell nobody apart, shape (n, 2)."""
    return np.ones((len(genomes), 2))


def ask_and_tell(
    spec: str, evaluations: int, *, known: bool, parts: int = 1, costs: Any = null_costs
) -> list[float]:
    """Return CPU ms an evaluation of each of some equal parts of a run."""
    rng = np.random.default_rng(0)
    searcher = registry.create("searcher", spec, problem=null_problem(known=known), rng=rng)
    found = []
    for _ in range(parts):
        done, spent = 0, 0.0
        while done < evaluations // parts:
            with one_thread():
                began = time.process_time()
                genomes = searcher.ask(POPULATION)
                spent += time.process_time() - began
                told = Observations.exact(genomes, costs(genomes))
                began = time.process_time()
                searcher.tell(told)
                spent += time.process_time() - began
            done += len(genomes)
        found.append(1e3 * spent / done)
    return found


def seconds_of_four(spec: str, points: int, asks: int) -> tuple[float, float]:
    """Return CPU seconds of asks of four by a searcher that was told so many points.

    The first, and the mean of those that follow.
    """
    rng = np.random.default_rng(0)
    searcher = registry.create("searcher", spec, problem=null_problem(known=False), rng=rng)
    told = sample_uniform(np.full(GENES, VALUES), points, np.random.default_rng(1))
    searcher.tell(Observations.exact(told, null_costs(told)))
    spent = []
    for _ in range(asks + 1):
        with one_thread():
            began = time.process_time()
            genomes = searcher.ask(4)
            spent.append(time.process_time() - began)
        searcher.tell(Observations.exact(genomes, null_costs(genomes)))
    return spent[0], float(np.mean(spent[1:]))


def optuna_nsga2(evaluations: int) -> float:
    """Return CPU ms a trial of Optuna's NSGA-II in memory, population as ours."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    sampler = optuna.samplers.NSGAIISampler(population_size=POPULATION, seed=0)
    study = optuna.create_study(directions=["minimize"] * 2, sampler=sampler)
    began = time.process_time()
    for _ in range(evaluations):
        trial = study.ask()
        genome = [trial.suggest_categorical(f"layer{i}", range(VALUES)) for i in range(GENES)]
        study.tell(trial, null_costs(np.array([genome]))[0].tolist())
    return 1e3 * (time.process_time() - began) / evaluations


def syne_tune_evolution(evaluations: int) -> float:
    """Return CPU ms a trial of syne-tune's multi-objective regularised evolution."""
    logging.disable(logging.WARNING)
    from syne_tune.config_space import choice
    from syne_tune.optimizer.schedulers.multiobjective import MultiObjectiveRegularizedEvolution

    space = {f"layer{i}": choice(list(range(VALUES))) for i in range(GENES)}
    searcher = MultiObjectiveRegularizedEvolution(
        config_space=space, population_size=POPULATION, random_seed=0
    )
    began = time.process_time()
    for trial in range(evaluations):
        config = searcher.suggest()
        genome = np.array([[config[f"layer{i}"] for i in range(GENES)]])
        searcher.on_trial_complete(trial, config, null_costs(genome)[0].tolist())
    return 1e3 * (time.process_time() - began) / evaluations


def peers(evaluations: int) -> dict[str, float]:
    """Return the times of the peers that are installed."""
    found = {}
    known: dict[str, tuple[str, Callable[[int], float]]] = {
        "optuna": ("Optuna NSGA-II", optuna_nsga2),
        "syne_tune": ("syne-tune evolution", syne_tune_evolution),
    }
    for module, (name, measure) in known.items():
        if importlib.util.find_spec(module) is None:
            print(f"{module} is not installed: skipped (pip install 'moga[bench]')")
            continue
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found[f"{name}, ms an evaluation"] = measure(evaluations)
    return found


def whole_search(
    evaluations: int, executor: str, batch: int = BATCH, in_flight: int = IN_FLIGHT
) -> tuple[float, float]:
    """Return CPU and clock seconds of a `Search`, once its first batch is back."""
    with tempfile.TemporaryDirectory() as folder:
        search = Search(
            FBNetSpace(),
            FakeDevice(),
            ["accuracy", "latency"],
            evaluator=Null(),
            evaluations=evaluations + in_flight,
            executor=executor,
            batch=batch,
            in_flight=in_flight,
            family=None,
            storage=Path(folder) / "run",
        )
        with search.session():
            search.step()  # starts workers, builds tables
            cpu, clock = time.process_time(), time.perf_counter()
            while search.step():
                pass
            return time.process_time() - cpu, time.perf_counter() - clock


def raw_calls(calls: int, in_flight: int = 4) -> float:
    """Return calls of a Ray actor a second, a few in flight."""
    import ray

    @ray.remote
    class Echo:
        def call(self, value: int) -> int:
            return value

    actor: Any = Echo.remote()  # type: ignore[attr-defined]
    ray.get(actor.call.remote(0))
    began = time.perf_counter()
    waiting = []
    for number in range(calls):
        waiting.append(actor.call.remote(number))
        if len(waiting) == in_flight:
            done, waiting = ray.wait(waiting)
            ray.get(done)
    ray.get(waiting)
    return calls / (time.perf_counter() - began)


def main() -> None:
    """Measure and print."""
    asked = options(__doc__ or "")
    history = 7_000 if asked.quick else 100_000
    few = 700 if asked.quick else 5_000
    through = 1_500 if asked.quick else 20_000
    parts = ask_and_tell("nsga2", history, known=False, parts=5)
    equal = ask_and_tell("nsga2", history, known=False, parts=5, costs=equal_costs)
    figures: dict[str, Any] = {
        "nsga2, ms an evaluation": float(np.mean(parts)),
        "nsga2, first fifth": parts[0],
        f"nsga2, last fifth of {history}": parts[-1],
        "nsga2, equal costs, first fifth": equal[0],
        f"nsga2, equal costs, last fifth of {history}": equal[-1],
        "nsga2 with known costs": ask_and_tell("nsga2", few, known=True)[0],
    }
    figures |= {f"{spec}, ms": ask_and_tell(spec, few, known=False)[0] for spec in OTHERS}
    for spec in THINKING:
        name = f"{spec}, s an ask of four at 200 points"
        figures[f"{name}, the first time of all"], _ = seconds_of_four(spec, 200, 1)
        fitted, later = seconds_of_four(spec, 200, 3 if asked.quick else 9)
        figures |= {name: fitted, f"{name}, mean of later asks": later}
    figures |= peers(few if not asked.quick else 200)
    cpu, clock = whole_search(through, "local")
    figures |= {
        "Search, local, CPU ms an evaluation": 1e3 * cpu / through,
        "Search, local, ms an evaluation by the clock": 1e3 * clock / through,
    }
    cpu, clock = whole_search(few, "local", *DEFAULTS)
    figures |= {
        "Search, local, asks of 4, CPU ms an evaluation": 1e3 * cpu / few,
        "Search, local, asks of 4, ms an evaluation by the clock": 1e3 * clock / few,
    }
    start_ray()
    figures["raw actor calls a second"] = raw_calls(2_000 if asked.quick else 20_000)
    figures["Search, Ray, evaluations a second"] = through / whole_search(through, "ray")[1]
    goals = [
        Goal("nsga2-ms-an-evaluation", figures["nsga2, ms an evaluation"], "<=", 0.1),
        Goal("nsga2-ms-an-evaluation-of-the-last-fifth", parts[-1], "<=", 0.1),
        Goal("nsga2-equal-costs-last-over-first-fifth", equal[-1] / equal[0], "<=", 1.25),
        Goal(
            "search-local-ms-an-evaluation",
            figures["Search, local, ms an evaluation by the clock"],
            "<=",
            0.5,
        ),
        Goal(
            "search-ray-evaluations-a-second",
            figures["Search, Ray, evaluations a second"],
            ">=",
            1500,
        ),
        Goal(
            "lamcts-seconds-an-ask-of-four",
            figures["lamcts, s an ask of four at 200 points"],
            "<=",
            1.0,
        ),
    ]
    finish(figures, goals, asked)


if __name__ == "__main__":
    main()
