"""The networks of the published latency tables, as operations: from moga's zoo or from timm.

Names are those of the tables; a resolution is that of the table's measurement. DFNet-1 and DFNet-2
(Li et al. 2019, "Partial Order Pruning", arXiv 1903.03777) are built here from the authors' code.
Not built: DNANet and OFANet, whose layers neither timm nor the zoo has, DFNet-2a, LaNet, AlphaNet,
BigNAS and FBNetV2.
"""

from collections.abc import Callable
from functools import cache

import timm
import torch
from timm.models import efficientnet
from torch import nn

from moga.networks import zoo
from moga.networks.operations import Operation, operations
from moga.networks.watch import watch

Builder = Callable[[], tuple[Operation, ...]]


def _timm(name: str, resolution: int) -> Builder:
    def build() -> tuple[Operation, ...]:
        with torch.device("meta"):
            return watch(timm.create_model(name), (3, resolution, resolution))

    return build


def _zoo(name: str) -> Builder:
    return lambda: tuple(op for block in zoo.network(name) for op in operations(block))


def _mobilenetv2(width: float) -> Builder:
    def build() -> tuple[Operation, ...]:
        with torch.device("meta"):
            # timm's generator, for the widths that timm does not register
            return watch(efficientnet._gen_mobilenet_v2("mobilenetv2_035", width), (3, 224, 224))  # noqa: SLF001

    return build


