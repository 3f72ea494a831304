"""`sage-nb demo`: ask the documentation of the very versions installed here."""

from __future__ import annotations

import os
import sys
import warnings
from pathlib import Path

from sage_nb.corpora.pydocs import pydocs
from sage_nb.errors import BadValueError, MissingExtraError
from sage_nb.evaluation.measures import MEASURES, evaluate
from sage_nb.records.columns import text_table
from sage_nb.records.disk import home
from sage_nb.records.trec import read_qrels, read_queries
from sage_nb.retrieval.collection import Collection
from sage_nb.retrieval.rerank import rerank
from sage_nb.retrieval.stage import Stage

PACKAGES = ("stdlib", "numpy", "scipy")
DATA, NOTEBOOK = Path("data/pydocs"), Path("notebooks/00_quickstart.ipynb")
NAMES = {"R@100": "Recall@100", "RR": "MRR"}  # as papers call their means
SHOWN = (
    "stop a thread from keeping the program alive",
    "running mean without a loop",
    "group rows of a sorted list by a key",
    "solve a system of linear equations",
    "how do I read a gzip file line by line",
)


def demo() -> None:
    """Build the collection, answer five questions, measure all, run the quickstart notebook."""
    if not DATA.is_dir():
        raise BadValueError(f"sage-nb demo reads {DATA}, which is not here; run it in a checkout, or: make demo")
    print(f"Reading the documentation of {', '.join(PACKAGES)} as installed here …", flush=True)
    with warnings.catch_warnings():  # of modules for other systems, which cannot be imported here
        warnings.simplefilter("ignore", UserWarning)
        documents = list(pydocs(PACKAGES))
    collection = Collection("pydocs")
    print(collection.add(documents), flush=True)
    pipelines = _pipelines(collection)
    _answer(pipelines["hybrid"])
    _measure(pipelines)
    print(f"The quickstart notebook, run here: {_quickstart()}")
    jupyter = Path(sys.executable).with_name("jupyter")
    print(f"To run it yourself, and then the tutorials: {jupyter} lab {NOTEBOOK.parent}")


def _pipelines(collection: Collection) -> dict[str, Stage]:
    hybrid = collection.hybrid(100)
    return {
        "BM25": collection.lexical(100),
        "dense": collection.dense(100),
        "hybrid": hybrid,
        "hybrid + rerank": hybrid >> rerank(k=100, top=50),
    }


def _answer(pipeline: Stage) -> None:
    for question in SHOWN:
        print(f"\n? {question}")
        for hit in (pipeline % 3).search(question):
            words = " ".join(hit.document.text.partition("\n\n")[2].split())
            print(f"  {hit.rank}. {hit.document.id}  [{hit.document.source} {hit.document.meta['version']}]")
            print(f"     {words[:110]}")


def _measure(pipelines: dict[str, Stage]) -> None:
    from tqdm import tqdm

    queries, qrels = list(read_queries(DATA / "queries.jsonl")), read_qrels(DATA / "qrels.tsv")
    rows = []
    for name, pipeline in pipelines.items():
        run = pipeline.run(queries)
        found = list(tqdm(run, desc=name, total=len(queries), unit=" questions", leave=False))  # rerank: minutes
        means = evaluate(found, qrels).mean
        rows.append([name, *(f"{means[measure]:.3f}" for measure in MEASURES), f"{run.ms_per_question:.1f}"])
    print(f"\n{len(queries)} questions of {DATA}:")
    print(text_table(["pipeline", *(NAMES.get(each, each) for each in MEASURES), "ms/question"], rows))
    if len(pipelines) == 3:
        print("(no reranker on this machine: name one with rerank(model=...) to add its row)")
    print()


def _quickstart() -> Path:
    """The notebook's HTML; it is run again only when the notebook, or the package, changed since."""
    html = home() / "demo" / f"{NOTEBOOK.stem}.html"
    sources = [NOTEBOOK, *Path(__file__).parents[1].rglob("*.py")]
    if html.exists() and html.stat().st_mtime > max(path.stat().st_mtime for path in sources):
        return html
    try:
        import nbformat
        from nbclient import NotebookClient
        from nbconvert import HTMLExporter
    except ImportError as missing:
        raise MissingExtraError.of("running the notebook", missing.name or "nbclient", "dev") from missing
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    os.environ["SAGE_HOME"] = str(home())  # the kernel runs in the notebook's folder; it shares our collections
    client = NotebookClient(
        notebook,
        timeout=300,
        resources={"metadata": {"path": str(NOTEBOOK.parent)}},
        extra_arguments=["--IPKernelApp.log_level=ERROR"],  # what it says of sockets is not for here
    )
    client.execute()
    html.parent.mkdir(parents=True, exist_ok=True)
    html.write_text(HTMLExporter().from_notebook_node(notebook)[0], encoding="utf8")
    return html
