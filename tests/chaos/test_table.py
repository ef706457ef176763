"""The page keeps what a run has not measured anew."""

from pathlib import Path

from tests.chaos import table
from tests.chaos.checker import Report


def page(folder: Path) -> Path:
    path = folder / "reliability.md"
    path.write_text(f"# Words\n\n{table.BEGIN}\n\n{table.END}\n\nMore words.\n")
    return path


def rows(path: Path) -> list[str]:
    return [line for line in path.read_text().splitlines() if line.startswith(("| A", "| B"))]


def test_a_run_of_one_campaign_leaves_the_rows_of_the_others(tmp_path: Path) -> None:
    path = page(tmp_path)
    table.write([Report("B", "this", tasks=1), Report("A", "that", tasks=2)], seed=7, page=path)
    table.write([Report("B", "this", tasks=3000)], seed=8, page=path)
    first, second = rows(path)
    assert first.startswith("| A | that | 2 |")
    assert first.endswith("| 7 |")
    assert second.startswith("| B | this | 3,000 |")
    assert path.read_text().startswith("# Words\n")
    assert path.read_text().endswith("\n\nMore words.\n")


def test_a_broken_claim_is_seen_in_the_page(tmp_path: Path) -> None:
    path = page(tmp_path)
    table.write([Report("A", "that", broken=["nothing is lost"])], seed=7, page=path)
    assert "**broken**: 1 claims" in rows(path)[0]


def test_the_page_has_its_place_for_the_figures() -> None:
    text = table.PAGE.read_text()
    assert text.count(table.BEGIN) == text.count(table.END) == 1
