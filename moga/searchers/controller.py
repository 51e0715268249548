"""Controller: an LSTM that writes genomes and is trained by policy gradient, as MnasNet's.

torch is imported when the first controller is made, not before.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from moga.contracts import Costs, Genomes, Observations, Problem
from moga.errors import FormatError, UsageError
from moga.runtime.guard import one_thread
from moga.searchers.arguments import check_integer, check_number, check_word
from moga.searchers.base import BaseSearcher
from moga.spaces.base import sample_uniform

if TYPE_CHECKING:
    import torch

__all__ = ["Controller", "accuracy_reward"]

_HEATS: Final = (1.0, 1.5, 2.0, 3.0)
"""Temperatures of an ask's draws, one after another, until enough is new."""

_SAMPLE: Final = 1000
"""Genomes whose known latency sets the default targets."""

_SHARES: Final = (0.05, 0.9)
"""Shares of the space that keep the smallest and the largest default target."""

_TINY: Final = 1e-3
"""The smallest target, and the smallest ratio to it: a latency of 0 must not be worth infinity."""

_DECAY: Final = 0.9
"""Weight of the past in the baseline, the moving average of rewards."""


def accuracy_reward(
    accuracy: NDArray[np.float64],
    latency: NDArray[np.float64],
    target: float | NDArray[np.float64],
    exponent: float,
    *,
    hard: bool = False,
) -> NDArray[np.float64]:
    """Return ACC x (LAT / T)^w, shape (n,).

    Tan et al. 2019, MnasNet (arXiv 1807.11626), Eq. 2 and 3; also Li et al. 2021, EfficientNet-X
    (arXiv 2102.05610), with w = -.09 for data centres in place of -.07. Ours: the ratio counts as
    .001 at least.

    Args:
        accuracy: shape (n,).
        latency: shape (n,), above 0.
        target: T, in the same unit.
        exponent: w, 0 or less.
        hard: the paper's alpha = 0, beta = -1: no reward for being faster than the target, and a
            penalty of w = -1 for being slower, whatever `exponent` says.
    """
    ratio = np.maximum(latency / target, _TINY)
    power = np.where(ratio <= 1, 0.0, -1.0) if hard else exponent
    return np.asarray(accuracy * ratio**power)


