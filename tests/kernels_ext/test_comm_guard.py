"""Messages from pages are heard while a cell blocks, whatever the version of ipykernel."""

import time
from pathlib import Path

import pytest
from jupyter_client.manager import start_new_kernel

from kernels_ext.comm_guard import hear_while_busy

ROOT = Path(__file__).parents[2]

SHOW = """
from kernels_ext.widgets.result import ResultWidget
from tests.kernels_ext.widgets.fakes import FakeClient, FakeResult
client = FakeClient()
widget = ResultWidget(FakeResult(client, "a1"))
widget.show()
widget.model_id
"""
BLOCK = """
import time
print("blocking", flush=True)
end = time.monotonic() + 10
while not client.cancelled and time.monotonic() < end:
    time.sleep(0.01)
client.cancelled
"""


@pytest.fixture
def kernel(tmp_path, monkeypatch):
    for name in ("JUPYTER_RUNTIME_DIR", "JUPYTER_DATA_DIR", "JUPYTER_CONFIG_DIR", "IPYTHONDIR"):
        monkeypatch.setenv(name, str(tmp_path / name))
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    manager, client = start_new_kernel(kernel_name="python3")
    yield client
    client.stop_channels()
    manager.shutdown_kernel(now=True)


def value_of(kernel, request):
    """The value that a request's cell ends with."""
    while True:
        message = kernel.get_iopub_msg(timeout=30)
        if message["parent_header"].get("msg_id") != request:
            continue
        if message["msg_type"] == "execute_result":
            return message["content"]["data"]["text/plain"]
        assert message["msg_type"] != "error", message["content"]["evalue"]


def wait_for_output(kernel, request):
    while kernel.get_iopub_msg(timeout=30)["msg_type"] != "stream":
        continue


def new_subshell(kernel):
    """What JupyterLab does before it sends a comm's messages."""
    request = kernel.session.msg("create_subshell_request", {})
    kernel.control_channel.send(request)
    while True:
        reply = kernel.control_channel.get_msg(timeout=10)
        if reply["msg_type"] == "create_subshell_reply":
            return reply["content"]["subshell_id"]


def test_a_task_can_be_cancelled_while_a_cell_blocks(kernel):
    model = value_of(kernel, kernel.execute(SHOW)).strip("'")
    subshell = new_subshell(kernel)
    blocked = kernel.execute(BLOCK)
    wait_for_output(kernel, blocked)
    data = {"method": "custom", "content": {"type": "cancel", "index": None}}
    message = kernel.session.msg("comm_msg", {"comm_id": model, "data": data})
    message["header"]["subshell_id"] = subshell
    began = time.monotonic()
    kernel.shell_channel.send(message)
    assert value_of(kernel, blocked) == "['a1']"
    assert time.monotonic() - began < 5


def test_a_comm_without_routes_is_left_as_it_is():
    class Comm:
        pass

    comm = Comm()
    hear_while_busy(comm)
    assert vars(comm) == {}
