"""Fixtures that all tests share."""

from collections.abc import Iterator

import pytest


@pytest.fixture(scope="session")
def ray_cluster() -> Iterator[None]:
    """One real Ray with two CPUs for the whole session; starting it takes 5 s."""
    import ray

    from moga.runtime.ray import start_ray

    assert start_ray(num_cpus=2)
    yield
    ray.shutdown()
