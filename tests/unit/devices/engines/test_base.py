import time

from moga.devices.engines.base import Clock, timed


def work(seconds):
    begin = time.thread_time()
    while time.thread_time() - begin < seconds:
        pass


def test_one_thread_is_timed_by_its_own_cpu_time():
    clock = Clock(1)
    assert clock.name == "thread CPU time"
    assert timed(lambda: work(0.01), clock)() >= 9.9
    assert clock.ms(lambda: time.sleep(0.05)) < 25


def test_several_threads_are_timed_by_the_wall():
    clock = Clock(2)
    assert clock.name == "wall time"
    assert clock.ms(lambda: time.sleep(0.02)) >= 19.9


def test_nothing_takes_no_negative_time():
    assert min(Clock(1).ms(lambda: None) for _ in range(200)) >= 0
