"""``self.request``, as those who come from Celery use it."""

import pytest

from nbqueue.request import Request


def test_outside_of_a_run_it_says_that_the_function_was_called_directly():
    request = Request()
    assert request.called_directly
    assert (request.id, request.retries, request.hostname, request.is_eager) == (None, 0, None, False)


def test_headers_are_attributes_too_where_no_field_has_their_name():
    request = Request(id="i", headers={"tenant": 7, "id": "other"})
    assert (request.tenant, request.id) == (7, "i")
    assert request.get("tenant") == 7
    assert request.get("color", "none") == "none"
    with pytest.raises(AttributeError, match="color"):
        _ = request.color


def test_fields_may_be_set_for_the_rest_of_the_run():
    request = Request(args=(1,), kwargs={"x": 2})
    request.update({"shadow": "pretty"}, group="g")
    assert (request.shadow, request.group) == ("pretty", "g")
    assert (request.argsrepr, request.kwargsrepr) == ("(1,)", "{'x': 2}")
