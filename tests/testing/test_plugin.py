"""The fixtures that users' tests get: used as they use them, in a pytest of their own."""

import os
import re
from pathlib import Path

import pytest

HOWTO = Path(__file__).parents[2] / "docs" / "howto" / "test-your-tasks.md"


def run(pytester: pytest.Pytester, source: str, **files: str) -> pytest.RunResult:
    pytester.makepyfile(**{"test_mine": source, **files})
    pytester.makeini("[pytest]\npythonpath = .")
    return pytester.runpytest_subprocess("-p", "no:cacheprovider")


def test_tasks_run_in_this_process(pytester: pytest.Pytester) -> None:
    result = run(
        pytester,
        """
        import os
        import nbqueue
        from nbqueue import shared_task

        @shared_task
        def shared(x):
            return -x

        @nbqueue.task
        def plain(x):
            return x + 1

        def test_all(nbqueue_app, nbqueue_worker):
            @nbqueue_app.task
            def pid():
                return os.getpid()

            assert pid.delay().get(timeout=20) == os.getpid()
            assert shared.delay(3).get(timeout=20) == -3
            assert plain.delay(3).get(timeout=20) == 4
            assert nbqueue_app.send_task(plain.name, (1,)).get(timeout=20) == 2

        def test_nothing_is_left_of_the_test_before(nbqueue_app):
            assert list(nbqueue_app.tasks) == [shared.name]
            assert nbqueue_app.client.ask("tasks") == []
        """,
    )
    result.assert_outcomes(passed=2)


def test_settings_and_queues_are_said_by_fixtures(pytester: pytest.Pytester) -> None:
    result = run(
        pytester,
        """
        import pytest

        @pytest.fixture
        def nbqueue_settings():
            return {"task_serializer": "json", "task_routes": {"tests.*": "low"}}

        @pytest.fixture
        def nbqueue_worker_parameters():
            return {"executors": 2}

        def test_it(nbqueue_app, nbqueue_worker):
            double = nbqueue_app.task(name="tests.double")(lambda x: 2 * x)
            result = double.delay(2)
            assert result.get(timeout=20) == 4
            assert result.queue == "low"
            with pytest.raises(TypeError):
                double.delay(object())
        """,
    )
    result.assert_outcomes(passed=1)


def test_the_environment_does_not_count(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NBQUEUE_BROKER", "zmq://production:1")
    source = """
        def test_it(nbqueue_app, nbqueue_worker):
            assert nbqueue_app.task(lambda: 1, name="one").delay().get(timeout=20) == 1
    """
    run(pytester, source).assert_outcomes(passed=1)
    assert os.environ["NBQUEUE_BROKER"] == "zmq://production:1"


def test_the_examples_of_the_howto_page_pass(pytester: pytest.Pytester) -> None:
    examples = re.findall(r"```python\n# (\S+)\n(.*?)```", HOWTO.read_text("utf-8"), re.DOTALL)
    assert len(examples) >= 5
    for name, source in examples:
        path = pytester.path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(source)
    pytester.makeini("[pytest]\npythonpath = .")
    result = pytester.runpytest_subprocess("-p", "no:cacheprovider")
    result.assert_outcomes(passed=sum(source.count("def test_") for _, source in examples))
