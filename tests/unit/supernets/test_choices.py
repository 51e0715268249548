import pytest

from moga import registry
from moga.errors import UsageError
from moga.spaces.moga import MoGASpace
from moga.spaces.subspace import Subspace
from moga.supernets.choices import accuracy_from, choices, tabulated


@pytest.mark.parametrize(
    ("space", "reason"),
    [
        ("genet", r"slot 'stem' of genet\(.*\) reads resolution, stem.width; a supernet needs"),
        ("gpunet", r"slot 'stem' of gpunet\(.*\) reads resolution, s0.filters; a supernet needs"),
        ("efficientnet_x", "slot 'reshape' of .* reads reshape, stage_3.activation; a supernet"),
        ("fbnet", r"choice 8 of slot 'layer_0' of fbnet\(.*\) gives 0 blocks; a supernet needs"),
    ],
)
def test_spaces_of_no_supernet_name_what_works_instead(space: str, reason: str) -> None:
    built = registry.create("space", space)
    message = (
        f"{reason}.*No evaluator that ships gives accuracies of {space}: .* object of your own"
    )
    with pytest.raises(UsageError, match=message) as raised:
        choices(built)
    assert "evaluator='supernet'" not in str(raised.value)
    assert "tabular" not in str(raised.value)


def test_nasbench201_and_parts_of_it_have_a_table() -> None:
    space = registry.create("space", "nasbench201(data=cifar100)")
    part = Subspace(Subspace(space, {"edge_0_1": "none"}), {"edge_0_2": "skip"})
    assert tabulated(part) is tabulated(space) is space
    assert tabulated(MoGASpace()) is None
    assert accuracy_from(part) == (
        "Accuracies of subspace come from a table: evaluator='tabular', the default"
    )
    with pytest.raises(UsageError, match=r"reads edge_1_2, .*evaluator='tabular', the default"):
        choices(part)


def test_moga_s_space_has_a_supernet() -> None:
    space = MoGASpace()
    found = choices(space)
    assert [len(blocks) for blocks in found] == [
        len(slot.entry(()) or ()) if not slot.genes else 12 for slot in space.slots
    ]
    assert [block.kernel for block in found[1][:3]] == [
        slot_block[0][0].kernel for slot_block in map(space.slots[1].entry, [(0,), (1,), (2,)])
    ]
    assert accuracy_from(space).startswith("Accuracies of moga come from evaluator='supernet'")
