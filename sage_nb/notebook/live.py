"""The one display of a cell: drawn anew at most twice a second while its run works, and once more at its end."""

from __future__ import annotations

import threading
import time
from typing import Any, Protocol

from IPython import display as front
from IPython.core.interactiveshell import InteractiveShell

from sage_nb.notebook.display import WORKING
from sage_nb.runtime.job import Job

EVERY = 0.5  # seconds between drawings: 2 Hz
LOOK = 0.02  # seconds between looks at a run that may have ended
SOON = 0.3  # seconds within which a run that ends is drawn once only


class Live(Protocol):
    """What can be drawn while a job works; `settle` is called when it has ended."""

    @property
    def job(self) -> Job:
        """The job."""
        ...

    def settle(self) -> None:
        """Come to the state that is drawn last."""
        ...


class LiveDisplay:
    """Shows a job in a front end that can change what it has drawn; elsewhere once, at the end."""

    def __init__(self, view: Live, shell: InteractiveShell) -> None:
        self._view, self._changes = view, hasattr(shell, "kernel")
        self._handle: Any = None

    def watch(self) -> None:
        """Until the run has ended; the stop button stops the run, and what it has computed stays."""
        job = self._view.job
        try:
            self._follow()
        except KeyboardInterrupt:
            threading.Thread(target=job.pause, name="sage-stop", daemon=True).start()
            self._until_stopped()
        self._view.settle()
        self._draw(last=True)

    def watch_behind(self) -> None:
        """As `watch`, while other cells run."""
        self._draw()
        threading.Thread(target=self.watch, name="sage-display", daemon=True).start()

    def _follow(self) -> None:
        next_time = time.monotonic() + SOON
        while self._view.job.status in WORKING:
            time.sleep(LOOK)
            if time.monotonic() >= next_time:
                self._draw()
                next_time = time.monotonic() + EVERY

    def _until_stopped(self) -> None:
        end = time.monotonic() + 1.5
        while self._view.job.status in WORKING and time.monotonic() < end:
            time.sleep(LOOK)

    def _draw(self, *, last: bool = False) -> None:
        if not self._changes and not last:
            return
        if self._handle is None:
            display: Any = front.display
            self._handle = display(self._view, display_id=True)
        else:
            self._handle.update(self._view)
