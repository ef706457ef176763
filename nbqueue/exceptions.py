"""What can go wrong, and whose fault it is.

::

    NBQueueError
    ├── ConfigurationError          the caller's: a setting or an option that cannot be
    │   ├── UnknownSettingError     … there is none of that name (also AttributeError, KeyError)
    │   └── ConfigModuleNotFoundError  … nor a module to read them from (also ImportError)
    ├── SerializationError          the caller's: an argument, function or result that cannot travel
    ├── ConnectionLostError         the way to the broker: nobody listens, or it went away
    │   ├── AuthenticationError     … the broker does not know our key, or we not its
    │   └── ProtocolError           … the other side speaks another version, or garbage
    ├── SubmissionRefused           the broker said no to a task
    ├── NotRegistered               an application has no task of that name
    ├── ResultNotFoundError         the broker has no record of that id
    ├── ResultsDisabledError        the application keeps no results (also NotImplementedError)
    ├── ResultBackendError          a result backend did not keep a value, or cannot be asked
    ├── IncompleteStream            something that came of a result is not done yet
    ├── TimeoutError                (also the builtin one) waited long enough; the task goes on
    └── TaskError                   how a task ended, other than by its own exception
        ├── TaskRevokedError        cancelled or expired
        ├── WorkerLostError         its worker died of it, too often
        ├── TimeLimitExceeded       killed past its hard limit
        ├── MaxRetriesExceededError no retries left and no exception to end with
        ├── ChordError              a task that it was to take a value from has none
        └── RemoteError             its exception cannot be rebuilt here: class name and text are
    TaskPredicate                   what a task raises to say what is to become of it
    ├── Retry                       run me again later
    ├── Ignore                      record nothing
    └── Reject                      this is not for me
    SoftTimeLimitExceeded           raised inside of a task when its soft limit has passed

A task's own exception is raised by ``result.get()`` as it was, with the lines of its cell.
"""

import builtins


class NBQueueError(Exception):
    """Everything that nbqueue itself raises in the client."""


class ConfigurationError(NBQueueError, ValueError):
    """A setting or an option has no such name or value; the message names those that there are."""


class UnknownSettingError(ConfigurationError, AttributeError, KeyError):
    """No setting has that name; the message has the nearest one."""

    __str__ = Exception.__str__  # a KeyError shows its message in quotes


class ConfigModuleNotFoundError(ConfigurationError, ImportError):
    """The module that settings are to be read from is not there; it is looked for when one is first used."""


class SerializationError(NBQueueError, TypeError):
    """An argument, a function or a result cannot be pickled; the message names the part that cannot."""


class ConnectionLostError(NBQueueError, ConnectionError):
    """No way to the broker: nobody listens there, or it went away.  ``nbqueue doctor`` finds the cause."""


class AuthenticationError(ConnectionLostError):
    """The broker refused the key, or is not that key's.  ``nbqueue key`` there prints the right one."""


class ProtocolError(ConnectionLostError):
    """The other side speaks another version of nbqueue, or something else; install the same version."""


class SubmissionRefused(NBQueueError):
    """The broker did not accept the task; the message says why.  It was not run and will not be."""


class NotRegistered(NBQueueError, KeyError):
    """The application has no task of that name: import the module that has it, or name it in ``include``."""

    __str__ = Exception.__str__  # as above


class ResultNotFoundError(NBQueueError, LookupError):
    """The broker has no record of that id: it was never submitted there, has expired, was forgotten, or
    made room for newer results."""


class ResultsDisabledError(NBQueueError, NotImplementedError):
    """The application keeps no results (``backend='disabled://'``): leave the setting out, and the broker
    keeps them."""


class ResultBackendError(NBQueueError):
    """A result backend did not keep a task's value; the message has what it said."""


class IncompleteStream(NBQueueError):
    """Not all that came of a result is done: wait for it first, or ask with ``intermediate=True``."""


