"""A machine of its own, as far as a program can tell: made of Linux namespaces, needs root.

Each has a network stack, hostname, process table, System V IPC, and empty /run, /tmp, /dev/shm and HOME.
Its init is a shell that reads a pipe from this process: when the pipe closes, for whatever reason,
the kernel ends every process of the machine, and network and mounts vanish with it.
"""

import os
import subprocess
import sys
from pathlib import Path

import psutil

REPOSITORY = Path(__file__).parents[2]
#: Empty on every machine.
PRIVATE = ("/run", "/tmp", "/dev/shm")
HOME = "/tmp/home"
#: What must be seen although it may lie below a folder that is covered.
SHARED = (str(REPOSITORY), sys.prefix, sys.base_prefix)

# Opens what is shared before it is covered, and binds it to its place again (by descriptor: its path, which
# mount would otherwise look up, is that of an empty folder by then).
INIT = """
set -euo pipefail
hostname "$1"; shift
declare -A held
for folder in "$@"; do exec {descriptor}<"$folder"; held["$folder"]=$descriptor; done
for folder in PRIVATE; do mount -t tmpfs tmpfs "$folder"; done
for folder in "$@"; do
    [ -d "$folder" ] && continue
    mkdir -p "$folder"
    mount --no-canonicalize --bind "/proc/self/fd/${held["$folder"]}" "$folder"
done
mkdir HOME
ip link set lo up
echo up
cat
:
""".replace("PRIVATE", " ".join(PRIVATE)).replace("HOME", HOME)
# The shell stays behind `cat`, because a process table needs an init that reaps.


class Machine:
    """One host; a context manager that switches it off."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._started: list[subprocess.Popen[str]] = []
        flags = ["--mount", "--uts", "--net", "--ipc", "--pid", "--fork", "--mount-proc", "--kill-child"]
        self._unshare = subprocess.Popen(
            ["unshare", *flags, "bash", "-c", INIT, "init", name, *SHARED],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._unshare.stdout is not None
        assert self._unshare.stdout.readline() == "up\n", f"machine {name} did not come up"
        [init] = psutil.Process(self._unshare.pid).children()
        #: its init, as seen from outside
        self.pid = init.pid

    def __enter__(self) -> "Machine":
        return self

    def __exit__(self, *_: object) -> None:
        for process in (self._unshare, *self._started):  # the first one's pipe closes, and the others die
            process.communicate(timeout=10)
        assert self._unshare.returncode == 0, f"the init of {self.name} failed"

    def start(self, *command: str, input: str = "", keep: bool = False) -> "subprocess.Popen[str]":
        """Start a command there, in its HOME, with a bare environment; output and errors come together.

        ``keep``: its standard input stays open, for the caller to write to.
        """
        spaces = ["--mount", "--uts", "--net", "--ipc", "--pid"]
        path = f"{sys.prefix}/bin:{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
        process = subprocess.Popen(
            ["nsenter", f"--target={self.pid}", *spaces, f"--wdns={HOME}", *command],
            env={
                "HOME": HOME,
                "PATH": path,
                "LANG": "C.UTF-8",
                "PYTHONUNBUFFERED": "1",
                "PYTHONPATH": str(REPOSITORY),
            },
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self._started.append(process)
        assert process.stdin is not None
        process.stdin.write(input)
        process.stdin.flush()
        if not keep:
            process.stdin.close()
            process.stdin = None  # or communicate() would flush it
        return process

    def run(self, *command: str, input: str = "", timeout: float = 30, check: bool = True) -> str:
        """Run a command there to its end, and return what it printed.

        Raises
        ------
        AssertionError
            It failed (unless ``check`` is False).
        subprocess.TimeoutExpired
            It took more than ``timeout`` seconds.
        """
        process = self.start(*command, input=input)
        output, _ = process.communicate(timeout=timeout)
        self._started.remove(process)
        assert process.returncode == 0 or not check, f"{command} on {self.name}: {output}"
        return output

    def arguments(self) -> list[str]:
        """The command line of every process of the machine."""
        script = "for file in /proc/[0-9]*/cmdline; do tr '\\0' ' ' <$file; echo; done"
        return self.run("sh", "-s", input=script, check=False).splitlines()


def cable(one: Machine, other: Machine, addresses: tuple[str, str]) -> None:
    """Connect two machines by a network of their own, a veth pair."""
    pair = f"ip link add eth0 netns {one.pid} type veth peer name eth0 netns {other.pid}"
    subprocess.run(pair.split(), check=True)
    for machine, address in zip((one, other), addresses, strict=True):
        machine.run("ip", "address", "add", f"{address}/24", "dev", "eth0")
        machine.run("ip", "link", "set", "eth0", "up")
