"""Ctrl-C and SIGTERM: finish the step, write a checkpoint, say how to go on. A second signal stops at once."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from trainer.errors import TrainingInterruptedError

_HOW_TO_GO_ON = "the same command with --resume continues"


class StopRequest:
    """Whether somebody asked the run to stop.

    While steps are being trained a first signal is only noted, and the trainer stops after the step; at any other time,
    and at a second signal, TrainingInterruptedError is raised where the program stands.
    """

    def __init__(self) -> None:
        self.is_made = False
        self._waits_for_step = False

    @contextmanager
    def listening(self) -> Iterator[StopRequest]:
        """Take the two signals over for the time of a run, in the main thread."""
        former = {number: signal.signal(number, self.receive) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield self
        finally:
            for number, handler in former.items():
                signal.signal(number, handler)

    @contextmanager
    def after_step(self) -> Iterator[None]:
        """Within this a first signal waits for the end of the step."""
        self._waits_for_step = True
        try:
            yield
        finally:
            self._waits_for_step = False

    def receive(self, number: int, _: FrameType | None = None) -> None:
        """Take one signal."""
        if self._waits_for_step and not self.is_made:
            self.is_made = True
            return
        raise TrainingInterruptedError(f"stopped by {signal.Signals(number).name}; {_HOW_TO_GO_ON}")

    def raise_if_made(self, place: str) -> None:
        """Raise TrainingInterruptedError, which says where a checkpoint was written, when a stop was asked for."""
        if self.is_made:
            raise TrainingInterruptedError(f"stopped after a checkpoint at {place}; {_HOW_TO_GO_ON} there")
