"""Live widgets, as a person sees them in JupyterLab and in Notebook 7."""

import re

import pytest
from playwright.sync_api import Locator, expect

from tests.browser.jupyter import START, Notebook, wait_for

TASKS = """%%task
def train(epochs, seconds=0.05):
    for epoch in nbqueue.progress(range(epochs), description="epochs"):
        print("epoch", epoch, "<img src=x onerror='window.hacked = 1'>")
        time.sleep(seconds)
    return {"epochs": epochs}

def spin(rounds):
    for i in range(rounds):
        print(f"\\rround {i}", end="")
        time.sleep(0.02)

def divide(x):
    numbers = [1, 2]
    return numbers[x] / 0

def fit(sample):
    if sample % 500 == 13:
        raise ValueError(f"bad sample {sample}")
    return sample
"""
#: count the frames in which an output is lower than it was: a view that goes and comes back would be one
COUNT_FRAMES = """output => {
    let before = output.clientHeight;
    globalThis.seen = {all: 0, shrunk: 0};
    const look = () => {
        seen.all += 1;
        if (output.clientHeight < before) seen.shrunk += 1;
        before = output.clientHeight;
        requestAnimationFrame(look);
    };
    look();
}"""


@pytest.fixture(scope="module", autouse=True)
def tasks(notebook: Notebook) -> None:
    notebook.run(TASKS)


def kind(card: Locator) -> Locator:
    """What tells the state."""
    return card.get_by_role("status").first


def test_a_task_is_watched_until_it_succeeds(notebook, page, shot):
    card = notebook.run("trained = train.delay(40)\ntrained").card
    bar = card.get_by_role("progressbar")
    expect(kind(card)).to_have_attribute("data-kind", "running")
    wait_for(lambda: int(bar.get_attribute("aria-valuenow")) > 0, 10, "the first progress")
    before = int(bar.get_attribute("aria-valuenow"))
    expect(card).to_contain_text("left")
    expect(card.get_by_role("log")).to_contain_text("epoch 3")
    shot(f"running {notebook.front_end}")
    wait_for(lambda: int(bar.get_attribute("aria-valuenow")) > before, 10, "more progress")
    expect(card).to_contain_text("SUCCESS", timeout=10_000)
    expect(card).to_contain_text("{'epochs': 40}")
    expect(card).to_contain_text("40/40")
    expect(card.get_by_role("button", name="Cancel")).to_be_hidden()


def test_a_card_does_not_flicker_when_its_task_ends(notebook, page):
    cell = notebook.run("train.delay(10)")
    card = cell.card
    expect(card.get_by_role("log")).to_be_visible()
    # not the card, which may be another one by now
    page.evaluate(COUNT_FRAMES, cell.output.first.element_handle())
    expect(card).to_contain_text("SUCCESS")
    wait_for(lambda: page.evaluate("() => seen.all") > 60, 10, "some more frames")
    assert page.evaluate("() => seen.shrunk") == 0


def test_what_a_task_prints_is_never_html(notebook, page):
    card = notebook.run("trained").card
    expect(card.get_by_role("log")).to_contain_text("<img src=x onerror=")
    assert card.locator("img").count() == 0
    assert page.evaluate("() => window.hacked") is None


def test_a_line_that_is_printed_again_is_overwritten(notebook):
    card = notebook.run("spin.delay(20)").card
    expect(card).to_contain_text("SUCCESS", timeout=10_000)
    expect(card.get_by_role("log")).to_have_text("round 19")


def test_a_failure_shows_the_lines_of_its_cell(notebook, shot):
    card = notebook.run("divide.delay(1)").card
    expect(card).to_contain_text("FAILURE", timeout=10_000)
    traceback = card.get_by_label("Traceback")
    expect(traceback).to_contain_text("Cell In[2], line 15")
    expect(traceback).to_contain_text("return numbers[x] / 0")
    expect(traceback).to_contain_text("ZeroDivisionError: division by zero")
    shot(f"failure {notebook.front_end}")


def test_the_cancel_button_works_while_a_cell_blocks(notebook):
    card = notebook.run("long = train.delay(10_000)\nlong").card
    expect(kind(card)).to_have_attribute("data-kind", "running")
    blocked = notebook.start("long.get()")
    wait_for(lambda: blocked.running, 5, "the cell to run")
    card.get_by_role("button", name="Cancel").click()
    expect(card).to_contain_text("REVOKED", timeout=5_000)
    blocked.wait()
    expect(blocked.output).to_contain_text("TaskRevokedError")


