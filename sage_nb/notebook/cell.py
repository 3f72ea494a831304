"""The `%%sage` cell without IPython: source in, pipeline or run out; every step a value that a test can look at."""

from __future__ import annotations

import ast
import inspect
import linecache
import re
import traceback
import zlib
from collections.abc import Iterable, Mapping, MutableMapping, Sequence
from difflib import get_close_matches
from importlib import import_module
from pathlib import Path
from types import CodeType
from typing import Any

from sage_nb.errors import BadValueError, SageError, UnknownNameError
from sage_nb.notebook.continuation import join_lines, unclosed
from sage_nb.notebook.options import CellOptions
from sage_nb.notebook.session import CellRun, Session
from sage_nb.records.values import Query
from sage_nb.retrieval.questions import as_queries
from sage_nb.retrieval.run import Run
from sage_nb.retrieval.stage import Stage

FILE = "<%%sage>"
Namespace = MutableMapping[str, Any]

WORDS = {
    "Collection": "sage_nb.retrieval.collection",
    "Extractive": "sage_nb.retrieval.extractive",
    "Routes": "sage_nb.retrieval.routes",
    "OpenAIChat": "sage_nb.models.openai_chat",
    "TransformersChat": "sage_nb.models.transformers_chat",
    "answer": "sage_nb.retrieval.answer",
    "calibrate": "sage_nb.retrieval.calibrate",
    "chat": "sage_nb.retrieval.chat",
    "chunk": "sage_nb.records.chunk",
    "compress": "sage_nb.retrieval.compress",
    "decompose": "sage_nb.retrieval.variants",
    "dedup": "sage_nb.retrieval.refine",
    "fit_calibration": "sage_nb.evaluation.calibration",
    "fuse": "sage_nb.retrieval.stage",
    "hyde": "sage_nb.retrieval.expand",
    "iterative": "sage_nb.retrieval.iterative",
    "learn_routes": "sage_nb.retrieval.learn_routes",
    "llm_rerank": "sage_nb.retrieval.llm_rerank",
    "load": "sage_nb.records.load",
    "min_score": "sage_nb.retrieval.refine",
    "mmr": "sage_nb.retrieval.mmr",
    "multi_query": "sage_nb.retrieval.variants",
    "multi_source": "sage_nb.retrieval.multi_source",
    "prf": "sage_nb.retrieval.prf",
    "prompt": "sage_nb.retrieval.prompt",
    "pydocs": "sage_nb.corpora.pydocs",
    "reorder": "sage_nb.retrieval.refine",
    "rerank": "sage_nb.retrieval.rerank",
    "rm3": "sage_nb.retrieval.rm3",
    "tune_fusion": "sage_nb.evaluation.tuning",
    "where": "sage_nb.records.filters",
}


def vocabulary() -> dict[str, Any]:
    """The words a cell may use without importing them."""
    return {name: getattr(import_module(home), name) for name, home in WORDS.items()}


class CellError(SageError):
    """A mistake in a cell: a sentence, and where."""

    def __init__(self, sentence: str, line: int = 0, column: int = 0, text: str = "") -> None:
        super().__init__(sentence, line, column, text)
        self.sentence, self.line, self.column, self.text = sentence, line, column, text

    def __str__(self) -> str:
        return self.sentence

    def _render_traceback_(self) -> list[str]:
        """The sentence; below it the line with a caret."""
        if not self.text:
            return [self.sentence]
        prefix = f"  line {self.line}: "
        return [self.sentence, prefix + self.text, " " * (len(prefix) + self.column) + "^"]


def evaluate(source: str, namespace: Namespace, vocabulary: Mapping[str, Any]) -> Any:
    """Run the cell's statements in `namespace`, and give the value of its last expression.

    Names that the namespace lacks are looked up in `vocabulary`, which leaves nothing behind in the namespace.
    """
    tree = _parsed(source)
    if not tree.body or not isinstance(tree.body[-1], ast.Expr):
        raise CellError("the %%sage cell gives no pipeline; end it with an expression such as handbook.hybrid(k=10)")
    before = ast.Module(tree.body[:-1], [])
    last = ast.Expression(tree.body[-1].value)
    lent = {name: value for name, value in vocabulary.items() if name not in namespace}
    namespace.update(lent)
    try:
        name = _remembered(source)
        _execute(compile(before, name, "exec"), namespace)
        return _execute(compile(last, name, "eval"), namespace)
    except (SageError, NameError, AttributeError, TypeError) as wrong:
        raise _explained(wrong, source, namespace) from wrong
    finally:
        for name, value in lent.items():
            if namespace.get(name) is value:
                del namespace[name]


