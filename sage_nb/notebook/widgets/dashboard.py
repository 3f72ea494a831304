"""A job as it runs: how fast, what holds it up, what went wrong; and what can be done about it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from itertools import islice
from typing import Any, ClassVar

import traitlets

from sage_nb.errors import BadValueError, SageError
from sage_nb.notebook.display import WORKING
from sage_nb.notebook.widgets import job_facts
from sage_nb.notebook.widgets.drawn import Drawn
from sage_nb.notebook.widgets.job_facts import Facts, Rates
from sage_nb.records.disk import home
from sage_nb.retrieval.run import Run
from sage_nb.runtime.job import Job
from sage_nb.runtime.metrics import JobMetrics
from sage_nb.stream.policy import DeadLetter
from sage_nb.stream.storage import safe_name

EVERY = 0.5  # seconds between looks at the job, and so at least between two drawings: 2 Hz
AROUND = 5.0  # seconds between looks at the cluster
PAGE = 20  # dead letters listed at once
MOVING = ("now", "seconds")  # facts that go on by themselves, and are no news


class Dashboard(Drawn):
    """Watches a job or a run, with buttons to pause, resume, cancel it and to take a savepoint.

    Its dead letters can be opened and tried again. It follows the job until that ends or `close()`; after a resumption
    `job` is the one that goes on. The buttons work while a cell runs, too, where the kernel has subshells.

    >>> from sage_nb.runtime.environment import LocalEnvironment
    >>> env = LocalEnvironment("inverses")
    >>> env.from_collection([4, 2, 0]).map(lambda n: 1 / n, name="invert").for_each(float)
    >>> job = env.submit()
    >>> job.wait()
    'finished'
    >>> board = Dashboard(job)
    >>> board.letters["shown"][0]["error"]
    'ZeroDivisionError: division by zero'
    >>> board.on_open(board.letters["shown"][0]["key"])  # as the page does when it is clicked
    >>> board.opened["record"], "1 dead letter" in board.html(), "1 dead letter" in board.text()
    ('0', True, True)

    What the page asks for is done beside the kernel's work, and then said; what cannot be done, too:

    >>> def after(ask, *given):
    ...     ask(*given)
    ...     while board.doing:
    ...         time.sleep(0.01)
    ...     return board.said or board.wrong
    >>> after(board.on_retry)
    '0 of 1 dead letter went through; still open is ZeroDivisionError: division by zero (in invert)'
    >>> after(board.on_resume), after(board.on_pause), after(board.on_cancel), after(board.on_more)
    ("'inverses' is finished; submit it with fresh=True to run it once more", '', '', '')
    >>> after(board.on_savepoint)
    'no savepoint was taken: the job is finished; take one while it runs'
    >>> board.refresh()
    >>> board.close()
    """

    name: ClassVar[str] = "dashboard"
    facts: traitlets.Dict[str, Any] = traitlets.Dict().tag(sync=True)
    letters: traitlets.Dict[str, Any] = traitlets.Dict().tag(sync=True)
    opened: traitlets.Dict[str, Any] = traitlets.Dict().tag(sync=True)
    cluster: traitlets.Dict[str, Any] = traitlets.Dict().tag(sync=True)
    doing = traitlets.Unicode().tag(sync=True)
    said = traitlets.Unicode().tag(sync=True)
    wrong = traitlets.Unicode().tag(sync=True)

    def __init__(self, of: Job | Run) -> None:
        self._over = threading.Event()
        if not isinstance(of, (Job, Run)):
            raise BadValueError(
                f"Dashboard() takes a job or a run, got {of!r:.60}; env.submit() gives the one, %%sage NAME the other"
            )
        super().__init__()
        _heard_while_busy(self.comm)
        self._of, self._rates = of, Rates()
        self._looking, self._sending = threading.Lock(), threading.Lock()
        self._listed: dict[str, DeadLetter] = {}
        self._pages, self._around = 1, 0.0
        self._stamp: tuple[Any, ...] = ()  # what the list of dead letters was read for
        self.refresh()
        self._follow()

    @property
    def job(self) -> Job:
        """The one it watches."""
        return self._of.job if isinstance(self._of, Run) else self._of

    def refresh(self) -> None:
        """Look at the job now, and draw what is new."""
        with self._looking:
            job = self.job
            metrics = job.metrics()
            self._rates.note(metrics)
            new: Facts = {**job_facts.job_facts(metrics, self._rates), "cannot": self._cannot(metrics.status)}
            state = {"letters": self._letters(job, metrics), "cluster": self._nodes(job)}
            if _still(new) != _still(self.facts):
                state["facts"] = new
            if self.opened and self.opened["key"] not in self._listed:
                state["opened"] = {}
            self._show(**state)

    def close(self) -> None:
        """Watch no longer; the job runs on."""
        self._over.set()
        super().close()

    def on_pause(self) -> None:
        """Stop at a checkpoint taken now."""
        self._begin("pausing", self._pause)

    def on_resume(self) -> None:
        """Go on from there."""
        self._begin("resuming", self._resume)

    def on_cancel(self) -> None:
        """Stop at once."""
        self._begin("cancelling", self._cancel)

    def on_savepoint(self) -> None:
        """Keep its state in a folder of its own."""
        self._begin("taking a savepoint", self._savepoint)

    def on_open(self, key: str) -> None:
        """Show a dead letter whole; "" closes it."""
        letter = self._listed.get(key)
        self._show(opened=job_facts.letter_facts(letter, whole=True) if letter else {})

    def on_more(self) -> None:
        """List a page more of them."""
        self._pages, self._stamp = self._pages + 1, ()
        self._begin("reading dead letters", lambda: "")

    def on_retry(self, key: str = "") -> None:
        """Try one again, or with no key all that can be."""
        self._begin("trying again", lambda: self._retry(key))

    def html(self) -> str:
        """The same facts as tables."""
        return job_facts.html(self._now(), self.letters, self.cluster)

    def text(self) -> str:
        """The same in text."""
        return job_facts.text(self._now(), self.letters, self.cluster)

    def _follow(self) -> None:
        if self.facts["working"]:
            threading.Thread(target=self._watch, name="sage-dashboard", daemon=True).start()

    def _watch(self) -> None:
        working = True
        while working and not self._over.wait(EVERY):
            try:
                self.refresh()
            except SageError as error:  # a cluster that does not answer, say: it may be back
                self._show(wrong=str(error))
            working = self.facts["working"]

    def _begin(self, doing: str, act: Callable[[], str]) -> None:
        """Do something beside the kernel's work, saying so, and then what came of it."""
        self._show(doing=doing, said="", wrong="")
        threading.Thread(target=self._do, args=(doing, act), name="sage-dashboard-act", daemon=True).start()

    def _do(self, doing: str, act: Callable[[], str]) -> None:
        said, wrong = "", ""
        try:
            said = act()
            self._stamp = ()
            self.refresh()
        except Exception as error:  # noqa: BLE001  whatever it is, it is shown
            wrong = str(error) if isinstance(error, SageError) else f"{type(error).__name__}: {error}"
        self._show(said=said, wrong=wrong, doing="" if self.doing == doing else self.doing)

    def _pause(self) -> str:
        self.job.pause()
        return ""

    def _cancel(self) -> str:
        self.job.cancel()
        return ""

    def _resume(self) -> str:
        if isinstance(self._of, Run):
            self._of.resume()
            said = ""
        else:
            self._of = self._of.resume()
            said = "It goes on as the .job of this dashboard."
        self.refresh()
        self._follow()
        return said

    def _retry(self, key: str) -> str:
        if key and key not in self._listed:
            raise BadValueError("this dead letter is open no more; look at the list as it is now")
        return str(self.job.retry([self._listed[key]] if key else None))

    def _savepoint(self) -> str:
        at = time.strftime("%Y%m%d-%H%M%S")
        path = self.job.savepoint(str(home() / "savepoints" / f"{safe_name(self.job.name)}-{at}"))
        return f"Savepoint taken: env.submit(savepoint={path!r}) starts from it."

    def _cannot(self, status: str) -> Facts:
        """By button, why it does nothing now; "" where it does."""
        idle = "" if status in WORKING else f"it is {status}"
        keeps = isinstance(self._of, Run) or self._of.keeps
        stay = "" if keeps else "it keeps nothing in a folder to go on from (checkpoint=…)"
        back = f"it is {status}" if status in (*WORKING, "finished") else stay
        return {"pause": idle or stay, "resume": back, "savepoint": idle, "cancel": idle}

    def _letters(self, job: Job, metrics: JobMetrics) -> Facts:
        """Those listed; read anew only where there may be others than before."""
        stamp = (metrics.dead_letters, metrics.committed, metrics.status)
        if stamp == self._stamp:
            return self.letters
        self._stamp = stamp
        if not metrics.dead_letters:
            return {}
        most = PAGE * self._pages
        try:
            held = job.letters()
            found = list(islice(held, most))
        except (SageError, OSError) as error:
            return {"open": metrics.dead_letters, "shown": [], "why": str(error)}
        self._listed = {job_facts.key_of(each): each for each in found}
        open_ = max(len(found), metrics.dead_letters - held.closed)
        why = "" if found or not open_ else "They show here once a checkpoint holds them."
        shown = [job_facts.letter_facts(each) for each in found]
        return {"open": open_, "shown": shown, "more": len(found) == most, "why": why}

    def _nodes(self, job: Job) -> Facts:
        now = time.monotonic()
        if job.ended.is_set() or (self._around and now < self._around):
            return self.cluster
        status = job.cluster()
        self._around = now + AROUND if status is not None else float("inf")
        return job_facts.cluster_facts(status, job.name) if status is not None else {}

    def _now(self) -> Facts:
        return {**self.facts, "now": time.time()}

    def _show(self, **state: Any) -> None:
        """In one message, from whichever thread."""
        with self._sending, self.hold_sync():
            for name, value in state.items():
                self.set_trait(name, value)


def _still(facts: Facts) -> Facts:
    return {name: value for name, value in facts.items() if name not in MOVING}


def _heard_while_busy(comm: Any) -> None:
    """Messages go to the subshell that the page names.

    By itself ipykernel 7.4 hands them to the shell for which the widget spoke last; our threads speak for the main one,
    which may be busy with a cell for as long as the job takes. That route has no public name.
    """
    if hasattr(comm, "_reply_subshell_for"):
        comm._reply_subshell_for = lambda _data, named: named  # noqa: SLF001
