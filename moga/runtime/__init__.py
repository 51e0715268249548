"""Carrying out work, here or on a cluster, and never losing what was found. The only door to Ray.

Executors (`moga.contracts.Executor`):

- `moga.runtime.local.LocalExecutor`: in this process, one batch after another.
- `moga.runtime.ray.RayExecutor`: long-lived actors on this machine or on a Ray cluster.

What both share, in `moga.runtime.guard`: `guarded` turns whatever an evaluator does into outcomes;
`Retries` says how often a lost worker and a raising evaluator are given another chance.

The truth about a run, in `moga.runtime.journal`: `Journal` and `RunLock`.

Searchers elsewhere: `moga.runtime.remote.remote` makes any searcher a Ray actor that is itself a
searcher.

Importing this package loads nothing of Ray.
"""

from moga.runtime.guard import Retries, guarded
from moga.runtime.journal import Journal, Record, RunLock, outcome_from_json, outcome_to_json
from moga.runtime.local import LocalExecutor

__all__ = [
    "Journal",
    "LocalExecutor",
    "Record",
    "Retries",
    "RunLock",
    "guarded",
    "outcome_from_json",
    "outcome_to_json",
]
