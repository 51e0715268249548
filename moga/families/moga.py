"""MoGA's family: K networks at equal distance along the front, measured again, ready to ship.

Chu, Zhang, Xu 2020 (arXiv 1908.01314), section 4.4: three networks A, B, C, from the most accurate
to the fastest. The paper trains its three from scratch; here each member is written as JSON with
the weights that it inherits from the supernet, to start from.
"""

import json
import math
import string
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from moga.errors import UsageError
from moga.files import atomic_write
from moga.network import Network
from moga.result import Result
from moga.session import Session

__all__ = ["MoGA"]

_FORMAT: Final = "moga-family"
_VERSION: Final = 1


class MoGA:
    """Selects `k` networks of a front and writes ``family.json`` and the folder ``family/``.

    Where the device can run networks, the members are measured end to end with the rest of the
    front. Where the evaluator has weights, each member's are written beside its JSON.

    Args:
        k: how many networks, at most 26.

    Raises:
        UsageError: k out of range.
    """

    def __init__(self, k: int = 3) -> None:
        if not 1 <= k <= len(string.ascii_uppercase):
            raise UsageError(f"a family has 1 to {len(string.ascii_uppercase)} members; got k={k}")
        self.k = k

    def __call__(self, session: Session, result: Result) -> None:
        """Select from `result` and write the files into the run's directory."""
        chosen = [dict(row) for _, row in result.choose(self.k).iterrows()]
        networks = [result.network(row) for row in chosen]
        folder = session.directory / "family"
        folder.mkdir(exist_ok=True)
        members = []
        for letter, row, network in zip(string.ascii_uppercase, chosen, networks, strict=False):
            network.save(folder / f"{letter}.json")
            members.append({**_figures(row), "name": letter, "network": f"family/{letter}.json"})
            members[-1]["weights"] = _weights(session, network, folder, letter)
        how = {"selection": f"{self.k} networks at equal arc length along accuracy and latency"}
        how |= self._measure(session, members)
        self._test(session, networks, members)
        content = {"format": _FORMAT, "version": _VERSION, "recipe": "moga", "how": how}
        text = json.dumps({**content, "members": members}, indent=1, allow_nan=False)
        atomic_write(session.directory / "family.json", text + "\n")

    def _measure(self, session: Session, members: list[dict[str, Any]]) -> dict[str, str]:
        """Take what the members took when the front was measured; return how far tables are off."""
        found = {}
        content = session.measure_front([member["genome"] for member in members])
        for entry in (content or {}).get("devices", ()):
            at = entry["metric"].removeprefix("latency")
            measured = {tuple(row["genome"]): row for row in entry["networks"]}
            for member in members:
                row = measured.get(tuple(member["genome"]), {})
                for key in ("measured_ms", "measured_ms_se"):
                    member[f"{key}{at}"] = row.get(key)
            found[f"table against the front{at}"] = entry["summary"] or entry["failed"]
        return found

    def _test(
        self, session: Session, networks: list[Network], members: list[dict[str, Any]]
    ) -> None:
        """Add accuracies on images that the search has not seen, where the evaluator has them."""
        if session.plan.evaluated and hasattr(session.evaluator, "test_accuracy"):
            found = session.evaluator.test_accuracy(networks)
            for member, accuracy in zip(members, found, strict=True):
                member["test_accuracy"] = float(accuracy)


def _figures(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return a member's figures as JSON values: what is unknown is None."""
    drop = ("order", "batch", "status", "kind", "reason", "violation", "hypervolume")
    kept = {key: value for key, value in row.items() if key not in drop}
    clean = {key: _json(value) for key, value in kept.items() if key != "genome"}
    return {**clean, "genome": [int(gene) for gene in row["genome"]]}


def _json(value: Any) -> Any:
    plain = value.item() if hasattr(value, "item") else value
    return None if isinstance(plain, float) and math.isnan(plain) else plain


def _weights(session: Session, network: Network, folder: Path, letter: str) -> str | None:
    """Write the inherited weights, where the evaluator has any; return their path in the run."""
    if not session.plan.evaluated or not hasattr(session.evaluator, "inherit"):
        return None
    path = folder / f"{letter}.safetensors"
    session.evaluator.inherit(network, path)
    return f"family/{path.name}"
