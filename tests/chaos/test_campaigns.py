"""Every campaign in its short form; ``make chaos`` runs the full ones."""

import random
from pathlib import Path

import pytest

from tests.chaos.campaigns import cable_cut
from tests.chaos.every import CAMPAIGNS
from tests.chaos.redis_cluster import RedisCluster
from tests.redis.server import require


@pytest.mark.parametrize("letter", CAMPAIGNS)
def test_the_claims_hold(letter: str, tmp_path: Path) -> None:
    if letter == cable_cut.LETTER and not cable_cut.HAS_NAMESPACES:
        pytest.skip("makes network namespaces: needs root on Linux, and iproute2")
    campaign = CAMPAIGNS[letter]
    seed = random.randrange(10_000)
    print(f"again: make chaos CHAOS='{letter} --short --seed {seed}'")
    report = campaign.run(tmp_path, random.Random(seed), **campaign.SHORT)
    assert not report.broken, "\n".join(report.broken)


@pytest.mark.parametrize("letter", ["B", "W"])
def test_the_claims_hold_over_redis(letter: str, tmp_path: Path) -> None:
    require()
    campaign = CAMPAIGNS[letter]
    seed = random.randrange(10_000)
    print(f"again: make chaos CHAOS='{letter} --short --broker redis --seed {seed}'")
    report = campaign.run(tmp_path, random.Random(seed), **campaign.SHORT, site=RedisCluster)
    assert not report.broken, "\n".join(report.broken)
