"""Every campaign in its short form; ``make chaos`` runs the full ones."""

import os
import random
import shutil
import sys
from pathlib import Path

import pytest

from tests.chaos.campaigns import cable_cut
from tests.chaos.every import CAMPAIGNS

HAS_NAMESPACES = sys.platform == "linux" and os.geteuid() == 0 and shutil.which("ip") is not None


@pytest.mark.parametrize("letter", CAMPAIGNS)
def test_the_claims_hold(letter: str, tmp_path: Path) -> None:
    if letter == cable_cut.LETTER and not HAS_NAMESPACES:
        pytest.skip("makes network namespaces: needs root on Linux, and iproute2")
    campaign = CAMPAIGNS[letter]
    seed = random.randrange(10_000)
    print(f"again: make chaos CHAOS='{letter} --short --seed {seed}'")
    report = campaign.run(tmp_path, random.Random(seed), **campaign.SHORT)
    assert not report.broken, "\n".join(report.broken)
