"""Parts of Celery's applications, tasks and backends that are not here, and what to do instead.

Who asks for one gets the AttributeError that any other name gives, and its message names the way out.
"""

from collections.abc import Mapping
from typing import Any, Final

from nbqueue.exceptions import ConfigurationError

#: attribute of Celery's applications → what to do instead
OF_APPS: Final[Mapping[str, str]] = {
    "Beat": "the broker fires periodic tasks: app.beat() tells it the schedule",
    "Worker": "app.worker_main(['worker', …]) is a worker, nbqueue.testing has one in this process",
    "WorkController": "app.worker_main(['worker', …]) is a worker, nbqueue.testing has one in this process",
    "add_defaults": "app.conf.update(…), and what code does not set comes from app.config_from_object(…)",
    "amqp": "there is no AMQP: queues are made on use, app.send_task(…, queue=…) sends there",
    "annotations": "app.conf.task_annotations",
    "config_from_cmdline": "each setting x may come from the environment as NBQUEUE_X",
    "loader": "app.import_default_modules() imports what has tasks",
    "log": "logging is set up by the worker: signals.setup_logging, after_setup_logger",
    "pool": "a process has one connection, which is kept: app.connection()",
    "producer_pool": "a process has one connection, which is kept: task.apply_async(…) uses it",
    "setup_security": "connections are encrypted and authenticated always: `nbqueue key`",
    "steps": "signals say when a worker starts and ends: worker_init, worker_ready, worker_shutdown",
    "user_options": "options of your own come from the environment, or app.conf",
}
#: attribute of Celery's tasks → what to do instead
OF_TASKS: Final[Mapping[str, str]] = {
    "Request": "methods on_failure, on_retry, … of a class of tasks are told of each run",
    "Strategy": "methods on_failure, on_retry, … of a class of tasks are told of each run",
    "add_around": "a class of tasks may have a __call__ of its own",
    "pop_request": "task.apply(args) runs it here, with a request",
    "push_request": "task.apply(args) runs it here, with a request",
    "request_stack": "self.request is the call that is being run",
    "send_event": "self.update_state(state=…, meta=…) is seen by whoever watches the task",
    "shadow_name": "@app.task(name=…) says what views call it",
    "signature_from_request": "self.s(*self.request.args, **self.request.kwargs)",
    "subtask_from_request": "self.s(*self.request.args, **self.request.kwargs)",
}
#: method of Celery's backends → what to do instead
OF_BACKENDS: Final[Mapping[str, str]] = {
    "cleanup": "results that have expired are deleted by themselves",
    "client": "`result.get()` waits for a value, `nbqueue.attach()` finds all",
    "forget": "app.AsyncResult(id).forget()",
    "get_children": "app.AsyncResult(id).children",
    "get_many": "app.ResultSet(results).iterate()",
    "get_result": "app.AsyncResult(id).result",
    "get_state": "app.AsyncResult(id).state",
    "get_status": "app.AsyncResult(id).state",
    "get_task_meta": "app.AsyncResult(id).peek()",
    "get_traceback": "app.AsyncResult(id).traceback",
    "mark_as_done": "a task returns its value, or raises",
    "mark_as_failure": "a task raises, or update_state(state='FAILURE', meta=…) and Ignore",
    "mark_as_started": "STARTED is reported by itself",
    "restore_group": "GroupResult.restore(id)",
    "save_group": "group_result.save()",
    "store_result": "a task sets its state by self.update_state(state=…, meta=…)",
    "wait_for": "app.AsyncResult(id).get()",
}


def without(sentence: str, name: str, ways_out: Mapping[str, str] = OF_APPS) -> str:
    """The sentence that something is not there, with the way out."""
    return f"{sentence}: {ways_out[name]}" if name in ways_out else sentence


#: arguments of Celery's applications that name classes of its parts, or mean nothing here
_PARTS: Final = ("amqp", "control", "events", "fixups", "loader", "log", "tasks", "autofinalize")


def without_parts(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Keyword arguments of an application without those that say nothing.

    Raises
    ------
    ConfigurationError
        One names a part of Celery's that an application does not have.
    """
    for name in _PARTS[:-1]:
        if settings.get(name):
            raise ConfigurationError(without(f"an application takes no {name}=", name))
    return {name: value for name, value in settings.items() if name not in _PARTS}
