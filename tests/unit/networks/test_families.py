import pytest

from moga.errors import InvalidBlock, UnknownName
from moga.networks import zoo
from moga.networks.families import build_family, make_divisible


@pytest.mark.parametrize(
    ("width", "rounded"), [(1, 8), (8, 8), (11, 16), (18, 24), (32 * 1.1, 32), (320 * 1.31, 416)]
)
def test_rounding_to_multiples_of_eight(width: float, rounded: int) -> None:
    assert make_divisible(width) == rounded


def test_unknown_family() -> None:
    with pytest.raises(UnknownName, match="unknown family of networks 'genets'"):
        build_family("genets", {}, {}, resolution=224, num_classes=10)


def test_an_image_that_unpadded_blocks_cannot_take() -> None:
    with pytest.raises(InvalidBlock, match="kernel is 3, allowed: at most the image's"):
        zoo.network("gpunet_0", resolution=8)
