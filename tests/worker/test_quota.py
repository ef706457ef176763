"""After how much an executor makes room for another."""

from nbqueue.worker.executor import quota
from nbqueue.worker.executor.quota import Quota, peak_memory


def test_so_many_tasks():
    used = Quota(max_tasks=3)
    assert [used.used_up() for _ in range(3)] == [False, False, True]


def test_so_much_memory(monkeypatch):
    used = Quota(max_memory=1000)
    monkeypatch.setattr(quota, "peak_memory", lambda: 1000)
    assert not used.used_up()
    monkeypatch.setattr(quota, "peak_memory", lambda: 1001)
    assert used.used_up()


def test_no_limit_is_none():
    assert not any(Quota().used_up() for _ in range(100))


def test_memory_is_measured_in_kib():
    assert 5_000 < peak_memory() < 50_000_000
