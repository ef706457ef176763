"""The page about Redis says what the code needs and does."""

from pathlib import Path

import pytest

from nbqueue.transports.redis import rights
from nbqueue.transports.redis.address import Address

DOCS = Path(__file__).parents[2] / "docs"
PAGE = (DOCS / "howto/redis.md").read_text()


def test_the_rights_are_those_that_are_needed() -> None:
    assert f"ACL SETUSER nbqueue on >PASSWORD {rights.rule('default')}\n" in PAGE


@pytest.mark.parametrize(
    ("url", "nodes", "master"),
    [
        ("redis://redis.example.org/0", [("redis.example.org", 6379)], ""),
        ("redis://node1,node2,node3/0", [("node1", 6379), ("node2", 6379), ("node3", 6379)], ""),
        (
            "sentinel://sentinel1,sentinel2,sentinel3/0?master_name=mymaster",
            [("sentinel1", 26379), ("sentinel2", 26379), ("sentinel3", 26379)],
            "mymaster",
        ),
        (
            "sentinel://sentinel1:26379/0;sentinel://sentinel2:26379/0?master_name=mymaster",
            [("sentinel1", 26379), ("sentinel2", 26379)],
            "mymaster",
        ),
        ("redis+sentinel://HOST,HOST/mymaster/0", [("host", 26379), ("host", 26379)], "mymaster"),
    ],
)
def test_each_url_of_the_page_is_read(url: str, nodes: list[tuple[str, int]], master: str) -> None:
    assert url in PAGE
    address = Address(url)
    assert (list(address.nodes()), address.master) == (nodes, master)
