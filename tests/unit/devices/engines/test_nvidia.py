import pytest

from moga.devices.engines.nvidia import gpu_and_driver


@pytest.mark.parametrize(
    ("script", "gpu", "driver"),
    [
        ("echo 'Some GPU, 600.1'; echo 'Another, 600.1'", "Some GPU", "600.1"),
        ("echo nothing", "unknown", "unknown"),
        ("exit 9", "unknown", "unknown"),
        ("", "unknown", "unknown"),
    ],
)
def test_the_first_gpu_is_named_where_there_is_one(script, gpu, driver, tmp_path, monkeypatch):
    program = tmp_path / "nvidia-smi"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert gpu_and_driver() == {"gpu": gpu, "driver": driver}


def test_without_the_program_it_is_unknown(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert gpu_and_driver() == {"gpu": "unknown", "driver": "unknown"}
