"""A shell in this process with the extension loaded: for tests that need no kernel and no broker."""

import pytest

import nbqueue


class Cells:
    """Runs cells as a notebook does, and returns how they ended."""

    def __init__(self, shell):
        self.shell = shell
        self.namespace = shell.user_ns

    def run(self, source):
        """The value of the last expression; raises what the cell raised."""
        result = self.shell.run_cell(source, store_history=True)
        result.raise_error()
        return result.result

    def fails(self, source):
        """The exception that the cell ended in."""
        result = self.shell.run_cell(source, store_history=True)
        return result.error_in_exec or result.error_before_exec


@pytest.fixture(scope="session")
def shell(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("IPYTHONDIR", str(tmp_path_factory.mktemp("ipython")))
        from IPython.testing.globalipapp import start_ipython  # starts a shell when it is imported

        yield start_ipython()


@pytest.fixture
def cells(shell):
    """A notebook in which ``%load_ext nbqueue`` was run."""
    shell.reset(new_session=True)
    nbqueue.load_ipython_extension(shell)
    yield Cells(shell)
    nbqueue.unload_ipython_extension(shell)
