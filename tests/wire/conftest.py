"""A notebook in this process, and a worker in another one."""

import pickle
import subprocess
import sys
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from nbqueue import messages as m
from nbqueue.wire import failure, payload, sources

_ROOT = Path(__file__).parents[2]


class Worker:
    """A fresh Python that loads tasks and runs them."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("loading_worker.py"))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd="/",
            env={"PYTHONPATH": str(_ROOT)},
        )

    def run(self, task: m.Task, blobs: dict[str, bytes]) -> Any:
        """The value of a task, or what it raises."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        pickle.dump((task, blobs), self._process.stdin)
        self._process.stdin.flush()
        value, failed = pickle.load(self._process.stdout)
        if failed is not None:
            raise failure.rebuild(failed)
        return payload.loads(value)

    def close(self) -> None:
        self._process.communicate()


class Notebook:
    """Runs cells in a ``__main__`` of its own, and their functions on a worker."""

    def __init__(self, worker: Worker, main: types.ModuleType) -> None:
        self.worker = worker
        self.main = main
        self._definers: dict[int, tuple[Callable[..., Any], payload.Definer]] = {}
        self._cells = 0

    def cell(self, source: str) -> None:
        """Run a cell; its lines are known to linecache as IPython's are."""
        import linecache

        self._cells += 1
        filename = f"/tmp/ipykernel_1/{self._cells}.py"
        linecache.cache[filename] = (len(source), None, source.splitlines(keepends=True), filename)
        sources.shown_names[filename] = f"Cell In[{self._cells}]"
        exec(compile(source, filename, "exec"), vars(self.main))

    def __getitem__(self, name: str) -> Any:
        return vars(self.main)[name]

    def definer(self, name: str, **options: Any) -> payload.Definer:
        """The definer of a function of the notebook, always the same one."""
        function = self[name]
        known = self._definers.get(id(function))
        if known is None:
            known = (function, payload.Definer(function, payload.TaskOptions(name=name, **options)))
            self._definers[id(function)] = known
        return known[1]

    def task(self, name: str, *args: Any, **kwargs: Any) -> tuple[m.Task, dict[str, bytes]]:
        """A call as it is submitted, with its blobs."""
        shipment = self.definer(name).shipment()
        blobs = [shipment.definition, *([shipment.captured_blob] if shipment.captured_blob else [])]
        task = m.Task(
            id="1",
            name=name,
            definition=shipment.definition.key,
            payload=payload.dumps_arguments(args, kwargs, name),
            captured=shipment.captured,
            captured_key=shipment.captured_blob.key if shipment.captured_blob else "",
        )
        return task, dict(blobs)

    def remote(self, name: str, *args: Any, **kwargs: Any) -> Any:
        """Call a function of the notebook on the worker."""
        return self.worker.run(*self.task(name, *args, **kwargs))


@pytest.fixture(scope="module")
def worker() -> Iterator[Worker]:
    worker = Worker()
    yield worker
    worker.close()


@pytest.fixture
def notebook(worker: Worker, monkeypatch: pytest.MonkeyPatch) -> Notebook:
    main = types.ModuleType("__main__")
    monkeypatch.setitem(sys.modules, "__main__", main)
    return Notebook(worker, main)
