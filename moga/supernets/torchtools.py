"""Small things that training and evaluation share: pixels as tensors, one thread."""

import contextlib
from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

__all__ = ["one_thread", "pixels"]


def pixels(images: NDArray[np.uint8]) -> Tensor:
    """Return uint8 images (n, height, width, 3) as floats from -1 to 1, (n, 3, height, width)."""
    x = torch.tensor(images).permute(0, 3, 1, 2).to(torch.float32)
    return x.div_(127.5).sub_(1)


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """Run torch on one thread: faster on images so small, and the same sums on every machine."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
