"""moga searches for families of fast, accurate convolutional networks on the hardware you have.

    from moga import Search
    result = Search("moga", "cpu", ["accuracy*.4", "latency*.4", "params:max*.2"]).run()

Names are loaded when they are first used, so that `import moga` takes no time.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

from moga._version import __version__

if TYPE_CHECKING:
    from moga.contracts import Bounded, Failed, Measured, Objective, Outcome
    from moga.network import Block, Network
    from moga.networks.zoo import create_model
    from moga.result import Result
    from moga.search import Search
    from moga.spaces.base import Space
    from moga.spaces.declared import Choice, DeclaredSpace, Image, Part
    from moga.spaces.subspace import Subspace

__all__ = [
    "Block",
    "Bounded",
    "Choice",
    "DeclaredSpace",
    "Failed",
    "Image",
    "Measured",
    "Network",
    "Objective",
    "Outcome",
    "Part",
    "Result",
    "Search",
    "Space",
    "Subspace",
    "__version__",
    "create_model",
]

_HOMES: Final = {
    "Search": "moga.search",
    "Result": "moga.result",
    "Network": "moga.network",
    "Block": "moga.network",
    "create_model": "moga.networks.zoo",
    "Space": "moga.spaces.base",
    "Subspace": "moga.spaces.subspace",
    "DeclaredSpace": "moga.spaces.declared",
    "Part": "moga.spaces.declared",
    "Choice": "moga.spaces.declared",
    "Image": "moga.spaces.declared",
    "Objective": "moga.contracts",
    "Outcome": "moga.contracts",
    "Measured": "moga.contracts",
    "Bounded": "moga.contracts",
    "Failed": "moga.contracts",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'moga' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
