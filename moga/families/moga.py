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

from moga.devices.base import Measures
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

    Where the device can run networks, all members are measured end to end, in one go. Where the
    evaluator has weights, each member's are written beside its JSON.

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
        self._measure(session, networks, members)
        self._test(session, networks, members)
        how = {"selection": f"{self.k} networks at equal arc length along accuracy and latency"}
        content = {"format": _FORMAT, "version": _VERSION, "recipe": "moga", "how": how}
        text = json.dumps({**content, "members": members}, indent=1, allow_nan=False)
        atomic_write(session.directory / "family.json", text + "\n")

    def _measure(
        self, session: Session, networks: list[Network], members: list[dict[str, Any]]
    ) -> None:
        for device in session.plan.devices:
            if not isinstance(device, Measures):
                continue
            at = f"@{device.name}" if len(session.plan.devices) > 1 else ""
            for member, latency in zip(
                members, device.measure(networks, session.progress), strict=True
            ):
                member[f"measured_ms{at}"] = latency.ms
                member[f"measured_ms_se{at}"] = latency.spread

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
