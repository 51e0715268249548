"""Ledger: what a run asked and what came back, over its journal; a resumed run reads it first."""

import dataclasses
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np

from moga.contracts import Genomes, Outcome
from moga.errors import FormatError
from moga.runtime.journal import Journal, outcome_from_json, outcome_to_json

__all__ = ["Answer", "Asked", "Ledger", "Stop"]


@dataclasses.dataclass(frozen=True, eq=False)
class Asked:
    """One batch as it was asked.

    Args:
        genomes: shape (m, genes).
        wanted: how many genomes the searcher was asked for; m or more.
    """

    genomes: Genomes
    wanted: int


@dataclasses.dataclass(frozen=True)
class Answer:
    """What came back for a batch.

    Args:
        outcomes: one a genome; None where none was needed (outside limits, or answered before).
        seconds: how long the run had been going, over all its sessions.
    """

    outcomes: tuple[Outcome | None, ...]
    seconds: float


@dataclasses.dataclass(frozen=True)
class Stop:
    """Why a run ended.

    Args:
        reason: "evaluations", "hours", "exhausted" (the searcher has nothing left), "limits" (of 50
            proposals an evaluation, most broke known limits) or "repeats" (most were old ones).
        evaluations: how many evaluations had been asked for.
        hours: the time limit in force, if any.
    """

    reason: str
    evaluations: int
    hours: float | None


class Ledger:
    """The journal of a run as batches. What is recorded is on the disk before the call returns.

    Args:
        path: ``journal.jsonl``; made where there is none.
        read_only: nothing is changed, nor can be recorded; the file must be there.

    Attributes:
        asked: the batches, in the order in which they were asked.
        answers: batch -> what came back, in the order in which it came.
        stop: the last recorded end, or None; asking for more takes it back.
        torn_bytes: length of a last record that was never written whole, and was dropped.

    Raises:
        FormatError: a damaged journal.
    """

    def __init__(self, path: Path, *, read_only: bool = False) -> None:
        self._journal = Journal.open(path, read_only=read_only)
        self.torn_bytes = self._journal.torn_bytes
        self.asked: list[Asked] = []
        self.answers: dict[int, Answer] = {}
        self.stop: Stop | None = None
        for record in self._journal.records:
            self._read(record.kind, record.data, path)

    def _read(self, kind: str, data: Any, path: Path) -> None:
        try:
            if kind == "asked" and data["batch"] == len(self.asked):
                genomes = np.array(data["genomes"], dtype=np.int64)
                self.asked.append(Asked(genomes, int(data["wanted"])))
                self.stop = None
            elif kind == "answered":
                outcomes = tuple(x if x is None else outcome_from_json(x) for x in data["outcomes"])
                self.answers[data["batch"]] = Answer(outcomes, float(data["seconds"]))
            elif kind == "stopped":
                self.stop = Stop(data["reason"], data["evaluations"], data["hours"])
            else:
                raise FormatError(f"{path}: unexpected record {kind!r} with {data!r}")
        except (KeyError, TypeError, ValueError) as error:
            if isinstance(error, FormatError):
                raise
            raise FormatError(f"{path}: record {kind!r} cannot be read: {error!r}") from error

    @property
    def seconds(self) -> float:
        """How long the run had been going when the last answer came."""
        return max((answer.seconds for answer in self.answers.values()), default=0.0)

    def record_asked(self, genomes: Genomes, wanted: int) -> None:
        """Record the next batch, and how many genomes the searcher was asked for."""
        data = {"batch": len(self.asked), "genomes": genomes.tolist(), "wanted": wanted}
        self._journal.append("asked", data)
        self.asked.append(Asked(genomes, wanted))
        self.stop = None

    def record_answer(self, batch: int, answer: Answer) -> None:
        """Record what came back for a batch."""
        outcomes = [x if x is None else outcome_to_json(x) for x in answer.outcomes]
        data = {"batch": batch, "outcomes": outcomes, "seconds": round(answer.seconds, 3)}
        self._journal.append("answered", data)
        self.answers[batch] = answer

    def record_stop(self, stop: Stop) -> None:
        """Record why the run ended."""
        self._journal.append("stopped", dataclasses.asdict(stop))
        self.stop = stop

    def close(self) -> None:
        """Close the journal."""
        self._journal.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