def test_a_grid_of_two_thousand_tasks_completes(notebook, shot):
    card = notebook.run("fits = fit.map(range(2000))\nfits").card
    expect(card).to_contain_text("2,000/2,000", timeout=20_000)
    expect(card.get_by_role("button", name="1,996 done")).to_be_visible()
    card.get_by_role("button", name="4 failed").click()
    row = card.get_by_role("option").nth(1)
    expect(row).to_contain_text("#513")
    expect(row).to_contain_text("ValueError: bad sample 513")
    row.click()
    detail = card.locator(".nbq-detail")
    expect(detail).to_contain_text("raise ValueError")
    shot(f"grid {notebook.front_end}")
    detail.get_by_role("button", name="Close details").click()
    expect(detail).to_be_hidden()


def test_a_grid_is_reached_by_keyboard(notebook):
    card = notebook.run("fits").card
    canvas = card.get_by_role("img", name="2,000 tasks: 1,996 done, 4 failed")
    canvas.press("ArrowRight")
    canvas.press("ArrowRight")
    expect(card.locator(".nbq-detail")).to_contain_text("#1 fit")
    canvas.press("Escape")
    expect(card.locator(".nbq-detail")).to_be_hidden()


def test_all_tasks_of_a_grid_can_be_cancelled(notebook):
    card = notebook.run("naps = train.map([10_000] * 50)\nnaps").card
    expect(card.get_by_role("button", name="running")).to_be_visible()
    card.get_by_role("button", name="Cancel all").click()
    expect(card.get_by_role("button", name="50 cancelled")).to_be_visible(timeout=10_000)


def test_a_task_that_nobody_can_run_says_why(notebook):
    card = notebook.run("lost = fit.apply_async((1,), queue='gpu')\nlost").card
    expect(card).to_contain_text("gpu", timeout=10_000)
    expect(card).to_contain_text("no worker", timeout=10_000)
    notebook.run("lost.cancel()")
    expect(card).to_contain_text("REVOKED")


def test_a_page_that_is_loaded_again_shows_it_all_again(notebook, page):
    before = notebook.run("again = train.delay(20_000)\nagain")
    expect(kind(before.card)).to_have_attribute("data-kind", "running")
    notebook.save()
    notebook.open()
    expect(kind(before.card)).to_have_attribute("data-kind", "running", timeout=10_000)
    expect(before.card.get_by_role("log")).to_contain_text("epoch 1")
    before.card.get_by_role("button", name="Cancel").click()
    expect(before.card).to_contain_text("REVOKED")


def test_a_saved_notebook_shows_how_it_ended_without_a_kernel(notebook, page, shot):
    cell = notebook.run("train.delay(3)")
    expect(cell.card).to_contain_text("SUCCESS")

    def saved() -> dict[str, str]:
        [output] = notebook.save()["cells"][cell.index]["outputs"]
        return {kind: "".join(lines) for kind, lines in output["data"].items()}

    # the page is told by another way than the document, and may know sooner
    wait_for(lambda: "✓ train  SUCCESS" in saved()["text/plain"], 10, "the ending in the file")
    assert set(saved()) == {"text/html", "text/plain"}
    notebook.shut_down_kernel()
    notebook.open()
    expect(cell.output).to_contain_text("✓ SUCCESS")
    expect(cell.output).to_contain_text("{'epochs': 3}")
    expect(cell.output.locator(".nbq-card")).to_have_count(0)
    shot(f"frozen {notebook.front_end}")


def test_a_kernel_that_is_gone_is_said_to_be_gone(notebook, page):
    notebook.run(START)
    notebook.run(TASKS)
    card = notebook.run("train.delay(2000)").card
    expect(kind(card)).to_have_attribute("data-kind", "running")
    page.evaluate("() => jupyterapp.shell.currentWidget.sessionContext.restartKernel()")
    expect(card).to_contain_text("the kernel is gone", timeout=20_000)
    expect(card.get_by_role("button", name="Cancel")).to_be_hidden()


def test_after_a_restart_the_tasks_are_found_again_and_live(notebook, page, shot):
    before = page.locator(".nbq-card", has_text="the kernel is gone").last
    [id] = re.findall(r"\w+…\w+", before.inner_text())
    notebook.run(START)
    output = notebook.run("cluster = nbqueue.attach()\ncluster").output
    card = output.locator(".nbq-card", has_text=id)
    bar = card.get_by_role("progressbar")
    wait_for(lambda: int(bar.get_attribute("aria-valuenow") or 0) > 0, 10, "progress")
    seen = int(bar.get_attribute("aria-valuenow"))
    wait_for(lambda: int(bar.get_attribute("aria-valuenow")) > seen, 10, "progress that goes on")
    expect(card.get_by_role("log")).to_contain_text("epoch 1")
    shot(f"attached {notebook.front_end}")
    card.get_by_role("button", name="Cancel").click()
    expect(card).to_contain_text("REVOKED", timeout=10_000)


def test_no_page_had_an_error(page):
    # widgets are loaded from blobs; JupyterLab's own errors are not ours
    assert [error for error in page.errors if "blob:" in error] == []
