"""Fixtures that all tests share."""

from collections.abc import Iterator

import pytest


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep trained supernets and measured tables of tests out of the user's cache."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MOGA_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session")
def ray_cluster() -> Iterator[None]:
    """One real Ray with two CPUs for the whole session; starting it takes 5 s."""
    import ray

    from moga.runtime.ray import start_ray

    assert start_ray(num_cpus=2)
    yield
    ray.shutdown()