class Controller(BaseSearcher):
    """MnasNet (Tan et al. 2019, arXiv 1807.11626, section 4) as EfficientNet-X uses it.

        again and again: the policy writes genomes, gene after gene -> evaluation elsewhere
        -> reward ACC x (LAT/T)^w -> step up the policy gradient

    The policy is an LSTM with an embedding and a softmax for each value of each gene. MnasNet
    trains it by PPO (Schulman et al. 2017; `algorithm="ppo"`); "reinforce" is plain policy gradient
    (Williams 1992), for we could not read how EfficientNet-X trains its own. Ours, for both: a
    moving average as baseline, and a bonus for entropy. A latency that is known beforehand takes no
    evaluation: `Problem.known` gives it.

    Several targets are ours (the papers run once for each): one policy, whose first input says for
    which target it writes, and a baseline for each. Without targets, five that evenly spaced shares
    of the space keep, from 5 to 90 %; of the first results where latency is not known.

    A converged policy repeats itself. What it repeats is *learned from again*, answered from this
    searcher's own record, but not offered again: where an ask's draws are not all new, more are
    drawn from the policy flattened by a temperature (and weighted for that when they are learned
    from); if they do not do, `BaseSearcher` helps out, and what it gives is not learned from.
    Results of genomes that others asked for enter the record, but the policy does not learn from
    them until it writes them itself: off the policy, its gradient would be biased.

    A failed evaluation, or one that breaks a limit, has accuracy 0, so reward 0. Objectives other
    than accuracy and one that is minimised have a reward that is ours: minus the weighted sum of
    the costs in standard deviations of the first results; then targets are as many sets of
    weights, even steps between two objectives and drawn for more, times the objectives' own. A
    failed one gets the worst reward so far.

    Computes on the CPU with one thread, so that equal seeds give equal runs.

    Args:
        problem: what is searched.
        rng: consumed; torch's generator is seeded from it.
        targets: T of each target, in the unit of the minimised objective; or how many there are,
            for rewards without targets. None: five.
        exponent: w; -.07 as in MnasNet for mobile devices, -.09 in EfficientNet-X.
        hard: MnasNet's hard form of the reward; None: where there are several targets. In the soft
            form a target is a mere factor of all rewards, so that all ask for the same networks.
        algorithm: "ppo" or "reinforce".
        batch: rewards a step of learning.
        learning_rate: of Adam.
        entropy: weight of the bonus for the mean entropy of a gene, in nats.
        hidden: width of the LSTM.
        epochs: steps of PPO a batch.
        clip: of PPO's ratio of probabilities.

    Raises:
        UsageError: an option out of range.
    """

    def __init__(
        self,
        problem: Problem,
        rng: np.random.Generator,
        *,
        targets: Sequence[float] | int | None = None,
        exponent: float = -0.07,
        hard: bool | None = None,
        algorithm: str = "ppo",
        batch: int = 20,
        learning_rate: float = 0.01,
        entropy: float = 0.1,
        hidden: int = 64,
        epochs: int = 4,
        clip: float = 0.2,
    ) -> None:
        check_word("algorithm", algorithm, ("ppo", "reinforce"))
        for name, value in (("batch", batch), ("hidden", hidden), ("epochs", epochs)):
            check_integer(name, value)
        check_number("exponent w", exponent, most=0)
        check_number("learning_rate", learning_rate, 0, ends=False)
        check_number("entropy", entropy, 0)
        check_number("clip", clip, 0, 1, ends=False)
        super().__init__(problem, rng)
        self.exponent, self.batch = exponent, batch
        self._accuracy, self._minimised = _pair(problem)
        self.goals = self._chosen_goals(targets)
        self.hard = len(self.goals) > 1 if hard is None else hard
        self.policy = _Policy(self.sizes, len(self.goals), hidden, int(rng.integers(2**62)))
        self.learner = _Learner(
            self.policy, algorithm, rate=learning_rate, entropy=entropy, epochs=epochs, clip=clip
        )
        self.baseline = np.full(len(self.goals), np.nan)
        self.units = np.full((2, len(problem.objectives)), np.nan)
        self.worst = 0.0
        self.repeats = 0
        self._turn = 0
        self._record: dict[bytes, Costs] = {}
        self._pending: dict[bytes, _Draw] = {}
        self._buffer: list[tuple[_Draw, Costs]] = []

    def _ask(self, n: int, attempt: int) -> Genomes:
        found: dict[bytes, _Draw] = {}
        drawn: Genomes = self._stack([])
        for heat in _HEATS if attempt == 0 else (_HEATS[-1] + attempt,):
            goals = (self._turn + np.arange(n - len(found))) % len(self.goals)
            self._turn = int(self._turn + len(goals)) % len(self.goals)
            drawn, odds = self.policy.draw(goals, heat)
            keys = self._keys(np.asarray(self.problem.canonical(drawn), dtype=np.int64))
            for key, *draw in zip(keys, drawn, goals.tolist(), odds.tolist(), strict=True):
                if key not in self._seen:
                    found.setdefault(key, _Draw(*draw))
                elif heat == 1 and key in self._record:
                    self.repeats += 1
                    self._buffer.append((_Draw(*draw), self._record[key]))
            if len(found) == n:
                break
        self._learn()
        self._pending |= found
        # repeats, where all are: the base would take none at all for a wish to be told more
        return self._stack([draw.genome for draw in found.values()]) if found else drawn

    def tell(self, observations: Observations) -> None:
        """Learn what became of genomes, asked for here or elsewhere.

        Raises:
            InvalidGenome: genomes or costs of another shape than the problem's.
        """
        super().tell(observations)
        for key, row in zip(
            self._keys(np.asarray(self.problem.canonical(observations.genomes), dtype=np.int64)),
            range(len(observations)),
            strict=True,
        ):
            if observations.bounded[row]:
                self._pending.pop(key, None)
            elif observations.failed[row] and key not in self._record:
                self._enter(key, np.full(len(self.problem.objectives), np.nan))
        self._learn()

    def _tell(self, observations: Observations) -> None:
        costs = np.where(observations.violations[:, None] > 0, np.nan, observations.costs)
        for key, row in zip(self._keys(observations.genomes), costs, strict=True):
            self._enter(key, row)

    def _enter(self, key: bytes, costs: Costs) -> None:
        """Record what a genome costs; learn from it where the policy wrote it."""
        self._record[key] = costs
        draw = self._pending.pop(key, None)
        if draw is not None:
            self._buffer.append((draw, costs))

    def _learn(self) -> None:
        """Take a step for each full batch of rewards."""
        while len(self._buffer) >= self.batch:
            batch, self._buffer = self._buffer[: self.batch], self._buffer[self.batch :]
            costs = np.stack([row for _, row in batch])
            goals = np.array([draw.goal for draw, _ in batch])
            self._measure(costs)
            rewards = self.rewards(costs, goals)
            advantages = self._advantages(rewards, goals)
            genomes = np.stack([draw.genome for draw, _ in batch])
            odds = np.array([draw.odds for draw, _ in batch])
            self.learner.step(genomes, goals, odds, advantages)

    def rewards(self, costs: Costs, goals: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return the reward of each row for a target, shape (n,).

        Args:
            costs: shape (n, objectives); rows with nan have failed.
            goals: which target is meant, shape (n,).
        """
        failed = np.isnan(costs).any(axis=1)
        if self._minimised is not None:
            found = accuracy_reward(
                -costs[:, self._accuracy],
                costs[:, self._minimised],
                self.goals[goals],
                self.exponent,
                hard=self.hard,
            )
            return np.where(failed, 0.0, found)
        mean, spread = self.units
        found = -(self.goals[goals] * (costs - mean) / spread).sum(axis=1)
        self.worst = float(min(self.worst, np.min(found, initial=self.worst, where=~failed)))
        return np.where(failed, self.worst, found)

    def _advantages(
        self, rewards: NDArray[np.float64], goals: NDArray[np.int64]
    ) -> NDArray[np.float64]:
        """Return how much better than expected rewards are, in their spread; move the baselines."""
        advantages = np.zeros_like(rewards)
        for goal in np.unique(goals):
            own = rewards[goals == goal]
            past = self.baseline[goal] if np.isfinite(self.baseline[goal]) else own.mean()
            advantages[goals == goal] = own - past
            self.baseline[goal] = _DECAY * past + (1 - _DECAY) * own.mean()
        spread = advantages.std()
        return advantages / spread if spread > 0 else np.zeros_like(advantages)

    def _measure(self, costs: Costs) -> None:
        """Set what the first results decide: units of costs, and targets not known beforehand."""
        costs = costs[~np.isnan(costs).any(axis=1)]
        if np.isnan(self.units).any() and len(costs):
            spread = costs.std(axis=0)
            self.units = np.stack([costs.mean(axis=0), np.where(spread > 0, spread, 1.0)])
            if self._minimised is not None and np.isnan(self.goals).any():
                self.goals = _shares(costs[:, self._minimised], len(self.goals))

    def _chosen_goals(self, targets: Sequence[float] | int | None) -> NDArray[np.float64]:
        """Return targets, shape (goals,), nan until known; or weights, (goals, objectives)."""
        if isinstance(targets, str):
            raise UsageError(f"targets are {targets!r}; give numbers, or how many")
        if isinstance(targets, Sequence):
            if self._minimised is None:
                raise UsageError(
                    "targets are for accuracy and one minimised objective; give their number, "
                    "for as many sets of weights"
                )
            goals = np.array(targets, dtype=np.float64)
            if not goals.size or not (np.isfinite(goals) & (goals > 0)).all():
                raise UsageError(f"targets are {list(targets)!r}; give numbers above 0")
            return goals
        count = 5 if targets is None else targets
        check_integer("targets", count)
        if self._minimised is None:
            return self._weights(int(count))
        sample = sample_uniform(self.sizes, _SAMPLE, self.rng)
        known = self.problem.known(sample)[:, self._minimised]
        return _shares(known, int(count))

    def _weights(self, count: int) -> NDArray[np.float64]:
        own = self.problem.weights
        if len(own) == 1:
            return np.ones((1, 1))
        if len(own) == 2:
            first = np.linspace(0, 1, count + 2)[1:-1]
            return np.stack([first, 1 - first], axis=1) * own
        return np.asarray(self.rng.dirichlet(np.ones(len(own)), size=count) * own)

    def state_dict(self) -> dict[str, Any]:
        """Return all state as JSON values and numpy arrays."""
        pending, buffer = list(self._pending.values()), [draw for draw, _ in self._buffer]
        return {
            **super().state_dict(),
            "policy": self.policy.state_dict(),
            "learner": self.learner.state_dict(),
            "goals": self.goals.copy(),
            "baseline": self.baseline.copy(),
            "units": self.units.copy(),
            "worst": self.worst,
            "repeats": self.repeats,
            "turn": self._turn,
            "record": self._unpack(b"".join(self._record)),
            "record_costs": self._rows(list(self._record.values())),
            "pending": self._unpack(b"".join(self._pending)),
            "pending_draws": self._pack(pending),
            "buffer_draws": self._pack(buffer),
            "buffer_costs": self._rows([costs for _, costs in self._buffer]),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over what `state_dict` gave; the next `ask` is as it would have been there.

        Raises:
            FormatError: the state of a searcher over other genes, or of another policy.
        """
        super().load_state_dict(state)
        self.policy.load_state_dict(state["policy"])
        self.learner.load_state_dict(state["learner"])
        self.goals = np.array(state["goals"], dtype=np.float64)
        self.baseline = np.array(state["baseline"], dtype=np.float64)
        self.units = np.array(state["units"], dtype=np.float64)
        self.worst, self.repeats = float(state["worst"]), int(state["repeats"])
        self._turn = int(state["turn"])
        self._record = dict(
            zip(
                self._keys(np.asarray(state["record"])),
                np.array(state["record_costs"]),
                strict=True,
            )
        )
        pending = self._draws(state["pending_draws"])
        self._pending = dict(zip(self._keys(np.asarray(state["pending"])), pending, strict=True))
        buffer = self._draws(state["buffer_draws"])
        self._buffer = list(zip(buffer, np.array(state["buffer_costs"]), strict=True))

    def _rows(self, costs: list[Costs]) -> Costs:
        return np.array(costs, dtype=np.float64).reshape(-1, len(self.problem.objectives))

    def _pack(self, draws: list["_Draw"]) -> dict[str, Any]:
        return {
            "genomes": self._stack([draw.genome for draw in draws]),
            "goals": np.array([draw.goal for draw in draws], dtype=np.int64),
            "odds": np.array([draw.odds for draw in draws], dtype=np.float64),
        }

    def _draws(self, packed: Mapping[str, Any]) -> list["_Draw"]:
        columns = (np.array(packed["genomes"]), packed["goals"], packed["odds"])
        return [_Draw(g, int(t), float(o)) for g, t, o in zip(*columns, strict=True)]


@dataclasses.dataclass(frozen=True)
class _Draw:
    """What the policy wrote: a genome, for which target, and the logarithm of its probability."""

    genome: Genomes
    goal: int
    odds: float


class _Policy:
    """An LSTM over genes: token of the last value -> state -> softmax over the next gene's values.

    Args:
        sizes: number of values of each gene, shape (genes,).
        goals: number of targets; the first token says which is meant.
        hidden: width of tokens and state.
        seed: of the initial weights and of all draws.
    """

    def __init__(self, sizes: NDArray[np.int64], goals: int, hidden: int, seed: int) -> None:
        import torch

        self.sizes, self.hidden, self.goals = sizes.tolist(), hidden, goals
        self.generator = torch.Generator().manual_seed(seed)
        total = int(sizes.sum())
        shapes = {
            "tokens": (goals + total, hidden),
            "input": (4 * hidden, hidden),
            "recurrent": (4 * hidden, hidden),
            "bias": (4 * hidden,),
            "output": (total, hidden),
            "output_bias": (total,),
        }
        self.parameters = {
            name: ((torch.rand(shape, generator=self.generator) - 0.5) * 0.2).requires_grad_()
            for name, shape in shapes.items()
        }
        self.parameters["output_bias"].data.zero_()

    def draw(self, goals: NDArray[np.int64], heat: float) -> tuple[Genomes, NDArray[np.float64]]:
        """Write a genome for each target.

        Args:
            goals: shape (n,).
            heat: temperature; above 1 the policy is flattened.

        Returns:
            Genomes, shape (n, genes), and the logarithms of the probabilities with which they were
            drawn, shape (n,).
        """
        import torch

        with torch.no_grad(), one_thread():
            genomes, odds, _ = self._run(torch.from_numpy(goals), None, heat)
        return genomes.numpy(), odds.double().numpy()

    def odds(
        self, genomes: Genomes, goals: NDArray[np.int64]
    ) -> tuple["torch.Tensor", "torch.Tensor"]:
        """Return logarithms of probabilities, shape (n,), and the mean entropy of the genes."""
        import torch

        _, odds, entropy = self._run(torch.from_numpy(goals), torch.from_numpy(genomes), 1.0)
        return odds, entropy

    def _run(
        self, goals: "torch.Tensor", genomes: "torch.Tensor | None", heat: float
    ) -> tuple["torch.Tensor", "torch.Tensor", "torch.Tensor"]:
        import torch

        own = self.parameters
        state = torch.zeros(len(goals), self.hidden), torch.zeros(len(goals), self.hidden)
        silent = torch.zeros(4 * self.hidden)
        token, start = goals, 0
        written, odds, entropies = [], torch.zeros(len(goals)), []
        for gene, size in enumerate(self.sizes):
            inputs = own["tokens"][token]
            state = torch.lstm_cell(
                inputs, state, own["input"], own["recurrent"], own["bias"], silent
            )
            rows = slice(start, start + size)
            scores = state[0] @ own["output"][rows].T + own["output_bias"][rows]
            logs = torch.log_softmax(scores / heat, dim=1)
            if genomes is None:
                value = torch.multinomial(logs.exp(), 1, generator=self.generator)[:, 0]
            else:
                value = genomes[:, gene]
            written.append(value)
            odds = odds + logs.gather(1, value[:, None])[:, 0]
            entropies.append(-(logs.exp() * logs).sum(dim=1).mean())
            token, start = self.goals + start + value, start + size
        return torch.stack(written, dim=1), odds, torch.stack(entropies).mean()

    def state_dict(self) -> dict[str, Any]:
        """Return weights and the state of the generator, as numpy arrays."""
        weights = {name: p.detach().numpy().copy() for name, p in self.parameters.items()}
        return {"weights": weights, "generator": self.generator.get_state().numpy().copy()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over what `state_dict` gave.

        Raises:
            FormatError: weights of another policy.
        """
        import torch

        for name, parameter in self.parameters.items():
            weights = np.array(state["weights"][name], dtype=np.float32)
            if weights.shape != tuple(parameter.shape):
                raise FormatError(
                    f"weights {name!r} of shape {tuple(parameter.shape)} were expected, got "
                    f"{weights.shape}; give the controller the options that it had"
                )
            parameter.data = torch.from_numpy(weights)
        self.generator.set_state(torch.from_numpy(np.array(state["generator"], dtype=np.uint8)))


class _Learner:
    """Adam (Kingma and Ba 2015) on the objective of PPO or REINFORCE, written out.

    torch's own optimisers load a second's worth of modules and keep a state that is no array.
    """

    def __init__(
        self,
        policy: _Policy,
        algorithm: str,
        *,
        rate: float,
        entropy: float,
        epochs: int,
        clip: float,
    ) -> None:
        import torch

        self.policy, self.algorithm = policy, algorithm
        self.rate, self.entropy, self.clip = rate, entropy, clip
        self.epochs = epochs if algorithm == "ppo" else 1
        self.steps = 0
        self.means = {n: torch.zeros_like(p.data) for n, p in policy.parameters.items()}
        self.squares = {n: torch.zeros_like(p.data) for n, p in policy.parameters.items()}

    def step(
        self,
        genomes: Genomes,
        goals: NDArray[np.int64],
        odds: NDArray[np.float64],
        advantages: NDArray[np.float64],
    ) -> None:
        """Learn from a batch.

        Args:
            genomes: as the policy wrote them, shape (n, genes).
            goals: for which targets, shape (n,).
            odds: logarithms of the probabilities with which they were drawn, shape (n,).
            advantages: shape (n,).
        """
        import torch

        before = torch.from_numpy(odds).float()
        gains = torch.from_numpy(advantages).float()
        with one_thread():
            for _ in range(self.epochs):
                now, entropy = self.policy.odds(genomes, goals)
                loss = -self._objective(now, before, gains) - self.entropy * entropy
                loss.backward()  # type: ignore[no-untyped-call]
                self._adam()

    def _objective(
        self, now: "torch.Tensor", before: "torch.Tensor", gains: "torch.Tensor"
    ) -> "torch.Tensor":
        """Return what is maximised: PPO's clipped ratio, or REINFORCE with truncated weights."""
        import torch

        ratio = torch.exp(now - before)
        if self.algorithm == "reinforce":
            # the weights are 1 but for genomes of a flattened or older policy
            return (torch.clamp(ratio.detach(), max=2.0) * gains * now).mean()
        clipped = torch.clamp(ratio, 1 - self.clip, 1 + self.clip)
        return torch.minimum(ratio * gains, clipped * gains).mean()

    def _adam(self) -> None:
        self.steps += 1
        for name, parameter in self.policy.parameters.items():
            gradient = parameter.grad
            assert gradient is not None  # noqa: S101 - every weight takes part in every loss
            self.means[name].mul_(0.9).add_(gradient, alpha=0.1)
            self.squares[name].mul_(0.999).addcmul_(gradient, gradient, value=0.001)
            mean = self.means[name] / (1 - 0.9**self.steps)
            square = self.squares[name] / (1 - 0.999**self.steps)
            parameter.data -= self.rate * mean / (square.sqrt() + 1e-8)
            parameter.grad = None

    def state_dict(self) -> dict[str, Any]:
        """Return Adam's moments as numpy arrays."""
        means = {name: m.numpy().copy() for name, m in self.means.items()}
        squares = {name: s.numpy().copy() for name, s in self.squares.items()}
        return {"steps": self.steps, "means": means, "squares": squares}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over what `state_dict` gave."""
        import torch

        self.steps = int(state["steps"])
        for name in self.means:
            self.means[name] = torch.from_numpy(np.array(state["means"][name], np.float32))
            self.squares[name] = torch.from_numpy(np.array(state["squares"][name], np.float32))


def _pair(problem: Problem) -> tuple[int, int | None]:
    """Return the columns of accuracy and of the minimised objective; (0, None) for other goals."""
    objectives = problem.objectives
    for accuracy, other in ((0, 1), (1, 0)):
        if (
            len(objectives) == 2
            and (objectives[accuracy].metric, objectives[accuracy].sign) == ("accuracy", -1)
            and objectives[other].sign == 1
        ):
            return accuracy, other
    return 0, None


def _shares(latencies: NDArray[np.float64], count: int) -> NDArray[np.float64]:
    """Return targets that evenly spaced shares keep, shape (count,); nan where unknown."""
    shares = np.linspace(*_SHARES, count) if count > 1 else np.array([0.5])
    return np.asarray(np.maximum(np.quantile(latencies, shares), _TINY))
