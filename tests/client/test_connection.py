"""``app.connection()``, and what stands in place of Celery's other inner parts."""

import pytest

from nbqueue import App
from nbqueue.client.elsewhere import OF_APPS, OF_BACKENDS
from nbqueue.exceptions import ConfigurationError, ConnectionLostError, UnknownSettingError
from nbqueue.testing import InProcessCluster


def test_a_broker_that_is_there_is_found() -> None:
    with InProcessCluster() as cluster:
        app = App("connected", broker=cluster.url)
        with app.connection() as connection:
            assert connection.ensure_connection(max_retries=3, timeout=5.0) is connection
            assert connection.connected
            assert connection.as_uri() == cluster.url
        assert app.connection_for_read(cluster.url).connected
        app.close()


def test_a_broker_that_is_not_there_is_told() -> None:
    app = App("connected", broker="zmq://127.0.0.1:1", connect_timeout=0.2)
    errors: list[BaseException] = []
    with pytest.raises(ConnectionLostError):
        app.connection().ensure_connection(errback=lambda error, _: errors.append(error))
    assert len(errors) == 1
    assert not app.connection().connected


@pytest.mark.parametrize("name", OF_APPS)
def test_a_part_of_celerys_applications_that_is_not_there_names_the_way_out(name: str) -> None:
    with pytest.raises(AttributeError) as caught:
        getattr(App("connected"), name)
    assert str(caught.value) == f"App has no {name!r}: {OF_APPS[name]}"


def test_an_error_of_a_property_is_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    app = App("connected")
    app.config_from_object({"result_backed": "rpc://"})
    with pytest.raises(UnknownSettingError, match="did you mean 'result_backend'"):
        _ = app.backend
    assert issubclass(UnknownSettingError, ConfigurationError | AttributeError)


@pytest.mark.parametrize("name", OF_BACKENDS)
def test_what_celerys_backends_do_names_the_way_out(name: str) -> None:
    with pytest.raises(AttributeError) as caught:
        getattr(App("connected").backend, name)
    assert str(caught.value) == f"app.backend has no {name!r}: {OF_BACKENDS[name]}"


def test_arguments_of_celerys_applications_are_taken_or_refused() -> None:
    app = App("parts", changes={"timezone": "Europe/Oslo"}, fixups=[], autofinalize=True, loader=None)
    assert app.conf.timezone == "Europe/Oslo"
    with pytest.raises(ConfigurationError, match=r"an application takes no loader=: app\.import_default"):
        App("parts", loader="proj.loaders:Mine")
