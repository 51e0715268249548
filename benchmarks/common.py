"""What every benchmark shares: its options, the machine and versions, and the lines of its goals.

A benchmark prints what it measured, and ends with a line a goal:

    goal NAME: VALUE (asked BOUND) reached|missed

It exits with 1 where one is missed. With ``--json`` it prints one JSON object instead.
"""

import argparse
import dataclasses
import json
import sys
from collections.abc import Callable
from typing import Any, Literal

from moga.runtime.environment import describe_host


@dataclasses.dataclass(frozen=True)
class Goal:
    """What is asked of a figure."""

    name: str
    value: float
    sign: Literal["<=", ">=", "<", ">"]
    bound: float

    @property
    def reached(self) -> bool:
        """Whether the figure keeps its bound; nan never does."""
        return {
            "<=": self.value <= self.bound,
            ">=": self.value >= self.bound,
            "<": self.value < self.bound,
            ">": self.value > self.bound,
        }[self.sign]

    def __str__(self) -> str:
        verdict = "reached" if self.reached else "missed"
        return f"goal {self.name}: {self.value:.4g} (asked {self.sign} {self.bound:g}) {verdict}"


def options(
    description: str, *more: Callable[[argparse.ArgumentParser], Any]
) -> argparse.Namespace:
    """Read ``--quick`` (under a minute) and ``--json``, and what `more` adds."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--quick", action="store_true", help="smaller, under a minute")
    parser.add_argument("--json", action="store_true", help="one JSON object on standard output")
    for add in more:
        add(parser)
    return parser.parse_args()


def finish(figures: dict[str, Any], goals: list[Goal], asked: argparse.Namespace) -> None:
    """Print machine, figures and goals, and end the program: 1 where a goal is missed."""
    host = describe_host()
    if asked.json:
        listed = [{**dataclasses.asdict(goal), "reached": goal.reached} for goal in goals]
        content = {"host": host["host"], "versions": host["versions"], "quick": asked.quick}
        sys.stdout.write(json.dumps({**content, "figures": figures, "goals": listed}) + "\n")
    else:
        versions = ", ".join(f"{name} {version}" for name, version in host["versions"].items())
        print(f"{host['host']['cpu']}, {host['host']['cores']} cores; {versions}")
        for name, value in figures.items():
            print(f"{name}: {value:.5g}" if isinstance(value, float) else f"{name}: {value}")
        for goal in goals:
            print(goal)
    sys.exit(0 if all(goal.reached for goal in goals) else 1)
