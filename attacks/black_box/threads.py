"""One thread: on problems this small more of them gain nothing, and lose a lot when others run."""

from contextlib import AbstractContextManager, nullcontext


def one_thread() -> AbstractContextManager[object]:
    """A context in which linear algebra and OpenMP keep to one thread, where that can be set."""
    try:
        import threadpoolctl  # type: ignore[import-untyped,import-not-found,unused-ignore]
    except ImportError:  # it comes with scikit-learn, which the core does not need
        return nullcontext()
    limits: AbstractContextManager[object] = threadpoolctl.threadpool_limits(1)
    return limits
