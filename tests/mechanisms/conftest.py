import pytest


@pytest.fixture(autouse=True)
def small_tensors():
    """A second thread gains nothing here and loses a lot on a busy machine."""
    from privassay.fl_core.simulate import one_thread

    with one_thread():
        yield
