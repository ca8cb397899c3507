"""When a signal is acted upon."""

import os
import signal

import pytest

from trainer.process.interrupt import Interrupt, Interrupted


@pytest.fixture
def interrupt():
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)}
    yield Interrupt()
    for number, handler in handlers.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1])
def test_a_signal_during_a_step_is_only_noted(interrupt, number):
    with interrupt.deferred():
        os.kill(os.getpid(), number)
    assert interrupt.signal is number


def test_a_signal_breaks_off_the_wait_for_a_batch(interrupt):
    with pytest.raises(Interrupted), interrupt.deferred(), interrupt.waiting():
        os.kill(os.getpid(), signal.SIGINT)
    assert interrupt.signal is signal.SIGINT


def test_a_signal_noted_before_lets_no_wait_begin(interrupt):
    with interrupt.deferred():
        os.kill(os.getpid(), signal.SIGTERM)
        with pytest.raises(Interrupted), interrupt.waiting():
            raise AssertionError("waited")


def test_after_a_wait_signals_are_only_noted_again(interrupt):
    with interrupt.deferred():
        with interrupt.waiting():
            pass
        os.kill(os.getpid(), signal.SIGTERM)
    assert interrupt.signal is signal.SIGTERM
