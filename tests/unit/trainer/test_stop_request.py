"""Ctrl-C and SIGTERM."""

import os
import signal

import pytest

from trainer.errors import TrainingInterruptedError
from trainer.training.stop_request import StopRequest


def test_a_first_signal_waits_for_the_end_of_the_step() -> None:
    stop = StopRequest()
    with stop.after_step():
        stop.receive(signal.SIGTERM)
        assert stop.is_made
    with pytest.raises(TrainingInterruptedError, match="after a checkpoint at step 3; the same command with --resume"):
        stop.raise_if_made("step 3")


def test_a_second_signal_stops_at_once() -> None:
    stop = StopRequest()
    with stop.after_step():
        stop.receive(signal.SIGINT)
        with pytest.raises(TrainingInterruptedError, match="stopped by SIGINT"):
            stop.receive(signal.SIGINT)


def test_a_signal_outside_of_steps_stops_at_once() -> None:
    with pytest.raises(TrainingInterruptedError, match=r"SIGTERM; the same command with --resume continues"):
        StopRequest().receive(signal.SIGTERM)


def test_signals_are_taken_over_for_the_run_only() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(TrainingInterruptedError), StopRequest().listening():
        os.kill(os.getpid(), signal.SIGTERM)
    assert signal.getsignal(signal.SIGTERM) is before


def test_without_a_signal_nothing_is_raised() -> None:
    StopRequest().raise_if_made("step 3")
