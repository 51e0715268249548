"""The tree of errors. Catch `MogaError` to catch everything that moga raises on purpose.

    MogaError
    ├── UsageError (also a ValueError)   what the caller passed cannot work; the CLI exits with 2
    │   ├── UnknownName                  no such space, device, metric...; lists near names
    │   ├── InvalidBlock                 an impossible block; names the field and what is allowed
    │   ├── InvalidGenome                a genome out of range; names the gene and its range
    │   ├── NotInSpace                   a network that the space cannot express; names the block
    │   ├── InvalidObjective             text or numbers that make no objective
    │   ├── FormatError                  a file that is damaged, or of another version or kind
    │   ├── RunMismatch                  a run directory made with other settings; says what differs
    │   ├── RunInUse                     another process has the run directory open
    │   └── MissingExtra                 an optional library is absent; names the install command
    ├── Exhausted                        a searcher has nothing left to propose
    ├── SearcherFailed                   the process of a remote searcher has ended
    ├── TooManyFailures                  evaluations fail one after another; the run stops
    ├── ExportFailed                     an exported file computes something else than the network
    └── MeasurementFailed                a device could not time or build something

A failed *evaluation* is no error: it is an `Outcome` (see `moga.contracts.Failed`).
"""

import difflib
from collections.abc import Iterable

__all__ = [
    "Exhausted",
    "ExportFailed",
    "FormatError",
    "InvalidBlock",
    "InvalidGenome",
    "InvalidObjective",
    "MeasurementFailed",
    "MissingExtra",
    "MogaError",
    "NotInSpace",
    "RunInUse",
    "RunMismatch",
    "SearcherFailed",
    "TooManyFailures",
    "UnknownName",
    "UsageError",
]


class MogaError(Exception):
    """Base of all errors that moga raises on purpose."""


class UsageError(MogaError, ValueError):
    """What the caller passed cannot work; the message says what was expected and what to do."""


class UnknownName(UsageError):
    """A name that stands for nothing here.

    Args:
        kind: what was looked for, such as ``"space"``.
        name: what was passed.
        known: all names that would have worked.
    """

    def __init__(self, kind: str, name: str, known: Iterable[str]) -> None:
        self.kind, self.name, self.known = kind, name, sorted(known)
        lower = {each.lower(): each for each in reversed(self.known)}
        close = difflib.get_close_matches(name.lower(), lower, n=3, cutoff=0.5)
        near = [lower[each] for each in close]
        hint = f" Did you mean {' or '.join(map(repr, near))}?" if near else ""
        super().__init__(
            f"unknown {kind} {name!r}.{hint} Known: {', '.join(self.known) or 'none'}."
        )

    def __reduce__(self) -> tuple[type["UnknownName"], tuple[str, str, list[str]]]:
        return UnknownName, (self.kind, self.name, self.known)


class InvalidBlock(UsageError):
    """A block that cannot exist."""


class InvalidGenome(UsageError):
    """A genome that is out of range or of the wrong length."""


class NotInSpace(UsageError):
    """A network that the space cannot express."""


class InvalidObjective(UsageError):
    """Text or numbers that make no objective."""


class FormatError(UsageError):
    """A file that is damaged, of another version, or of another kind."""


class RunMismatch(UsageError):
    """A run directory that was made with other settings."""


class RunInUse(UsageError):
    """A run directory that another process has open."""


class MissingExtra(UsageError):
    """An optional library that is not installed.

    Args:
        library: what is missing.
        extra: the extra of moga that brings it.
    """

    def __init__(self, library: str, extra: str) -> None:
        self.library, self.extra = library, extra
        super().__init__(
            f"{library} is not installed. Install it with: pip install 'moga[{extra}]'"
        )

    def __reduce__(self) -> tuple[type["MissingExtra"], tuple[str, str]]:
        return MissingExtra, (self.library, self.extra)


class Exhausted(MogaError):
    """A searcher has nothing left to propose."""


class SearcherFailed(MogaError):
    """A searcher's own process has ended."""


class TooManyFailures(MogaError):
    """Evaluations fail one after another."""


class ExportFailed(MogaError):
    """An exported file computes something else than the network."""


class MeasurementFailed(MogaError):
    """A device could not build or time something."""
