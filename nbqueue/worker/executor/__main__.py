"""``python -m nbqueue.worker.executor``: what a supervisor starts; see :mod:`nbqueue.worker.lifeline`."""

import faulthandler
import os
import signal
import sys
import threading
import warnings
from typing import TYPE_CHECKING, Any, Final

import msgspec

from nbqueue import results, signals
from nbqueue.conversions import SERIALIZERS
from nbqueue.exceptions import ConfigurationError
from nbqueue.platform import import_from, in_forked_children
from nbqueue.settings import Settings
from nbqueue.wire import keys
from nbqueue.wire.serializers import PICKLED
from nbqueue.worker import context, output, registry
from nbqueue.worker import log as logs
from nbqueue.worker.executor.loop import Executor
from nbqueue.worker.executor.quota import Quota
from nbqueue.worker.executor.storage import Storage
from nbqueue.worker.lifeline import MISCONFIGURED, RETIRED, Lifeline
from nbqueue.worker.options import (
    ExecutorOptions,
    WorkerOptions,
    executor_identity,
    remember,
    way_to_broker,
)
from nbqueue.worker.slot import Slot

if TYPE_CHECKING:
    from nbqueue.worker.executor.several import SeveralExecutor

#: seconds that exit handlers and threads of tasks have
EXIT_GRACE: Final = 5.0


def main() -> int:
    """Run tasks until told to drain; returns the exit code."""
    lifeline = Lifeline.of_process()
    line = lifeline.options()
    if not line:
        return 0
    options = msgspec.json.decode(line, type=ExecutorOptions)
    _prepare(options)
    try:
        executor = _executor(options, lifeline)
    except ConfigurationError as error:
        print(error, file=sys.stderr)  # the supervisor passes it on
        return MISCONFIGURED
    lifeline.watch(executor.stop, executor.consume)
    signals.worker_process_init.send(executor)
    try:
        executor.run()
    finally:
        signals.worker_process_shutdown.send(executor, pid=os.getpid(), exitcode=0)
    if executor.retired:
        return RETIRED
    if executor.refused:
        print(executor.refused, file=sys.stderr)  # see above
        return 1
    return 0


def _prepare(options: ExecutorOptions) -> None:
    """Make this process a place where tasks feel at home."""
    faulthandler.enable(sys.__stderr__ or 2)
    # its supervisor, which imports the same, has said so
    warnings.filterwarnings("ignore", "the (setting|option) .* has no effect")
    remember(options.worker)
    if options.broker is not None:
        keys.remember(options.broker)
    os.environ["NBQUEUE_BROKER"] = options.worker.url  # tasks submit to the same broker
    import_from(os.getcwd())
    output.show_logging()
    # a child that a task forks is not the task
    in_forked_children(lambda: context.enter(None, whole_process=True))


def _executor(options: ExecutorOptions, lifeline: Lifeline) -> "Executor | SeveralExecutor":
    worker = options.worker
    tasks, settings = registry.load(worker.app)
    log = logs.set_up(worker)  # after the module, which may listen to its signals
    logs.set_up_tasks(worker, output.logging_handler())
    slot = Slot(options.slot)
    slot.close_file()
    way, identity = way_to_broker(worker), executor_identity(options, [task.name for task in tasks])
    parts: dict[str, Any] = {
        "tasks": tasks,
        "accepted": _accepted(settings),
        "storage": Storage(
            _backend(settings, worker),
            settings.result_expires,
            trusts=_trusts(settings),
            large=(way.values_url, way.values_above),
        ),
        "slot": slot,
        "log": logs.TaskLog(log),
        "quota": _quota(worker),
        "on_welcome": lifeline.ready,
    }
    if worker.slots == 1:
        return Executor(way, identity, whole_process=True, **parts)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # tasks are interrupted in their threads
    # loads asyncio
    from nbqueue.worker.executor.several import SeveralExecutor

    return SeveralExecutor(way, identity, one_at_a_time=worker.pool != "threads", **parts)


def _backend(settings: Settings, worker: WorkerOptions) -> str | None:
    """The worker's own result backend, None if that is the broker."""
    url: str | None = settings.backend
    return None if results.is_with_broker(url, worker.url) else url


def _quota(worker: WorkerOptions) -> Quota | None:
    if worker.max_tasks_per_child or worker.max_memory_per_child:
        return Quota(worker.max_tasks_per_child, worker.max_memory_per_child)
    return None


def _accepted(settings: Settings) -> frozenset[str] | None:
    """Serializers whose content is loaded, None for all."""
    accepted = frozenset(settings.accept_content)
    return None if accepted == frozenset(SERIALIZERS.values()) else accepted


def _trusts(settings: Settings) -> bool:
    """Whether tasks may name what is imported here, as their pickles do."""
    return PICKLED in settings.accept_content


def _give_up_soon(code: int) -> None:
    """Threads that tasks have left behind must not keep the process from ending."""
    timer = threading.Timer(EXIT_GRACE, os._exit, (code,))
    timer.daemon = True
    timer.start()


if __name__ == "__main__":
    exit_code = 1
    try:
        exit_code = main()
    finally:
        _give_up_soon(exit_code)
    sys.exit(exit_code)