def pipeline_of(source: str, namespace: Namespace) -> Stage:
    """The cell's pipeline."""
    stage = evaluate(source, namespace, vocabulary())
    if not isinstance(stage, Stage):
        raise CellError(
            f"the %%sage cell must end with a pipeline, this one ends with a {type(stage).__name__}; "
            f"write for example handbook.hybrid(k=10)"
        )
    return stage


def questions_of(on: str, namespace: Mapping[str, Any]) -> list[Query]:
    """The questions that `--on` names: a variable that holds some, or the path of a file."""
    if on in namespace:
        given = namespace[on]
    elif Path(on).is_file():
        given = Path(on)
    else:
        names = [name for name in namespace if not name.startswith("_")]
        raise CellError(
            str(UnknownNameError.of("name of questions", on, get_close_matches(on, names, n=5) or names[-5:]))
        )
    try:
        return as_queries(given)
    except SageError as wrong:
        raise CellError(f"--on {on}: {wrong}") from wrong


def begin(
    session: Session, stage: Stage, queries: Sequence[Query], options: CellOptions, source: str, namespace: Namespace
) -> CellRun:
    """The cell's run, under way, and bound to the name given: what it has answered is there at once."""
    try:
        begun = session.begin(stage, queries, options, source)
    except SageError as wrong:
        raise CellError(str(wrong), *_spoken_of(str(wrong), source)) from wrong
    if options.name:
        namespace[options.name] = begun.run
    return begun


def failure_of(begun: CellRun, source: str) -> CellError | None:
    """Why the run failed, shown at the part of the cell that it speaks of; None where it did not."""
    try:
        begun.run.job.wait()
    except SageError as wrong:
        failure = CellError(str(wrong), *_spoken_of(str(wrong), source))
        failure.__cause__ = wrong
        return failure
    return None


def cell(text: str, namespace: Namespace, *, session: Session | None = None, **options: Any) -> Stage | Run:
    """What a `%%sage` cell does, in a script: `text` is the cell, `options` are those of its first line.

    The pipeline or, with `on`, its run, whose results are there; bound in `namespace` to `name`, if one is given.

    >>> from tempfile import TemporaryDirectory
    >>> from sage_nb.records.values import Document
    >>> from sage_nb.retrieval.collection import Collection
    >>> with TemporaryDirectory() as folder:
    ...     notes = Collection(folder + "/notes", encoder=None)
    ...     added = notes.add([Document("a", "Barriers align."), Document("b", "Windows slide.")], progress=False)
    ...     cell("notes.lexical(k=2) % 1", {"notes": notes}).search("sliding window").hits[0].document.id
    'b'
    """
    asked = CellOptions(**options)
    stage = pipeline_of(text, namespace)
    if asked.on is None:
        if asked.name:
            namespace[asked.name] = stage
        return stage
    held = session or Session()
    begun = begin(held, stage, questions_of(asked.on, namespace), asked, text, namespace)
    if not asked.background:
        begun.kept.wait()
        if (failure := failure_of(begun, text)) is not None:
            raise failure
    return begun.run


def _spoken_of(sentence: str, source: str) -> tuple[int, int, str]:
    """The place of the first name in quotes that stands in the cell, or else of its last expression."""
    for name in re.findall(r"'([^']+)'", sentence):
        for number, line in enumerate(source.split("\n"), start=1):
            if (column := line.find(name)) >= 0:
                return line_of(source, number, column)
    last = _parsed(source).body[-1]
    return line_of(source, last.lineno, join_lines(source).column(last.lineno, last.col_offset))


def line_of(source: str, line: int, column: int) -> tuple[int, int, str]:
    """Line, column and text of a place, with the column inside the text."""
    lines = source.split("\n")
    if not 1 <= line <= len(lines):
        return line, 0, ""
    return line, max(0, min(len(lines[line - 1]), column)), lines[line - 1]


def _execute(code: CodeType, namespace: Namespace) -> Any:
    return eval(code, dict_of(namespace))  # noqa: S307  the cell is the user's own code, in the user's own kernel


def dict_of(namespace: Namespace) -> dict[str, Any]:
    """The namespace as the dict that `eval` wants (IPython's is one already)."""
    if not isinstance(namespace, dict):
        raise BadValueError(f"a cell runs in a dict of names, got a {type(namespace).__name__}")
    return namespace


