"""``make chaos``: the campaigns in full, one after the other, with a table at the end.

The figures go into ``docs/explain/reliability.md``.  ``make chaos CHAOS="A C --seed 7"`` runs some of them
with the choices of another run; ``--short`` is the form in which the tests run them, and writes nothing;
``--broker redis`` puts Redis to them, killed and started as the broker is, and writes nothing either.
"""

import argparse
import os
import random
import shutil
import sys
import tempfile
import time
from pathlib import Path

from rich.console import Console

from tests.chaos import table
from tests.chaos.campaigns import cable_cut
from tests.chaos.checker import Report
from tests.chaos.every import CAMPAIGNS, over_redis
from tests.chaos.redis_cluster import RedisCluster

console = Console()


def main() -> int:
    asked = _arguments()
    seed = random.randrange(1_000_000) if asked.seed is None else asked.seed
    console.print(f"seed {seed}")
    possible = list(CAMPAIGNS) if asked.broker == "zmq" else over_redis()
    letters = [letter for letter in asked.letters or possible if letter in possible]
    if cable_cut.LETTER in letters and not cable_cut.HAS_NAMESPACES:
        letters.remove(cable_cut.LETTER)
        console.print(f"{cable_cut.LETTER} is left out: it needs root on Linux, and iproute2")
    reports = [_run(letter, seed, asked) for letter in letters]
    console.print(table.drawn(reports))
    if not asked.short and asked.broker == "zmq":
        table.write(reports, seed)
    for report in reports:
        for claim in report.broken:
            console.print(f"[bold red]{report.letter}[/] does not show that {claim}", highlight=False)
    return int(any(report.broken for report in reports))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make chaos", description=__doc__)
    parser.add_argument("letters", nargs="*", choices=[*CAMPAIGNS, []], metavar="LETTER")
    parser.add_argument("--seed", type=int, help="of all random choices; else a new one")
    parser.add_argument("--short", action="store_true", help="as the tests do it; the page is left alone")
    parser.add_argument("--broker", choices=["zmq", "redis"], default="zmq", help="what is put to it")
    return parser.parse_args()


def _run(letter: str, seed: int, asked: argparse.Namespace) -> Report:
    """Run a campaign in a folder of its own, which is kept for inspection if a claim does not hold."""
    campaign = CAMPAIGNS[letter]
    folder = Path(tempfile.mkdtemp(prefix="nbq-"))
    os.environ["NBQUEUE_DATA_DIR"] = str(folder / "user")
    os.environ["NBQUEUE_RUNTIME_DIR"] = str(folder / "run")
    console.print(f"[bold]{letter}[/] {campaign.__doc__.splitlines()[0][3:]}", highlight=False)
    began = time.monotonic()
    try:
        size = campaign.SHORT if asked.short else campaign.FULL
        options = {**size, "site": RedisCluster} if asked.broker == "redis" else size
        report = campaign.run(folder / "site", random.Random(f"{seed} {letter}"), **options)
    except AssertionError as error:
        report = Report(letter, "", broken=[f"it comes to its end: {error}"])
    report.seconds = time.monotonic() - began
    if report.broken:
        console.print(f"  [red]broken[/]; its files are in {folder}", highlight=False)
    else:
        shutil.rmtree(folder, ignore_errors=True)
    return report


if __name__ == "__main__":
    sys.exit(main())