class TimeoutError(NBQueueError, builtins.TimeoutError):
    """The time given to ``get()`` is over; the task goes on, and ``get()`` may be called again."""


class TaskError(NBQueueError):
    """How a task ended, other than by an exception of its own."""


class TaskRevokedError(TaskError):
    """The task was cancelled, or expired before it started."""


class WorkerLostError(TaskError):
    """The process that ran the task died, as often as is allowed; the message has exit code or signal,
    peak memory and the last lines of its standard error."""


class TimeLimitExceeded(TaskError):
    """The task ran past its ``time_limit`` and was killed."""


class MaxRetriesExceededError(TaskError):
    """The task asked for another run, and had none left."""


class ChordError(TaskError):
    """A task of a chord's header or of a group failed or was revoked, so that what comes after it cannot run;
    the message names it."""


class RemoteError(TaskError):
    """The task raised an exception whose class cannot be loaded here.

    ``type``, ``module`` and ``traceback`` are those of the original.
    """

    def __init__(self, message: str, *, type: str = "", module: str = "", traceback: str = "") -> None:
        super().__init__(message)
        self.type = type
        self.module = module
        self.traceback = traceback

    def _render_traceback_(self) -> list[str]:
        """What IPython shows: the remote lines, since there are no others."""
        return [*self.traceback.splitlines(), *getattr(self, "__notes__", ())]


class TaskPredicate(Exception):
    """What a task raises to say what is to become of it."""


class Retry(TaskPredicate):
    """Run the task again after ``countdown`` seconds; raised by ``self.retry()``."""

    def __init__(
        self, message: str = "", *, exc: BaseException | None = None, countdown: float = 0.0
    ) -> None:
        super().__init__(message or (repr(exc) if exc is not None else "retry"))
        self.exc = exc
        self.countdown = countdown

    @property
    def when(self) -> float:
        """Celery's name of ``countdown``, in seconds."""
        return self.countdown

    def humanize(self) -> str:
        """When, in words."""
        return f"in {self.countdown:g}s"


class Ignore(TaskPredicate):
    """End the task without recording a value: SUCCESS with None, or what ``update_state`` set before."""


class Reject(TaskPredicate):
    """End the task as refused, or put it back into its queue with ``requeue=True``."""

    def __init__(self, reason: object = None, requeue: bool = False) -> None:
        super().__init__(reason, requeue)
        self.reason = reason
        self.requeue = requeue


class SoftTimeLimitExceeded(Exception):
    """Raised inside of a task when its ``soft_time_limit`` has passed, so that it can clean up."""


#: Celery's and kombu's names for errors of the same kind
ImproperlyConfigured = ConfigurationError
OperationalError = ConnectionLostError
CeleryError = NBQueueError
BackendError = BackendGetMetaError = BackendStoreError = ResultBackendError
QueueNotFound = SubmissionRefused
InvalidTaskError = ProtocolError
SecurityError = SerializationError

#: names of Celery's that nothing here raises or heeds, and what there is instead
_ELSEWHERE = {
    "AlreadyRegistered": "a task takes the place of an earlier one of its name",
    "AlwaysEagerIgnored": "task_always_eager holds for send_task, too",
    "CeleryCommandException": "a command of yours is click's",
    "CeleryWarning": "what is to be warned of is a UserWarning",
    "DuplicateNodenameWarning": "of workers with one name each is shown with its pid",
    "FixupWarning": "there are no fixups",
    "NotConfigured": "an application without a configuration has the local cluster",
    "SecurityWarning": "connections are encrypted and authenticated always",
    "Terminated": "a task that is cancelled gets KeyboardInterrupt, and its result is TaskRevokedError",
    "WorkerShutdown": "app.control.shutdown() lets workers finish what they run, and end",
    "WorkerTerminate": "app.control.shutdown() lets workers finish what they run, and end",
}


def __getattr__(name: str) -> type:
    if name in _ELSEWHERE:
        raise ImportError(f"{__name__} has no {name}: {_ELSEWHERE[name]}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
