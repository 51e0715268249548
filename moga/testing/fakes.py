"""Evaluators without a training behind them, for tests of executors, searches and plug-ins.

`TableEvaluator` gives values; the others wrap an evaluator and misbehave for the networks whose
digests they are given. They live in the package, so that Ray's workers can load them. All are
deterministic.
"""

import dataclasses
import os
import signal
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from moga.contracts import Evaluator, Measured, Outcome
from moga.network import Block, Network

__all__ = [
    "DyingEvaluator",
    "NaNEvaluator",
    "RaisingEvaluator",
    "SleepingEvaluator",
    "TableEvaluator",
    "digest_accuracy",
    "tiny_network",
]


def tiny_network(channels: int = 1) -> Network:
    """Return a valid network of three blocks, another one for each number of channels."""
    conv = Block(
        operation="conv",
        in_channels=3,
        out_channels=channels,
        height=4,
        width=4,
        kernel=3,
        norm_eps=1e-5,
        activation="relu",
    )
    pool = Block(operation="pool", in_channels=channels, out_channels=channels, height=4, width=4)
    head = Block(
        operation="linear", in_channels=channels, out_channels=2, height=1, width=1, bias=True
    )
    return Network((conv, pool, head))


def digest_accuracy(network: Network) -> dict[str, float]:
    """Return an accuracy in [0, 1) that follows from the network's digest and means nothing."""
    return {"accuracy": int(network.digest[:12], 16) / 16**12}


@dataclasses.dataclass(frozen=True)
class TableEvaluator:
    """Looks values up.

    Args:
        table: digest of a network -> values by metric; or a function of a network, which must be
            importable where Ray is used.
        metrics: names of the metrics that it gives.
        ballast: whatever should travel with it, such as a large array; evaluations ignore it.
    """

    table: Mapping[str, Mapping[str, float]] | Callable[[Network], Mapping[str, float]] = (
        digest_accuracy
    )
    metrics: tuple[str, ...] = ("accuracy",)
    ballast: Any = None

    def evaluate(self, networks: Sequence[Network]) -> list[Outcome]:
        """Return what the table says of each network; a network that it lacks raises KeyError."""
        if callable(self.table):
            return [Measured(self.table(network)) for network in networks]
        return [Measured(self.table[network.digest]) for network in networks]


@dataclasses.dataclass(frozen=True)
class _Misbehaving:
    """Wraps an evaluator and makes trouble for some networks before it asks it.

    Args:
        inner: gives all other outcomes.
        digests: of the networks that bring trouble.
    """

    inner: Evaluator
    digests: Collection[str]

    @property
    def metrics(self) -> tuple[str, ...]:
        """Names of the metrics that the inner evaluator gives."""
        return self.inner.metrics

    def evaluate(self, networks: Sequence[Network]) -> list[Outcome]:
        """Make trouble where it is due, then ask the inner evaluator."""
        for network in networks:
            if network.digest in self.digests:
                self._trouble(network)
        return self.inner.evaluate(networks)

    def _trouble(self, network: Network) -> None:
        """Misbehave."""


@dataclasses.dataclass(frozen=True)
class RaisingEvaluator(_Misbehaving):
    """Raises ValueError for some networks."""

    def _trouble(self, network: Network) -> None:
        raise ValueError(f"no luck with {network.digest}")


@dataclasses.dataclass(frozen=True)
class SleepingEvaluator(_Misbehaving):
    """Sleeps before it evaluates some networks.

    Args:
        inner: gives the outcomes.
        digests: of the networks that take long.
        seconds: how long.
    """

    seconds: float = 3600.0

    def _trouble(self, _network: Network) -> None:
        time.sleep(self.seconds)


@dataclasses.dataclass(frozen=True)
class DyingEvaluator(_Misbehaving):
    """Kills its own process (SIGKILL) when it meets some networks. For workers of their own only.

    Args:
        inner: gives the outcomes.
        digests: of the networks that kill.
        folder: where it leaves a file for each network that killed, to kill once only; None:
            always.
    """

    folder: Path | None = None

    def _trouble(self, network: Network) -> None:
        if self.folder is not None:
            if (grave := self.folder / network.digest).exists():
                return
            grave.touch()
        os.kill(os.getpid(), signal.SIGKILL)


@dataclasses.dataclass(frozen=True)
class NaNEvaluator(_Misbehaving):
    """Gives NaN for every metric of some networks."""

    def evaluate(self, networks: Sequence[Network]) -> list[Outcome]:
        """Return the inner outcomes, with NaN where a network is one of `digests`."""
        nan = Measured(dict.fromkeys(self.metrics, float("nan")))
        return [
            nan if network.digest in self.digests else outcome
            for network, outcome in zip(networks, self.inner.evaluate(networks), strict=True)
        ]
