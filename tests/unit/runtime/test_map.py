import os
import signal
import time

import pytest

from moga.errors import MeasurementFailed, UsageError
from moga.runtime.map import local_map, ray_map


def double(item):
    return 2 * item


def test_local_results_come_in_order_and_known_ones_are_not_repeated():
    seen, made = [], []

    def work(item):
        made.append(item)
        return 2 * item

    found = local_map(work, [3, 1, 2], record=lambda n, r: seen.append((n, r)), done={1: 99})
    assert list(found) == [6, 99, 4]
    assert made == [3, 2]
    assert seen == [(0, 6), (2, 4)]


class Dies:
    """Ends its worker at one item, once (a file remembers) or always."""

    def __init__(self, path, always=False):
        self.path, self.always = path, always

    def __call__(self, item):
        if item == 1 and (self.always or not self.path.exists()):
            self.path.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(0.05 * (3 - item))
        return 10 * item


@pytest.mark.ray
def test_ray_results_come_in_order_whatever_dies(ray_cluster, tmp_path):
    seen = []
    found = ray_map(
        Dies(tmp_path / "died"),
        iter([0, 1, 2]),
        record=lambda n, r: seen.append((n, r)),
        workers=2,
        cpus=0.5,
    )
    assert list(found) == [0, 10, 20]
    assert sorted(seen) == [(0, 0), (1, 10), (2, 20)]
    done = ray_map(double, [0, 1, 2], done={0: 5, 2: 7}, workers=1, cpus=0.5)
    assert list(done) == [5, 2, 7]
    always = ray_map(Dies(tmp_path / "x", always=True), [1], workers=1, cpus=0.5, retries=1)
    with pytest.raises(MeasurementFailed, match="item 0 ended its worker 2 times, at last"):
        list(always)


def refuses(item):
    raise MeasurementFailed(f"no time for {item}")


@pytest.mark.ray
def test_errors_on_purpose_arrive_and_a_cluster_without_gpus_is_named(ray_cluster):
    with pytest.raises(MeasurementFailed, match="no time for 7"):
        list(ray_map(refuses, [7], workers=1, cpus=0.5))
    with pytest.raises(
        UsageError,
        match=r"no node of the Ray cluster has the 1 CPU and 1 GPU .* \(there: 2 CPU and 0 GPU\)",
    ):
        list(ray_map(double, [7], workers=1, gpus=1))


@pytest.mark.ray
def test_workers_that_find_no_room_keep_nobody_waiting(ray_cluster):
    assert list(ray_map(double, range(6), workers=5)) == [0, 2, 4, 6, 8, 10]


def _absent():
    raise ImportError("this library is not there")


class Unsendable:
    """Work that no worker can hold."""

    def __reduce__(self):
        return _absent, ()

    def __call__(self, item):
        return item


@pytest.mark.ray
def test_workers_that_cannot_begin_end_the_map(ray_cluster):
    with pytest.raises(MeasurementFailed, match=r"workers ended before they had begun, 2 times"):
        list(ray_map(Unsendable(), [1], workers=1, cpus=0.5, retries=1))
