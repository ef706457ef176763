"""Loads tasks from standard input and runs them: a process that has nothing of the notebook."""

import pickle
import sys

from nbqueue.wire import failure, payload


def main() -> None:
    blobs: dict[str, bytes] = {}
    definitions = payload.Definitions(blobs.__getitem__, "w1")
    answers, sys.stdout = sys.stdout.buffer, sys.stderr
    while True:
        try:
            task, new = pickle.load(sys.stdin.buffer)
        except EOFError:
            return
        blobs.update(new)
        try:
            function, *_ = definitions.load(task)
            args, kwargs = payload.loads(task.payload)
            answer = payload.dumps_value(function(*args, **kwargs)), None
        except BaseException as exc:
            # without the line of this file that called the function
            tb = exc.__traceback__ and exc.__traceback__.tb_next
            answer = b"", failure.capture(exc.with_traceback(tb))
        pickle.dump(answer, answers)
        answers.flush()


if __name__ == "__main__":
    main()
