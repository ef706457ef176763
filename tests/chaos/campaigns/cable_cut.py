"""E: the cable between two machines is cut and mended; they are made of namespaces, which needs root."""

import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path
from random import Random

import msgspec

from tests.chaos import ledger
from tests.chaos.checker import Evidence, Report, unexplained
from tests.chaos.client import Call, ClientOptions
from tests.chaos.cluster import ROOT, until
from tests.chaos.outcomes import Outcome, Question
from tests.hosts.machine import HOME, Machine, cable

LETTER = "E"
SHORT = {"cuts": (1, 12)}
FULL = {"cuts": (1, 10, 60)}
#: whether this process can make machines
HAS_NAMESPACES = sys.platform == "linux" and os.geteuid() == 0 and shutil.which("ip") is not None
NEAR, FAR = "10.78.0.1", "10.78.0.2"
PORT = 7656
URL = f"zmq://{NEAR}:{PORT}"
EXECUTORS = 4
#: seconds that a task takes, that work goes on before and between cuts, and within which it has to be back
TASK, CALM, BACK = 0.5, 1.0, 5.0
#: tasks that a client has to submit, far more than there is time for
ENDLESS = 10_000
#: seconds between signs of life, and without one after which a worker is given up: the settings' defaults
HEARTBEAT, LEASE = 2.0, 10.0
#: an address that nobody has: what is sent there is gone without a word
NOBODY = "02:00:00:00:00:01"


def run(folder: Path, random: Random, *, cuts: tuple[float, ...]) -> Report:
    """The broker is on one machine, client and worker on the other.  While the cable is cut packets vanish:
    nobody is told, and no connection is reset."""
    report = Report(LETTER, f"cable cut for {', '.join(f'{cut:g}' for cut in cuts)} s")
    with Machine("alpha") as near, Machine("beta") as far:
        cable(near, far, (NEAR, FAR))
        site = _Site(near, far, folder)
        site.start_broker()
        site.start_worker()
        site.start_client()
        until(lambda: len(site.runs()) > EXECUTORS, 30, "work is going on")
        for cut in cuts:
            time.sleep(CALM + random.random())
            back = site.cut(cut)
            report.notes.append(f"back {back:.1f} s after {cut:g} s")
            report.require(back <= BACK, f"back within {BACK:g} s of {cut:g} s without cable: {back:.1f} s")
        site.end_client(timeout=60)
        evidence = site.evidence(timeout=60)
    report.judge(evidence)
    long = sum(cut + HEARTBEAT > LEASE for cut in cuts)
    report.allowed = f"≤ {long * EXECUTORS} running when the worker was given up"
    if not long:
        strange = unexplained(evidence.runs, given_up=())
        report.require(not strange, f"a cut shorter than a lease makes nothing run again: {strange}")
    report.require(report.repeated <= long * EXECUTORS, f"at most that many run again: {report.repeated}")
    return report


class _Site:
    """Both machines and what runs there."""

    def __init__(self, near: Machine, far: Machine, folder: Path) -> None:
        self.near, self.far, self.folder = near, far, folder
        #: HOME of the far machine, as seen from here
        self.far_home = Path(f"/proc/{far.pid}/root{HOME}")

    def start_broker(self) -> None:
        broker = self.near.start("env", f"PYTHONPATH={ROOT}", "nbqueue", "broker", "--bind", f"{NEAR}:{PORT}")
        self._until_said(broker, "ready")
        [self.key] = re.findall(r"NBQUEUE_KEY=\S+", self.near.run("nbqueue", "key"))

    def start_worker(self) -> None:
        address = f"{NEAR}:{PORT}"
        command = f"nbqueue worker --connect {address} -c {EXECUTORS} -n far -l WARNING"
        self._until_said(self._there(command), "ready.")

    def start_client(self) -> None:
        calls = [Call("work", [HOME, TASK])] * ENDLESS
        options = ClientOptions(url=URL, folder=HOME, calls=calls, window=3 * EXECUTORS)
        (self.far_home / "client.json").write_bytes(msgspec.json.encode(options))
        self.client = self._there(f"python -m tests.chaos.client {HOME}/client.json")

    def end_client(self, timeout: float) -> None:
        """Have it submit no more, and wait until it has its outcomes."""
        (self.far_home / "enough").touch()
        said, _ = self.client.communicate(timeout=timeout)
        assert self.client.returncode == 0, f"the client failed: {said}"

    def runs(self) -> list[ledger.Run]:
        return ledger.read_runs(self.far_home / "ledger")

    def seen(self) -> list[list[str]]:
        return [line.split(" ", 1) for line in ledger.read(self.far_home / "seen")]

    def cut(self, seconds: float) -> float:
        """Cut the cable for so long; returns how many seconds after it was mended work goes on: tasks start,
        and outcomes arrive."""
        for machine, other in ((self.near, FAR), (self.far, NEAR)):
            machine.run(
                "ip", "neighbour", "replace", other, "lladdr", NOBODY, "dev", "eth0", "nud", "permanent"
            )
        time.sleep(seconds)
        started, arrived = len(self.runs()), len(self.seen())
        for machine, other in ((self.near, FAR), (self.far, NEAR)):
            machine.run("ip", "neighbour", "del", other, "dev", "eth0")
        mended = time.monotonic()
        until(lambda: len(self.runs()) > started and len(self.seen()) > arrived, 60, "work goes on")
        return time.monotonic() - mended

    def evidence(self, timeout: float) -> Evidence:
        acknowledged = ledger.read(self.far_home / "acknowledged")
        question = Question(url=URL, ids=acknowledged, timeout=timeout)
        (self.far_home / "question.json").write_bytes(msgspec.json.encode(question))
        process = self._there(f"python -m tests.chaos.outcomes {HOME}/question.json")
        answer, _ = process.communicate(timeout=timeout + 60)
        assert process.returncode == 0, answer
        final = msgspec.json.decode(answer, type=dict[str, Outcome])
        seen = [(id, msgspec.json.decode(outcome, type=Outcome)) for id, outcome in self.seen()]
        return Evidence(acknowledged, self.runs(), seen, final)

    def _there(self, command: str) -> "subprocess.Popen[str]":
        script = f"export {self.key} PYTHONPATH={ROOT}\nexec {command}\n"
        return self.far.start("sh", "-s", input=script)

    def _until_said(self, process: "subprocess.Popen[str]", word: str) -> None:
        assert process.stdout is not None
        said = ""
        while word not in said:
            line = process.stdout.readline()
            assert line, f"ended without saying {word!r}: {said}"
            said += line
