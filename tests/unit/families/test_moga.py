"""MoGA's recipe writes members that can be built again."""

import json
from pathlib import Path

import pytest

from moga.errors import UsageError
from moga.families.moga import MoGA
from moga.network import Network
from moga.search import Search


def test_members_can_be_built_again(tmp_path: Path) -> None:
    search = Search(
        "nasbench201",
        "pixel3",
        evaluations=100,
        executor="local",
        family="moga(k=4)",
        storage=tmp_path / "run",
    )
    result = search.run()
    family = json.loads((tmp_path / "run" / "family.json").read_text())
    assert result.family == family
    assert len(family["members"]) == 4
    for member in family["members"]:
        network = Network.load(tmp_path / "run" / member["network"])
        assert network == search.plan.space.decode(member["genome"])
        assert member["weights"] is None
        assert "measured_ms" not in member
        assert member["accuracy_se"] is None


@pytest.mark.parametrize("k", [0, 27])
def test_sizes_that_no_alphabet_names(k: int) -> None:
    with pytest.raises(UsageError, match=f"1 to 26 members; got k={k}"):
        MoGA(k=k)
