"""Which NVIDIA GPU is here, for engines that do without torch's CUDA."""

import subprocess
from typing import Final

__all__ = ["gpu_and_driver"]

_QUERY: Final = ("nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader")


def gpu_and_driver() -> dict[str, str]:
    """Return name and driver of the first GPU as nvidia-smi gives them, or "unknown"."""
    try:
        done = subprocess.run(_QUERY, capture_output=True, text=True, check=True)  # noqa: S603
        gpu, driver = done.stdout.splitlines()[0].split(", ")
    except (OSError, subprocess.CalledProcessError, ValueError, IndexError):
        gpu, driver = "unknown", "unknown"
    return {"gpu": gpu, "driver": driver}
