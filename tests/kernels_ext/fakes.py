"""What ``%%submit`` needs of the client, run by hand: a submitted cell runs when the test says so."""

from nbqueue.states import FAILURE, PENDING, SUCCESS
from nbqueue.wire import payload
from tests.kernels_ext.test_text import VIEW


class Result:
    """An AsyncResult of a cell that has not run yet."""

    def __init__(self, name, function, args):
        self.name = name
        self.state = PENDING
        self._function = function
        self._sent = payload.dumps_arguments(args, {})
        self._callbacks = []
        self._value = b""

    def finish(self):
        """Run it as a worker would."""
        try:
            self._value = payload.dumps_value(self.run_here())
            self.state = SUCCESS
        except Exception as error:
            self._value = payload.dumps_value(error)
            self.state = FAILURE
        for callback in self._callbacks:
            callback(self)

    def run_here(self):
        """Run it, and let its error pass."""
        args, _ = payload.loads(self._sent)
        return self._function(*args)

    def get(self, timeout=None, propagate=True):
        value = payload.loads(self._value)
        if self.state == FAILURE and propagate:
            raise value
        return value

    def then(self, callback):
        self._callbacks.append(callback)

    def peek(self):
        return VIEW._replace(name=self.name, state=self.state)


class Submitted:
    """Stands for ``nbqueue.task``, and keeps what was sent."""

    def __init__(self):
        self.results = []
        self.options = {}

    def __call__(self, function, **options):
        self._function = function
        self.options = options
        return self

    def delay(self, *args):
        result = Result(self.options["name"], self._function, args)
        self.results.append(result)
        return result
