"""The thread that draws."""

import threading

from kernels_ext.widgets.painter import Painter


def test_jobs_run_in_order_in_one_other_thread():
    painter, done, seen = Painter(), threading.Event(), []
    for number in range(3):
        painter.post(lambda number=number: seen.append((number, threading.current_thread().name)))
    painter.post(done.set)
    assert done.wait(5)
    assert seen == [(number, "nbqueue-painter") for number in range(3)]


def test_a_job_that_fails_is_logged_and_the_next_one_runs(caplog):
    painter, done = Painter(), threading.Event()
    painter.post(lambda: 1 / 0)
    painter.post(done.set)
    assert done.wait(5)
    assert "ZeroDivisionError" in caplog.text
