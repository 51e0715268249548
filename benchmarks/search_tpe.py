"""Optuna's TPE for `search_peers.py`: the same proposals in a fraction of the time.

With several objectives Optuna samples gene by gene, and for each gene it splits all trials into
good and bad ones and gathers their values anew: 4,800 proposals took 300 to 420 s of a processor on
NAS-Bench-201 and 1,600 s on a chain of 20 genes. Here trials are split once a trial, values are
kept in arrays, and a likelihood is computed once a distinct candidate: 25 to 40 s, and 150 s. The
numbers come from Optuna's own functions, some of them private; `check` compares the proposals with
those of its own sampler.
"""

import dataclasses
from typing import Any

import numpy as np
import optuna
from numpy.typing import NDArray
from optuna import Study, Trial
from optuna.distributions import BaseDistribution
from optuna.samplers import TPESampler
from optuna.samplers._tpe import sampler as tpe
from optuna.trial import FrozenTrial


@dataclasses.dataclass(slots=True, eq=False)
class Told:
    """What the split needs of a trial."""

    number: int
    values: list[float]


class OnceATrial(TPESampler):
    """Optuna's TPE at its defaults, for several objectives and one trial at a time.

    All trials must have the same genes and complete.
    """

    def __init__(self, seed: int) -> None:
        super().__init__(seed=seed)
        self.told: list[Told] = []
        self.genes: dict[str, NDArray[np.float64]] = {}
        self.good = np.empty(0, dtype=bool)

    def after_trial(self, study: Study, trial: FrozenTrial, state: Any, values: Any) -> None:
        """Keep a trial."""
        super().after_trial(study, trial, state, values)
        count = len(self.told)
        for name, distribution in trial.distributions.items():
            array = self.genes.setdefault(name, np.empty(64))
            if count == len(array):
                array = self.genes[name] = np.concatenate([array, np.empty(count)])
            array[count] = distribution.to_internal_repr(trial.params[name])
        self.told.append(Told(count, list(values)))

    def sample_independent(
        self,
        study: Study,
        trial: FrozenTrial,
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> Any:
        """Draw a gene: at random at first."""
        if len(self.told) < self._n_startup_trials:
            return self._random_sampler.sample_independent(
                study, trial, param_name, param_distribution
            )
        return self._sample(study, trial, {param_name: param_distribution})[param_name]

    def _sample(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        del trial
        ((name, distribution),) = search_space.items()
        if len(self.good) != len(self.told):
            below = tpe.default_gamma_multiobjective(len(self.told))
            split: Any = tpe._split_complete_trials_multi_objective  # noqa: SLF001
            self.good = np.zeros(len(self.told), dtype=bool)
            self.good[[trial.number for trial in split(self.told, study, below)[0]]] = True
        good: Any = self.good
        likely = self._build_parzen_estimator(study, search_space, good, handle_below=True)
        unlikely = self._build_parzen_estimator(study, search_space, ~good, handle_below=False)
        drawn = likely.sample(self._rng.rng, self._n_ei_candidates)
        distinct, each = np.unique(drawn[name], return_inverse=True)
        gains = self._compute_acquisition_func({name: distinct}, likely, unlikely)
        best = self._compare(drawn, gains[each])[name]
        return {name: distribution.to_external_repr(best)}

    def _get_internal_repr(
        self, trials: Any, search_space: dict[str, BaseDistribution], study: Study
    ) -> dict[str, NDArray[np.float64]]:
        del study
        return {name: self.genes[name][: len(trials)][trials] for name in search_space}


def check(genes: int = 6, trials: int = 80) -> None:
    """Compare proposals with those of Optuna's own sampler.

    Raises:
        RuntimeError: this version of Optuna proposes something else.
    """
    optuna.logging.set_verbosity(optuna.logging.ERROR)

    def suggest(trial: Trial) -> list[int]:
        return [
            trial.suggest_categorical(f"g{gene}", range(4))
            if gene % 2
            else trial.suggest_int(f"g{gene}", 0, 6)
            for gene in range(genes)
        ]

    proposals = []
    for sampler in (TPESampler(seed=0), OnceATrial(seed=0)):
        study = optuna.create_study(directions=["minimize"] * 2, sampler=sampler)
        found = []
        for _ in range(trials):
            trial = study.ask()
            genome = suggest(trial)
            found.append(genome)
            study.tell(trial, [sum(genome), sum((gene - 3) ** 2 for gene in genome)])
        proposals.append(found)
    if proposals[0] != proposals[1]:
        raise RuntimeError(
            f"Optuna {optuna.__version__} proposes other genomes than search_tpe.OnceATrial, which "
            "was written for 5.0; mend it, or let search_peers.optuna_tpe use TPESampler"
        )
