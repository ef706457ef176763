"""Signals: functions of yours that are called when something happens to a task or a worker.

::

    from nbqueue.signals import task_failure

    @task_failure.connect
    def tell(sender=None, task_id=None, exception=None, **others):
        page_somebody(sender.name, exception)

Names, arguments and rules are Celery's.  Each signal is sent in the process where the thing happens:

    ===================  ==========================================================================
    who sends a task     ``before_task_publish``, ``after_task_publish``
    the executor         ``worker_process_init``, ``worker_process_shutdown``, ``task_received``,
                         ``task_prerun``, ``task_success``, ``task_failure``, ``task_retry``,
                         ``task_revoked``, ``task_internal_error``, ``task_postrun``,
                         ``setup_logging``, ``after_setup_logger``, ``after_setup_task_logger``
    the supervisor       ``celeryd_init``, ``celeryd_after_setup``, ``worker_init``,
                         ``worker_before_create_process``, ``import_modules``, ``worker_ready``,
                         ``worker_shutting_down``, ``worker_shutdown``, and the first two of logging
                         once more
    ===================  ==========================================================================

A receiver that raises is logged, and changes nothing.  Whoever sends often looks at ``Signal.used`` first, so
that signals cost the reading of an attribute where nobody listens to any.
"""

import inspect
import logging
import threading
import warnings
import weakref
from collections.abc import Callable
from typing import Any, ClassVar, Final, TypeAlias, TypeVar

Receiver: TypeAlias = Callable[..., Any]
_R = TypeVar("_R", bound=Receiver)
#: who: (function or dispatch_uid, sender)
_Key: TypeAlias = tuple[object, object]

_logger = logging.getLogger(__name__)


class Signal:
    """One thing that may happen.

    Parameters
    ----------
    providing_args
        Names of what receivers are given beside ``signal`` and ``sender``; for readers.
    name
        For messages.
    """

    #: somebody in this process has listened to some signal
    used: ClassVar[bool] = False

    def __init__(self, providing_args: "set[str] | list[str] | None" = None, name: str = "") -> None:
        self.name = name
        self.providing_args = frozenset(providing_args or ())
        #: key and (a weak reference to) the receiver; empty when nobody listens
        self.receivers: list[tuple[_Key, Any]] = []
        self._lock = threading.RLock()

    def __repr__(self) -> str:
        return f"<Signal: {self.name}>"

    def __reduce__(self) -> "tuple[Callable[[str], Signal], tuple[str]]":
        # a function of the notebook that mentions one: there it is the signal of that process
        return _named, (self.name,)

    def connect(self, *args: Any, **options: Any) -> Any:
        """Call a function whenever the signal is sent: ``@signal.connect``, ``@signal.connect(sender=add)``
        or ``signal.connect(function, sender=…)``.

        Parameters
        ----------
        receiver
            Takes ``signal``, ``sender`` and what the signal provides, by name, and has to take ``**others``.
        sender
            Only what comes from there: a task or its name, or whatever object sends; None: from anywhere.
        weak
            Forget the function when nobody else holds it.  False: keep it.
        dispatch_uid
            A name: of several receivers with the same one, the first counts.
        retry
            Taken for Celery's sake; it does nothing there either, unless a receiver raises.

        Raises
        ------
        ValueError
            The function does not take ``**others``: it would fail when a signal has something new to tell.
        """
        if args and callable(args[0]) and not _is_task(args[0]):
            self._connect(args[0], *args[1:], **options)
            return args[0]

        def connect(receiver: _R) -> _R:
            self._connect(receiver, *args, **options)
            return receiver

        return connect

    def _connect(
        self,
        receiver: Receiver,
        sender: object = None,
        weak: bool = True,
        dispatch_uid: object = None,
        retry: bool = False,
    ) -> None:
        if not _takes_others(receiver):
            raise ValueError(f"a receiver of signals has to take **kwargs, and {receiver!r} does not")
        key = (dispatch_uid or _identity(receiver), _key_of(sender))
        Signal.used = True
        with self._lock:
            self._sweep()
            if not any(known == key for known, _ in self.receivers):
                self.receivers = [*self.receivers, (key, _reference(receiver) if weak else receiver)]

    def disconnect(
        self,
        receiver: Receiver | None = None,
        sender: object = None,
        weak: bool | None = None,
        dispatch_uid: object = None,
    ) -> bool:
        """Call it no more; returns whether it was connected with these."""
        key = (dispatch_uid or _identity(receiver), _key_of(sender))
        with self._lock:
            left = [item for item in self.receivers if item[0] != key]
            found = len(left) != len(self.receivers)
            self.receivers = left
            self._sweep()
        return found

    def has_listeners(self, sender: object = None) -> bool:
        """Whether somebody would be called."""
        return bool(self._live(_key_of(sender)))

    def send(self, sender: object, **named: Any) -> list[tuple[Receiver, Any]]:
        """Call those who listen; returns each with what it returned, or the exception that it raised."""
        responses: list[tuple[Receiver, Any]] = []
        if not self.receivers:
            return responses
        for receiver in self._live(_key_of(sender)):
            try:
                responses.append((receiver, receiver(signal=self, sender=sender, **named)))
            except Exception as error:
                _logger.exception("Signal handler %r raised: %r", receiver, error)
                responses.append((receiver, error))
        return responses

    send_robust = send

    def _live(self, sender: object) -> list[Receiver]:
        live = []
        for (_, wanted), held in self.receivers:
            if wanted is None or wanted == sender:
                receiver = held() if isinstance(held, weakref.ReferenceType) else held
                if receiver is not None:
                    live.append(receiver)
        return live

    def _sweep(self) -> None:
        """Let go of receivers that nobody holds any more."""
        self.receivers = [
            item
            for item in self.receivers
            if not (isinstance(item[1], weakref.ReferenceType) and item[1]() is None)
        ]


