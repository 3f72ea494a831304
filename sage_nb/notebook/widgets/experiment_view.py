"""An experiment in a notebook: a table to sort, questions to open, plots whose points are cells."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import traitlets
from IPython.core.getipython import get_ipython

from sage_nb.errors import SageError, UnknownNameError
from sage_nb.evaluation.experiment import Experiment
from sage_nb.notebook.experiment_facts import HITS, cell_of, compared, facts_of, opened, rows_of
from sage_nb.notebook.experiment_picture import pictures
from sage_nb.notebook.widgets.drawn import Drawn
from sage_nb.records.markup import harmless


class ExperimentView(Drawn):
    """Shows a `sage.experiment` or a `sage.sweep`.

    `measure`, `chosen` (a pipeline's name) and `question` (an id, or "") are what is looked at: set them, or let them
    be set by a click. The others follow from them: `compared` has a bar for each question, `opened` the question's
    rankings side by side, `cell` the pipeline as a cell, `unsaid` what such a cell cannot say of it. `names` are the
    notebook's.

    >>> from sage_nb.evaluation.experiment import experiment
    >>> def found(result):
    ...     return result
    >>> view = ExperimentView(experiment({"nothing": found}, {"q1": "why?"}, {"q1": {"a": 1}}, measures=["RR"]))
    >>> print(view.cell)
    %%sage nothing
    found
    >>> view.question = "q1"
    >>> view.opened["rankings"][0]["found"]
    '0 hits'
    >>> "nothing" in view.html(), "nothing" in view.text()
    (True, True)
    """

    name: ClassVar[str] = "experiment"
    parts: ClassVar[tuple[str, ...]] = ("cells", "plots")
    facts: traitlets.Dict[str, Any] = traitlets.Dict().tag(sync=True)
    rows: traitlets.List[Any] = traitlets.List().tag(sync=True)
    measure = traitlets.Unicode().tag(sync=True)
    chosen = traitlets.Unicode().tag(sync=True)
    question = traitlets.Unicode().tag(sync=True)
    depth = traitlets.Int(HITS).tag(sync=True)
    compared: traitlets.Dict[str, Any] = traitlets.Dict().tag(sync=True)
    opened: traitlets.Dict[str, Any] = traitlets.Dict().tag(sync=True)
    cell = traitlets.Unicode().tag(sync=True)
    unsaid = traitlets.Unicode().tag(sync=True)
    own_id = traitlets.Unicode().tag(sync=True)
    wrong = traitlets.Unicode().tag(sync=True)

    def __init__(self, experiment: Experiment, *, names: Mapping[str, Any] | None = None) -> None:
        shell: Any = get_ipython()
        self._experiment, self._names = experiment, names if names is not None else shell.user_ns if shell else {}
        measure = experiment.measures[0]
        super().__init__(
            facts=facts_of(experiment), rows=rows_of(experiment), measure=measure, chosen=self._best(measure)
        )
        self.observe(self._compare, ["measure", "chosen"])
        self.observe(self._open, ["measure", "chosen", "question", "depth"])
        self.set_trait("own_id", self.model_id or "")
        self._compare()

    def html(self) -> str:
        """The table, and plots that nothing can be clicked in."""
        return self._experiment._repr_html_() + pictures(self._experiment, self.measure)

    def text(self) -> str:
        """The table."""
        return str(self._experiment)

    @traitlets.validate("measure", "chosen", "question")
    def _known(self, proposed: Any) -> str:
        held = self._experiment
        known = {"measure": held.measures, "chosen": held.names, "question": ["", *held.questions]}
        name, value = proposed["trait"].name, str(proposed["value"])
        value = next((each for each in known[name] if harmless(each) == value), value)  # as the browser knows it
        if value not in known[name]:
            kind = {"measure": "measure", "chosen": "pipeline", "question": "question"}[name]
            raise UnknownNameError.of(f"{kind} of the experiment", value, known[name])
        return value

    def _best(self, measure: str) -> str:
        """The pipeline with the highest mean that is not the baseline, if there is another."""
        held = self._experiment
        others = [name for name in held.names if name != held.baseline] or list(held.names)
        return max(others, key=lambda name: held.means[name][measure])

    def _compare(self, _change: object = None) -> None:
        self.set_trait("compared", compared(self._experiment, self.chosen, self.measure))
        cell, unsaid = cell_of(self._experiment, self.chosen, self._names)
        self.set_trait("cell", cell)
        self.set_trait("unsaid", unsaid)

    def _open(self, _change: object) -> None:
        self.set_trait("wrong", "")
        try:
            asked = (self._experiment, self.chosen, self.measure, self.question, self.depth)
            self.set_trait("opened", opened(*asked) if self.question else {})
        except SageError as error:
            self.set_trait("wrong", str(error))