def _remembered(source: str) -> str:
    """A name for the cell as a file: a function that it defines is known by its source, as one of any other cell."""
    text = join_lines(source).text
    name = f"{FILE[:-1]} {zlib.crc32(text.encode('utf8', 'surrogatepass')):08x}>"
    linecache.cache[name] = (len(text), None, text.splitlines(keepends=True), name)
    return name


def _is_ours(frame: traceback.FrameSummary) -> bool:
    return frame.filename.startswith(FILE[:-1])


def _parsed(source: str) -> ast.Module:
    joined = join_lines(source)
    try:
        return ast.parse(joined.text, FILE)
    except SyntaxError as wrong:
        raise _not_python(wrong, source) from wrong


def _not_python(wrong: SyntaxError, source: str) -> CellError:
    if (opened := unclosed(source)) is not None:
        bracket, line, column = opened
        return CellError(f"the cell is not Python: {bracket!r} was never closed", *line_of(source, line, column))
    line = wrong.lineno or 1
    place = line_of(source, line, join_lines(source).column(line, (wrong.offset or 1) - 1))
    if place[2].lstrip().startswith(">>") and not any(each.strip() for each in source.split("\n")[: line - 1]):
        return CellError(
            "the cell begins with >>, and there is nothing above to go on with; begin with a retriever", *place
        )
    return CellError(f"the cell is not Python: {wrong.msg}", *place)


def _explained(wrong: Exception, source: str, namespace: Namespace) -> Exception:
    """`wrong` as a CellError at its place; an error from deep inside somebody's code stays what it is."""
    frames = traceback.extract_tb(wrong.__traceback__)
    own = [frame for frame in frames if _is_ours(frame)]
    shallow = isinstance(wrong, SageError) or _is_ours(frames[-1])
    if not own or not (shallow or _is_call_mistake(wrong) or _is_lacking(wrong, frames)):
        return wrong
    joined, line = join_lines(source), own[-1].lineno or 1
    before = joined.text.split("\n")[line - 1].encode()[: getattr(own[-1], "colno", 0) or 0]  # Python counts bytes
    return CellError(
        _sentence(wrong, namespace), *line_of(source, line, joined.column(line, len(before.decode(errors="replace"))))
    )


def _is_call_mistake(wrong: Exception) -> bool:
    """Whether Python refused the arguments, which it does in the caller's frame."""
    return isinstance(wrong, TypeError) and "argument" in str(wrong)


def _is_lacking(wrong: Exception, frames: Sequence[traceback.FrameSummary]) -> bool:
    """Whether the cell asked for an attribute that is not there, of what says so in a frame of its own."""
    return isinstance(wrong, AttributeError) and frames[-1].name == "__getattr__" and _is_ours(frames[-2])


def _sentence(wrong: Exception, namespace: Namespace) -> str:
    match wrong:
        case NameError(name=str(name)):
            near = _near(name, namespace)
            return str(UnknownNameError.of("name", name, near)) if near else f"the name {name!r} is not defined"
        case AttributeError(name=str(name)) if wrong.obj is not None:
            said = str(wrong).partition(". Did you mean")[0]
            return said if ";" in said else f"{said}{_hint(name, dir(wrong.obj))}"  # ours say what is meant
        case TypeError() if found := re.search(r"unexpected keyword argument '(\w+)'", str(wrong)):
            return f"{str(wrong).partition('. Did you mean')[0]}{_hint(found[1], _parameters(str(wrong), namespace))}"
    return str(wrong)


def _hint(name: str, known: Iterable[str]) -> str:
    near = get_close_matches(name, [each for each in known if not each.startswith("_")], n=1)
    return f"; did you mean {near[0]!r}?" if near else ""


def _near(name: str, namespace: Namespace) -> list[str]:
    """Names like it: a whole kernel's namespace is no help."""
    return get_close_matches(name, [each for each in namespace if not each.startswith("_")], n=5)


def _parameters(message: str, namespace: Namespace) -> list[str]:
    """The parameters of the function that a TypeError names, as far as it can be found."""
    name = message.partition("(")[0]
    owner, _, method = name.rpartition(".")
    places = [value for value in namespace.values() if type(value).__name__ == owner or method == ""]
    functions = [getattr(value, method, None) for value in places] if owner else [namespace.get(name)]
    functions += [
        getattr(type(value), method, None) for value in namespace.values() if method and hasattr(value, method)
    ]
    found = next((each for each in functions if callable(each)), None)
    return list(inspect.signature(found).parameters) if found else []
