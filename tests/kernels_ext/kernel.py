"""A real kernel, driven as JupyterLab does it."""

import re
import signal
import time
from typing import NamedTuple

from jupyter_client.manager import start_new_kernel

_COLOURS = re.compile(r"\x1b\[[0-9;]*m")


class Reply(NamedTuple):
    """What running a cell gave."""

    #: text/plain of the cell's value
    value: str
    #: what was printed
    printed: str
    #: without colours
    traceback: str


class Kernel:
    """A kernel of its own process; ``run`` one cell after the other."""

    def __init__(self, folder, env):
        self._manager, self._client = start_new_kernel(kernel_name="python3", cwd=str(folder), env=env)

    def run(self, source, timeout=60):
        """Run a cell to its end."""
        request = self._client.execute(source, allow_stdin=False)
        parts = {"value": "", "printed": "", "traceback": ""}
        deadline = time.monotonic() + timeout
        while True:
            message = self._client.get_iopub_msg(timeout=deadline - time.monotonic())
            if message["parent_header"].get("msg_id") != request:
                continue
            kind, content = message["msg_type"], message["content"]
            if kind == "status" and content["execution_state"] == "idle":
                return Reply(**parts)
            if kind == "stream":
                parts["printed"] += content["text"]
            elif kind in ("execute_result", "display_data"):
                parts["value"] += content["data"].get("text/plain", "")
            elif kind == "error":
                parts["traceback"] = _COLOURS.sub("", "\n".join(content["traceback"]))

    def value(self, source):
        """The text of a cell's value; the cell must not fail."""
        reply = self.run(source)
        assert not reply.traceback, reply.traceback
        return reply.value

    def complete(self, source, cursor):
        """What Tab offers."""
        return self._client.complete(source, cursor, reply=True, timeout=30)["content"]["matches"]

    def inspect(self, source):
        """What Shift-Tab or ``?`` shows."""
        return self._client.inspect(source, reply=True, timeout=30)["content"]["data"].get("text/plain", "")

    def kill(self):
        """End it without a chance to say anything."""
        self._manager.signal_kernel(signal.SIGKILL)
        self._manager.provisioner.process.wait(timeout=10)

    def close(self):
        self._client.stop_channels()
        self._manager.shutdown_kernel(now=True)