def _takes_others(receiver: Receiver) -> bool:
    try:
        parameters = inspect.signature(receiver).parameters.values()
    except (TypeError, ValueError):  # has none to be seen
        return True
    return any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters)


def _reference(receiver: Receiver) -> Any:
    if inspect.ismethod(receiver):
        return weakref.WeakMethod(receiver)
    try:
        return weakref.ref(receiver)
    except TypeError:  # of a kind that cannot be held weakly
        return receiver


def _identity(receiver: object) -> object:
    if inspect.ismethod(receiver):
        return id(receiver.__self__), id(receiver.__func__)
    return id(receiver)


def _is_task(thing: object) -> bool:
    return getattr(thing, "__nbqueue_definition__", None) is True


def _key_of(sender: object) -> object:
    """What a sender is known by: a task by its name, since it is another object in each process."""
    if sender is None or isinstance(sender, str):
        return sender
    name = getattr(sender, "__nbqueue_sender__", None)
    if isinstance(name, str):
        return name
    return getattr(sender, "name", None) if _is_task(sender) else id(sender)


def _named(name: str) -> Signal:
    signal = globals()[name]
    assert isinstance(signal, Signal)
    return signal


_ARGUMENTS: Final = {
    "before_task_publish": "body exchange routing_key headers properties declare retry_policy",
    "after_task_publish": "body exchange routing_key headers",
    "task_received": "request",
    "task_prerun": "task_id task args kwargs",
    "task_postrun": "task_id task args kwargs retval state",
    "task_success": "result",
    "task_retry": "request reason einfo",
    "task_failure": "task_id exception args kwargs traceback einfo",
    "task_internal_error": "task_id args kwargs request exception traceback einfo",
    "task_revoked": "request terminated signum expired",
    "celeryd_init": "instance conf options",
    "celeryd_after_setup": "instance conf",
    "worker_init": "",
    "worker_before_create_process": "",
    "worker_ready": "",
    "worker_process_init": "",
    "worker_process_shutdown": "pid exitcode",
    "worker_shutting_down": "sig how exitcode",
    "worker_shutdown": "",
    "import_modules": "",
    "setup_logging": "loglevel logfile format colorize",
    "after_setup_logger": "logger loglevel logfile format colorize",
    "after_setup_task_logger": "logger loglevel logfile format colorize",
}


def _signal(name: str) -> Signal:
    return Signal(_ARGUMENTS[name].split(), name)


#: a client is about to send a task; what is changed in ``headers`` travels along
before_task_publish: Final = _signal("before_task_publish")
#: it was handed to the connection
after_task_publish: Final = _signal("after_task_publish")
#: an executor was given a task
task_received: Final = _signal("task_received")
#: its function is about to be called
task_prerun: Final = _signal("task_prerun")
#: it has ended, in whatever way
task_postrun: Final = _signal("task_postrun")
task_success: Final = _signal("task_success")
task_retry: Final = _signal("task_retry")
task_failure: Final = _signal("task_failure")
#: a method of the task's class failed, rather than the task itself
task_internal_error: Final = _signal("task_internal_error")
#: it was cancelled while this executor had it
task_revoked: Final = _signal("task_revoked")
#: before all else, with the options of the worker
celeryd_init: Final = _signal("celeryd_init")
celeryd_after_setup: Final = _signal("celeryd_after_setup")
worker_init: Final = _signal("worker_init")
worker_before_create_process: Final = _signal("worker_before_create_process")
worker_ready: Final = _signal("worker_ready")
worker_process_init: Final = _signal("worker_process_init")
worker_process_shutdown: Final = _signal("worker_process_shutdown")
worker_shutting_down: Final = _signal("worker_shutting_down")
worker_shutdown: Final = _signal("worker_shutdown")
#: whoever listens sets up logging himself
setup_logging: Final = _signal("setup_logging")
after_setup_logger: Final = _signal("after_setup_logger")
after_setup_task_logger: Final = _signal("after_setup_task_logger")
#: an application is about to import what has tasks
import_modules: Final = _signal("import_modules")

_NO_BEAT: Final = "there is no beat process: the broker fires periodic tasks"
_NO_GREENLETS: Final = "there are no pools of greenlets; worker_process_init is sent by all others"
#: Celery's signals that are never sent, and why
_SILENT: Final = {
    "beat_init": _NO_BEAT,
    "beat_embedded_init": _NO_BEAT,
    "eventlet_pool_started": _NO_GREENLETS,
    "eventlet_pool_preshutdown": _NO_GREENLETS,
    "eventlet_pool_postshutdown": _NO_GREENLETS,
    "eventlet_pool_apply": _NO_GREENLETS,
    "heartbeat_sent": "app.events(['worker-heartbeat']) has the heartbeats of all workers",
    "task_rejected": "the broker gives a worker no message that it cannot read",
    "task_sent": "it is after_task_publish",
    "task_unknown": "the broker gives a worker no task that it does not have",
    "user_preload_options": "options of your own come from the environment, or app.conf",
}


def __getattr__(name: str) -> Signal:
    if name not in _SILENT:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    warnings.warn(f"the signal {name} is never sent: {_SILENT[name]}", stacklevel=2)
    signal = globals()[name] = Signal(name=name)
    return signal
