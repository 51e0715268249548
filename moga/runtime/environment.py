"""What a run ran on: versions, processor, cores; for ``run.json`` and the report."""

import datetime
import os
import platform
from importlib import metadata
from pathlib import Path
from typing import Any, Final

__all__ = ["cpu_model", "describe_host", "versions"]

_LIBRARIES: Final = ("moga", "numpy", "pandas", "torch", "timm", "ray", "pymoo", "moocore")


def cpu_model() -> str:
    """Return the processor's name as the kernel gives it."""
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def versions() -> dict[str, str]:
    """Return the versions of Python and of the libraries that matter, of those installed."""
    found = {"python": platform.python_version()}
    for name in _LIBRARIES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def describe_host() -> dict[str, Any]:
    """Return versions, host and the time of day, as JSON values."""
    return {
        "versions": versions(),
        "host": {
            "cpu": cpu_model(),
            "cores": os.cpu_count(),
            "platform": platform.platform(aliased=True),
        },
        "started": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    }
