"""I: tasks are revoked while they wait; then everything is killed and started again."""

from pathlib import Path
from random import Random

from tests.chaos.checker import Report
from tests.chaos.client import Call
from tests.chaos.cluster import Cluster, kill

LETTER = "I"
SHORT = {"tasks": 100}
FULL = {"tasks": 1_000}
#: tasks that are submitted afterwards, to see that work is done at all
OTHERS = 20
#: seconds that half of the tasks are held back, far less than they have until the end
COUNTDOWN = 2.0


def run(folder: Path, random: Random, *, tasks: int, site: type[Cluster] = Cluster) -> Report:
    """Half of them wait for a worker, half for their time; none may run, whatever is restarted."""
    report = Report(LETTER, f"{tasks} revoked, then SIGKILL of the broker and of all workers, and restart")
    calls = [Call("work", [str(folder), 0.0], {"countdown": COUNTDOWN * (n % 2)}) for n in range(tasks)]
    others = [Call("work", [str(folder), 0.0], {"countdown": COUNTDOWN * (n % 2)}) for n in range(OTHERS)]
    with site(folder) as cluster:
        broker = cluster.start_broker()
        cluster.wait(cluster.start_client(calls, window=tasks, stay=False, revoke=True), timeout=60)
        revoked = set(cluster.acknowledged())
        kill(broker)
        broker = cluster.start_broker()
        workers = cluster.start_workers(2)
        client = cluster.start_client(others)
        cluster.wait_for(OTHERS / 2, "ledger", timeout=60)
        for process in (broker, *workers):
            kill(process)
        cluster.start_broker()
        cluster.start_workers(2)
        cluster.wait(client, timeout=60)
        evidence = cluster.evidence(timeout=60)
    report.judge(evidence)
    ran = {run.id for run in evidence.runs} & revoked
    report.notes.append(f"{len(ran)} of the revoked ran")
    report.require(len(revoked) == tasks, f"all were acknowledged: {len(revoked)}")
    report.require(not ran, f"none of the revoked runs: {ran}")
    states = [evidence.final[id].state for id in revoked]
    report.require(set(states) == {"REVOKED"}, f"all show that they were revoked: {set(states)}")
    done = {id for id, outcome in evidence.final.items() if outcome.state == "SUCCESS"}
    report.require(len(done) == OTHERS, f"the others succeed: {len(done)} of {OTHERS}")
    report.allowed = "what ran at the restart"
    return report
