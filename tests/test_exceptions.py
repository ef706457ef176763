"""Errors under the names that other people's code imports them by."""

import pytest

from nbqueue import exceptions, states


def test_celerys_names_of_errors_are_ours() -> None:
    assert exceptions.CeleryError is exceptions.NBQueueError
    assert issubclass(exceptions.ImproperlyConfigured, exceptions.CeleryError)
    assert exceptions.BackendStoreError is exceptions.ResultBackendError


@pytest.mark.parametrize("name", exceptions._ELSEWHERE)
def test_an_error_that_nothing_raises_says_what_there_is_instead(name: str) -> None:
    with pytest.raises(ImportError, match=rf"nbqueue\.exceptions has no {name}: "):
        exec(f"from nbqueue.exceptions import {name}")


def test_states_are_ordered_from_the_end_to_the_beginning_as_in_celery() -> None:
    order = sorted(["PENDING", "SUCCESS", "STARTED", "PROGRESS", "RETRY"], key=states.precedence)
    assert order == ["SUCCESS", "PROGRESS", "STARTED", "RETRY", "PENDING"]