class _Basic(nn.Module):
    def __init__(self, entering: int, width: int, stride: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(entering, width, 3, stride, 1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(),
            nn.Conv2d(width, width, 3, 1, 1, bias=False),
            nn.BatchNorm2d(width),
        )
        self.shortcut = nn.Sequential()
        if stride > 1 or entering != width:
            conv = nn.Conv2d(entering, width, 1, stride, bias=False)
            self.shortcut = nn.Sequential(conv, nn.BatchNorm2d(width))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.relu(self.body(x) + self.shortcut(x))


def _dfnet(stages: list[tuple[int, int, int]]) -> Builder:
    """Stem of two strided 3x3 convolutions; stages of basic blocks: (width, blocks, stride)."""

    def build() -> tuple[Operation, ...]:
        with torch.device("meta"):
            layers: list[nn.Module] = []
            for entering, width in ((3, 32), (32, 64)):
                conv = nn.Conv2d(entering, width, 3, 2, 1, bias=False)
                layers += [conv, nn.BatchNorm2d(width), nn.ReLU()]
            entering = 64
            for width, blocks, stride in stages:
                for number in range(blocks):
                    layers.append(_Basic(entering, width, stride if number == 0 else 1))
                    entering = width
            layers += [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(entering, 1000)]
            return watch(nn.Sequential(*layers), (3, 224, 224))

    return build


_DF2 = [(64, 2, 2), (128, 1, 1), (128, 10, 2), (256, 1, 1), (256, 4, 2), (512, 2, 1)]

GENET: dict[str, tuple[str, Builder]] = {
    "RegNetY-200MF": ("regnet", _timm("regnety_002", 224)),
    "RegNetY-400MF": ("regnet", _timm("regnety_004", 224)),
    "RegNetY-800MF": ("regnet", _timm("regnety_008", 224)),
    "ResNet-18": ("resnet", _timm("resnet18", 224)),
    "ResNet-50": ("resnet", _timm("resnet50", 224)),
    "ResNet-101": ("resnet", _timm("resnet101", 224)),
    "EfficientNet-B0": ("efficientnet", _timm("efficientnet_b0", 224)),
    "EfficientNet-B2": ("efficientnet", _timm("efficientnet_b2", 260)),
    "MobileNetV2-0.25": ("mobilenet", _mobilenetv2(0.25)),
    "MobileNetV2-0.5": ("mobilenet", _timm("mobilenetv2_050", 224)),
    "MobileNetV2-1.0": ("mobilenet", _timm("mobilenetv2_100", 224)),
    "MnasNet-1.0": ("mobilenet", _timm("mnasnet_100", 224)),
    "DFNet-1": ("dfnet", _dfnet([(64, 3, 2), (128, 3, 2), (256, 3, 2), (512, 1, 1)])),
    "DFNet-2": ("dfnet", _dfnet(_DF2)),
    "GENet-light": ("genet", _zoo("genet_light")),
    "GENet-large": ("genet", _zoo("genet_large")),
}
"""GENet's Tables 7 to 9: name -> family, builder."""

EFFICIENTNET_X: dict[str, tuple[str, Builder]] = {
    **{
        f"EfficientNet-X-{b}": ("efficientnet_x", _zoo(f"efficientnet_x_{b.lower()}_gpu"))
        for b in ("B0", "B1", "B3", "B4", "B6", "B7")
    },
    **{
        f"EfficientNet-{b.upper()}": ("efficientnet", _timm(f"efficientnet_{b}", size))
        for b, size in {"b0": 224, "b1": 240, "b3": 300, "b4": 380, "b6": 528}.items()
    },
    "ResNet-50": ("resnet", _timm("resnet50", 224)),
    "RegNetY-800MF": ("regnet", _timm("regnety_008", 224)),
    "RegNetY-8.0GF": ("regnet", _timm("regnety_080", 224)),
    "Inception-v3": ("inception", _timm("inception_v3", 299)),
    "NASNet-A": ("nasnet", _timm("nasnetalarge", 331)),
    "ResNeSt-200": ("resnest", _timm("resnest200e", 320)),
    "ResNeSt-269": ("resnest", _timm("resnest269e", 416)),
}
"""EfficientNet-X's Table 3."""

GPUNET: dict[tuple[str, float], tuple[str, Builder]] = {
    ("RegNet-X", 77.0): ("regnet", _timm("regnetx_016", 224)),
    ("RegNet-X", 80.0): ("regnet", _timm("regnetx_160", 224)),
    ("RegNet-X", 80.5): ("regnet", _timm("regnetx_320", 224)),
    ("EfficientNet-B0", 77.1): ("efficientnet", _timm("efficientnet_b0", 224)),
    ("EfficientNet-B3", 81.6): ("efficientnet", _timm("efficientnet_b3", 300)),
    ("EfficientNetX-B0-GPU", 77.3): ("efficientnet_x", _zoo("efficientnet_x_b0_original")),
    ("EfficientNetX-B2-GPU", 80.0): ("efficientnet_x", _zoo("efficientnet_x_b2_original")),
    ("GPUNet-0", 78.9): ("gpunet", _zoo("gpunet_0")),
    ("GPUNet-2", 82.2): ("gpunet", _zoo("gpunet_2")),
    ("GPUNet-D1", 82.5): ("gpunet", _zoo("gpunet_d1")),
    ("FBNetV3-B", 79.8): ("fbnetv3", _timm("fbnetv3_b", 240)),
    ("FBNetV3-D", 81.1): ("fbnetv3", _timm("fbnetv3_d", 256)),
    ("FBNetV3-G", 83.2): ("fbnetv3", _timm("fbnetv3_g", 312)),
    ("ResNeSt-50", 81.1): ("resnest", _timm("resnest50d", 224)),
}
"""GPUNet's Table 3, whose names repeat: (name, top-1) -> family, builder. FBNetV3 at the
resolutions that give the multiply-adds printed there."""

MOGA: dict[str, tuple[str, Builder]] = {
    "MobileNetV2-1.0": ("mobilenetv2", _zoo("mobilenetv2")),
    "MobileNetV3-Large-1.0": ("mobilenetv3", _zoo("mobilenetv3_large")),
    "MoGA-A": ("moga", _zoo("moga_a")),
    "MoGA-B": ("moga", _zoo("moga_b")),
    "MoGA-C": ("moga", _zoo("moga_c")),
}
"""MoGA's Table 3, those with times on a phone's GPU."""


@cache
def built(table: str) -> dict[str, tuple[Operation, ...]]:
    """Return name -> operations of one of the tables above, by its name in this module."""
    entries = globals()[table]
    return {key: builder() for key, (_, builder) in entries.items()}
