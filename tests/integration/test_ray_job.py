"""`ray job submit` against a real cluster with token authentication, as a user submits."""

import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

BIN = Path(sys.executable).parent


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, dict[str, str]]]:
    """A head node of its own, with a token; its dashboard's address, and the environment."""
    environment = {
        **{key: value for key, value in os.environ.items() if key != "RAY_ADDRESS"},
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": secrets.token_hex(32),
    }
    dashboard = free_port()
    command = [
        *(str(BIN / "ray"), "start", "--head", "--block", "--num-cpus", "2"),
        *("--port", str(free_port()), "--dashboard-port", str(dashboard)),
        *("--disable-usage-stats", "--object-store-memory", "500000000"),
    ]
    head = subprocess.Popen(
        command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", dashboard)) == 0:
                break
        time.sleep(0.5)
    yield f"http://127.0.0.1:{dashboard}", environment
    head.send_signal(signal.SIGTERM)
    head.wait(timeout=60)


@pytest.mark.slow
@pytest.mark.ray
def test_a_search_as_a_job(cluster: tuple[str, dict[str, str]], tmp_path: Path) -> None:
    address, environment = cluster
    search = ["moga", "search", "--space", "nasbench201", "--device", "pixel3"]
    options = ["--evaluations", "60", "--storage", str(tmp_path / "run"), "--json"]
    command = [str(BIN / "ray"), "job", "submit", "--address", address, "--"]
    command += [str(BIN / search[0]), *search[1:], *options]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    lines = [line for line in done.stdout.splitlines() if line.startswith('{"run_dir"')]
    assert json.loads(lines[0])["measured"] == 60
    assert (tmp_path / "run" / "report.html").exists()
    wrong = {**environment, "RAY_AUTH_TOKEN": secrets.token_hex(32)}
    refused = subprocess.run(command, env=wrong, capture_output=True, text=True, check=False)
    assert refused.returncode != 0
