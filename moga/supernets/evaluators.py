"""SupernetEvaluator: a network's accuracy is that of its path through a trained supernet."""

import hashlib
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray

from moga.contracts import Failed, Genome, Measured, Outcome
from moga.errors import NotInSpace
from moga.network import Network
from moga.networks.build import NetworkModule, save_weights
from moga.spaces.base import Space
from moga.supernets.data import Images
from moga.supernets.supernet import Sharing, Supernet, load_parameters
from moga.supernets.torchtools import one_thread, pixels

__all__ = ["SupernetEvaluator"]

_CHUNK_PIXELS: Final = 1 << 20
"""Pixels that pass at once, so that memory stays small."""


class SupernetEvaluator:
    """Measures accuracy, in %, of networks of a supernet's space.

    A network's path gets the batch-norm statistics of the calibration images, then classifies the
    validation images. What comes out depends on the network alone, not on what was evaluated before
    or beside it. Weights and images are numpy arrays, which Ray's workers on one machine share; the
    torch module is built in the worker, when first used.

    Args:
        space: the supernet's.
        weights: the supernet's parameters, as `of` takes them.
        images: `calibration` and `validation` are used.
        sharing: the supernet's.
        details: how the weights came about, as JSON values; for ``run.json`` and the report.

    Raises:
        UsageError: weights of another supernet.
    """

    def __init__(
        self,
        space: Space,
        weights: Mapping[str, NDArray[np.float32]],
        images: Images,
        sharing: Sharing = "entangled",
        *,
        details: Mapping[str, Any] | None = None,
    ) -> None:
        self.space, self.sharing, self.images = space, sharing, images
        self.details = dict(details or {})
        self.weights = dict(weights)
        self._loaded: _Loaded | None = None

    @classmethod
    def of(
        cls, supernet: Supernet, images: Images, details: Mapping[str, Any] | None = None
    ) -> "SupernetEvaluator":
        """Evaluate by a trained supernet, whose weights are copied."""
        weights = {name: p.detach().numpy().copy() for name, p in supernet.named_parameters()}
        return cls(supernet.space, weights, images, supernet.sharing, details=details)

    def describe(self) -> dict[str, Any]:
        """Return a hash of the weights, and how they came about, as JSON values."""
        sha = hashlib.sha256()
        for name in sorted(self.weights):
            sha.update(name.encode() + self.weights[name].tobytes())
        return {"digest": sha.hexdigest()[:16], **self.details}

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_loaded": None}

    @property
    def metrics(self) -> tuple[str, ...]:
        """Accuracy alone."""
        return ("accuracy",)

    def evaluate(self, networks: Sequence[Network]) -> list[Outcome]:
        """Return top-1 accuracy in % and its binomial standard error, or `Failed`."""
        return [self._outcome(network) for network in networks]

    def _outcome(self, network: Network) -> Outcome:
        try:
            correct = self.correct(network)
        except NotInSpace as error:
            return Failed(str(error), "error")
        share = float(correct.mean())
        deviation = math.sqrt(share * (1 - share) / len(correct))
        return Measured({"accuracy": 100 * share}, {"accuracy": 100 * deviation})

    def correct(self, network: Network) -> NDArray[np.bool_]:
        """Return for each validation image whether a network classifies it rightly, shape (n,).

        Raises:
            NotInSpace: naming the block that does not fit.
        """
        genome = self.space.encode(network)
        with one_thread(), torch.inference_mode():
            return self._model().correct(genome)

    def extract(self, network: Network) -> NetworkModule:
        """Return a network as a module with the weights and statistics that its path has.

        Raises:
            NotInSpace: naming the block that does not fit.
        """
        genome = self.space.encode(network)
        with one_thread(), torch.inference_mode():
            return self._model().extract(genome)

    def inherit(self, network: Network, path: str | Path) -> None:
        """Write the weights of a network, as its path has them, for `moga.networks.load_weights`.

        Raises:
            NotInSpace: naming the block that does not fit.
        """
        save_weights(self.extract(network), path, {"network": network.digest})

    def _model(self) -> "_Loaded":
        if self._loaded is None:
            self._loaded = _Loaded(self)
        return self._loaded


class _Loaded:
    """The torch side: the supernet and the images, ready."""

    def __init__(self, evaluator: SupernetEvaluator) -> None:
        self.supernet = load_parameters(
            Supernet(evaluator.space, evaluator.sharing), evaluator.weights
        )
        self.supernet.eval()
        images = evaluator.images
        self.calibration, self.validation = (
            pixels(subset.images).contiguous(memory_format=torch.channels_last)
            for subset in (images.calibration, images.validation)
        )
        self.labels = torch.from_numpy(images.validation.labels.copy())

    def correct(self, genome: Genome) -> NDArray[np.bool_]:
        self.supernet.calibrate(self.calibration, genome)
        side = self.validation.shape[-1]
        parts = torch.split(self.validation, max(1, _CHUNK_PIXELS // side**2))
        guesses = [self.supernet(part, genome).argmax(1) for part in parts]
        right: NDArray[np.bool_] = (torch.cat(guesses) == self.labels).numpy()
        return right

    def extract(self, genome: Genome) -> NetworkModule:
        self.supernet.calibrate(self.calibration, genome)
        return self.supernet.extract(genome)
