"""A worker in threads of this process: an executor, and a supervisor that is heard of."""

import itertools
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import msgspec

from nbqueue import messages as m
from nbqueue.transports import transport
from nbqueue.worker.executor import Executor
from nbqueue.worker.executor.storage import Storage
from tests.worker.cluster import PYTHON

_numbers = itertools.count(1)


@contextmanager
def executor(url: str) -> Iterator[Executor]:
    """Stopped at the end."""
    worker = f"worker{os.getpid()}-{next(_numbers)}"
    hello = m.Hello(m.WORKER, worker, worker=worker, name="w@test", python=PYTHON, queues=["default"])
    way, stopped = transport(url), threading.Event()

    def supervise() -> None:
        link, beat = way.connect(), 0.2
        link.send([hello])
        while not stopped.is_set():
            for message in link.receive(beat):
                if isinstance(message, m.Unknown):
                    link.send([hello])
            link.send([m.Heartbeat([made_id])])
        link.send([m.Goodbye()])
        link.close()

    made_id = f"executor{next(_numbers)}"
    storage = Storage(large=(way.values_url, way.values_above))
    made = Executor(way, msgspec.structs.replace(hello, role=m.EXECUTOR, id=made_id), storage=storage)
    threads = [threading.Thread(target=made.run, name="executor"), threading.Thread(target=supervise)]
    for thread in threads:
        thread.start()
    try:
        yield made
    finally:
        made.stop()
        threads[0].join(15.0)
        stopped.set()
        threads[1].join(15.0)
        assert not any(thread.is_alive() for thread in threads), "it did not stop"
