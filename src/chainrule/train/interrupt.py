"""Ctrl-C: the first one asks, a second one does not wait."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def first_ctrl_c(ask: Callable[[], object]) -> Iterator[None]:
    """The first Ctrl-C calls `ask`, and nothing else happens; a second one interrupts at once, as it would have.

    Python lets only the main thread handle signals: on another one nothing is changed.

    >>> asked = threading.Event()
    >>> with first_ctrl_c(asked.set):
    ...     signal.raise_signal(signal.SIGINT)
    >>> asked.is_set()
    True
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.getsignal(signal.SIGINT)

    def handle(*_: object) -> None:
        ask()
        signal.signal(signal.SIGINT, before)

    signal.signal(signal.SIGINT, handle)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
