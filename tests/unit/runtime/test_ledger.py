"""The ledger reads what it wrote."""

import json
from pathlib import Path

import numpy as np
import pytest

from moga.contracts import Bounded, Failed, Measured
from moga.errors import FormatError
from moga.runtime.journal import Journal
from moga.runtime.ledger import Answer, Ledger, Stop

OUTCOMES = (Measured({"accuracy": 1.5}, {"accuracy": 0.1}), None, Failed("no", "error"))


def test_what_was_recorded_is_read(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    with Ledger(path) as ledger:
        ledger.record_asked(np.array([[0, 1], [2, 3], [4, 5]]), wanted=4)
        ledger.record_asked(np.array([[6, 7]]), wanted=1)
        ledger.record_answer(1, Answer((Bounded({"accuracy": 3.0}, 0.5),), 1.0))
        ledger.record_answer(0, Answer(OUTCOMES, 2.5))
        ledger.record_stop(Stop("evaluations", 4, None))
    with Ledger(path) as ledger:
        assert [asked.genomes.tolist() for asked in ledger.asked] == [
            [[0, 1], [2, 3], [4, 5]],
            [[6, 7]],
        ]
        assert [asked.wanted for asked in ledger.asked] == [4, 1]
        assert list(ledger.answers) == [1, 0]
        assert ledger.answers[0].outcomes == OUTCOMES
        assert ledger.seconds == 2.5
        assert ledger.stop == Stop("evaluations", 4, None)


def test_asking_more_takes_a_stop_back(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    with Ledger(path) as ledger:
        ledger.record_stop(Stop("hours", 0, 1.0))
        ledger.record_asked(np.array([[0]]), wanted=1)
        assert ledger.stop is None
    with Ledger(path) as ledger:
        assert ledger.stop is None


@pytest.mark.parametrize(
    ("kind", "data"),
    [("asked", {"batch": 3, "genomes": []}), ("answered", {"batch": 0}), ("sung", {})],
)
def test_records_that_make_no_sense(tmp_path: Path, kind: str, data: dict) -> None:
    path = tmp_path / "journal.jsonl"
    with Journal.open(path) as journal:
        journal.append(kind, data)
    with pytest.raises(FormatError, match=f"record {kind!r}|record '{kind}'|{json.dumps(kind)}"):
        Ledger(path)
