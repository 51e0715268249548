"""Bring your own measure of accuracy, and drive a search by hand.

    python examples/own_evaluator.py [evaluations]

The evaluator below is a formula, so that the example ends at once; yours would train. What it
raises becomes a recorded failure, never a lost run.
"""

import math
import sys
import tempfile
from collections.abc import Sequence

from moga import Measured, Network, Outcome, Search
from moga.networks.count import count_macs


class Formula:
    """More multiply-adds help, less and less."""

    metrics = ("accuracy",)

    def evaluate(self, networks: Sequence[Network]) -> list[Outcome]:
        """Return one outcome a network."""
        return [self._one(network) for network in networks]

    def _one(self, network: Network) -> Outcome:
        accuracy = 100 * (1 - 1 / (1 + math.log1p(count_macs(network) / 1e6)))
        return Measured({"accuracy": accuracy}, {"accuracy": 0.1})


def main(evaluations: int = 60) -> None:
    """Ask, evaluate, tell, as the executors do it."""
    search = Search(
        "moga(resolution=32, num_classes=10)",
        "v100",  # a model of that device: "cpu" would measure this machine first
        ["accuracy", "macs"],
        evaluator=Formula(),
        evaluations=evaluations,
        storage=tempfile.mkdtemp(),
    )
    evaluator = Formula()
    with search.session() as session:
        for _ in range(evaluations // 4):
            batch = search.ask(4)
            search.tell(batch, evaluator.evaluate(list(batch.networks.values())))
        result = session.result()
    print(result)
    print(result.front[["accuracy", "macs", "latency_ms"]].to_string(index=False))


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
