"""The ONNX files that engines consume: FP32, strongly typed FP16, and INT8 by Q/DQ nodes."""

import importlib.util
import logging
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from moga.errors import MissingExtra, UsageError
from moga.network import Block, Network
from moga.networks.export import export_onnx

__all__ = ["INPUT", "PRECISIONS", "exporter", "images_of", "require", "write_onnx"]

PRECISIONS: Final = ("fp32", "fp16", "int8")
INPUT: Final = "images"
"""Name of the input."""

_QUANTISED: Final = ("Conv", "Gemm", "MatMul")
_FOR_TENSORRT: Final = {
    "ActivationSymmetric": True,  # TensorRT knows no zero points
    "WeightSymmetric": True,
    "AddQDQPairToWeight": True,  # weights stay FP32 in the file, as TensorRT's parser wants them
    "DedicatedQDQPair": True,  # a pair of nodes is shared by no two consumers
    "QuantizeBias": False,
}


def require(library: str, extra: str) -> None:
    """Check that a library is installed, without loading it.

    Raises:
        MissingExtra: it is not.
    """
    if importlib.util.find_spec(library) is None:
        raise MissingExtra(library, extra)


def exporter() -> str:
    """Return the versions of what writes the files, which decide what an engine is given."""
    libraries = ("torch", "onnx", "onnxscript", "onnxruntime")
    return ", ".join(f"{name} {metadata.version(name)}" for name in libraries)


def images_of(subject: Block | Network, batch: int, precision: str) -> NDArray[Any]:
    """Return random images for a subject's file, always the same: (images, channels, y, x)."""
    first = subject if isinstance(subject, Block) else subject.blocks[0]
    shape = (batch * first.batch_factor, first.in_channels, first.height, first.width)
    images = np.random.default_rng(0).standard_normal(shape, dtype=np.float32)
    return images.astype(np.float16) if precision == "fp16" else images


def write_onnx(
    subject: Block | Network, path: Path, *, batch: int = 1, precision: str = "fp32"
) -> None:
    """Write a block or network with random weights and batch norms folded; input ``images``.

    FP16 files hold and take FP16 throughout. In INT8 files, convolutions and linear layers stand
    between Q/DQ nodes, symmetric, per channel for weights, calibrated on random images: good for
    times, not for accuracies; all else is FP32.

    Args:
        subject: what to write.
        path: the file.
        batch: images a batch; fixed in the file.
        precision: one of `PRECISIONS`.

    Raises:
        MissingExtra: onnx, onnxscript or onnxruntime is not installed.
        UsageError: another precision; operations that ONNX does not have.
    """
    if precision not in PRECISIONS:
        raise UsageError(f"precision is {precision!r}; give one of {', '.join(PRECISIONS)}")
    network = Network((subject,)) if isinstance(subject, Block) else subject
    images = batch * network.blocks[0].batch_factor
    export_onnx(network, path, batch=images, fold_norm=True, check=False)
    if precision == "fp16":
        _to_half(path)
    elif precision == "int8":
        _quantise(path, images_of(subject, batch, "fp32"))


def _to_half(path: Path) -> None:
    require("onnxruntime", "onnx")
    import onnx
    from onnxruntime.transformers.float16 import convert_float_to_float16

    half = convert_float_to_float16(onnx.load(path), keep_io_types=False, max_finite_val=6e4)
    onnx.save(half, path)


def _quantise(path: Path, images: NDArray[Any]) -> None:
    require("onnxruntime", "onnx")
    from onnxruntime import quantization

    class Reader(quantization.CalibrationDataReader):  # type: ignore[misc]  # has no hints
        """Gives the images once."""

        def __init__(self) -> None:
            self._images: Iterator[dict[str, Any]] = iter([{INPUT: images}])

        def get_next(self) -> dict[str, Any] | None:
            """Return the next batch, None at the end."""
            return next(self._images, None)

    root = logging.getLogger()
    level = root.level
    root.setLevel(logging.ERROR)  # it advises a step that the folded export has done already
    try:
        quantization.quantize_static(
            path,
            path,
            Reader(),
            quant_format=quantization.QuantFormat.QDQ,
            per_channel=True,
            activation_type=quantization.QuantType.QInt8,
            weight_type=quantization.QuantType.QInt8,
            op_types_to_quantize=list(_QUANTISED),
            extra_options=dict(_FOR_TENSORRT),
        )
    finally:
        root.setLevel(level)
