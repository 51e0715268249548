import pytest

from moga.errors import UsageError
from moga.network import Block
from moga.supernets.supernet import _check_alike


def test_grouped_blocks_share_no_weights() -> None:
    block = Block(
        operation="mbconv",
        in_channels=8,
        out_channels=8,
        height=8,
        width=8,
        hidden_channels=16,
        groups=2,
        norm_eps=1e-5,
    )
    with pytest.raises(UsageError, match="and norm, got 'mbconv' of 2 groups; use sharing="):
        _check_alike("layer", [block])
