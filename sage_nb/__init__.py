"""A Jupyter-first RAG toolkit: retrieval pipelines as expressions, over collections on disk.

The names below are handed on when first asked for, so that `import sage_nb` loads no heavy library.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

__version__ = "0.1.0"

_HOMES = {
    "sage_nb.corpora.pydocs": ["pydocs"],
    "sage_nb.errors": [
        "BadValueError", "CollectionError", "GeneratorError", "MissingExtraError", "ModelError", "SageError",
        "UnknownNameError",
    ],
    "sage_nb.evaluation.calibration": ["fit_calibration"],
    "sage_nb.evaluation.cross_validation": ["cross_validate"],
    "sage_nb.evaluation.experiment": ["Experiment", "experiment"],
    "sage_nb.evaluation.measures": ["evaluate"],
    "sage_nb.evaluation.sweep": ["Sweep", "sweep"],
    "sage_nb.evaluation.tuning": ["tune_fusion"],
    "sage_nb.models.generator": ["Generator", "Message", "generator"],
    "sage_nb.models.openai_chat": ["OpenAIChat"],
    "sage_nb.models.registry": ["cross_encoder", "encoder"],
    "sage_nb.models.transformers_chat": ["TransformersChat"],
    "sage_nb.notebook.cell": ["cell"],
    "sage_nb.notebook.session": ["clear_cache"],
    "sage_nb.notebook.widgets.builder": ["PipelineBuilder"],
    "sage_nb.notebook.widgets.chat_view": ["ChatView"],
    "sage_nb.notebook.widgets.dashboard": ["Dashboard"],
    "sage_nb.notebook.widgets.experiment_view": ["ExperimentView"],
    "sage_nb.notebook.widgets.explorer": ["Explorer"],
    "sage_nb.records.beir": ["read_beir", "write_beir"],
    "sage_nb.records.chunk": ["chunk"],
    "sage_nb.records.filters": ["where"],
    "sage_nb.records.ir_dataset": ["read_ir_dataset"],
    "sage_nb.records.load": ["load"],
    "sage_nb.records.trec": ["read_qrels", "read_queries", "read_run", "write_qrels", "write_queries", "write_run"],
    "sage_nb.records.values": ["Answer", "Citation", "Document", "Expansion", "Hit", "Query", "Result", "Step"],
    "sage_nb.retrieval.answer": ["answer"],
    "sage_nb.retrieval.calibrate": ["calibrate"],
    "sage_nb.retrieval.chat": ["chat"],
    "sage_nb.retrieval.collection": ["Collection"],
    "sage_nb.retrieval.compress": ["compress"],
    "sage_nb.retrieval.extractive": ["Extractive"],
    "sage_nb.retrieval.fusion": ["fusion"],
    "sage_nb.retrieval.joined": ["originals"],
    "sage_nb.retrieval.llm_rerank": ["llm_rerank"],
    "sage_nb.retrieval.mmr": ["mmr"],
    "sage_nb.retrieval.prompt": ["prompt"],
    "sage_nb.retrieval.prf": ["prf"],
    "sage_nb.retrieval.refine": ["dedup", "min_score", "reorder"],
    "sage_nb.retrieval.rerank": ["rerank"],
    "sage_nb.retrieval.expand": ["hyde"],
    "sage_nb.retrieval.iterative": ["iterative"],
    "sage_nb.retrieval.resources": ["Models"],
    "sage_nb.retrieval.rm3": ["rm3"],
    "sage_nb.retrieval.variants": ["decompose", "multi_query"],
    "sage_nb.retrieval.run": ["Run"],
    "sage_nb.retrieval.learn_routes": ["learn_routes"],
    "sage_nb.retrieval.multi_source": ["multi_source"],
    "sage_nb.retrieval.recall": ["Cell"],
    "sage_nb.retrieval.routes": ["Routes"],
    "sage_nb.retrieval.stage": ["Pipeline", "Stage", "fuse"],
    "sage_nb.retrieval.yaml": ["stage"],
    "sage_nb.evaluation.diff": ["diff"],
    "sage_nb.runtime.cellcache.store": ["CellCache"],
    "sage_nb.runtime.alerts": ["Alert"],
    "sage_nb.runtime.checkpoint": ["CheckpointError", "Checkpointing"],
    "sage_nb.runtime.environment": ["LocalEnvironment"],
    "sage_nb.runtime.job": ["Job"],
    "sage_nb.runtime.metrics": ["Alarm"],
    "sage_nb.runtime.operators.guard": ["CircuitOpenError", "OperatorError", "OperatorTimeoutError"],
    "sage_nb.runtime.ray.durable": ["jobs"],
    "sage_nb.runtime.ray.environment": ["RayEnvironment"],
    "sage_nb.runtime.restart": ["ExponentialDelay", "FailureRate", "FixedDelay", "NoRestart"],
    "sage_nb.stream.api": ["Stream"],
    "sage_nb.stream.function": [
        "AggregateFunction", "CoMapFunction", "FilterFunction", "FlatMapFunction", "KeyedProcessFunction",
        "MapFunction", "ProcessFunction",
    ],
    "sage_nb.stream.operator": ["operator"],
    "sage_nb.stream.policy": ["CircuitBreaker", "DeadLetter", "Retry"],
    "sage_nb.stream.sink": [
        "CollectSink", "IdempotentSink", "JsonlSink", "ParquetSink", "SinkFunction", "TwoPhaseSink",
    ],
    "sage_nb.stream.source": ["IDLE", "SourceFunction"],
    "sage_nb.stream.state": ["ListState", "MapState", "ReducingState", "ValueState"],
    "sage_nb.stream.time": ["bounded_out_of_orderness", "monotonous", "punctuated"],
    "sage_nb.stream.window": ["Count", "Mean", "Windowed", "count_window", "session", "sliding", "tumbling"],
}  # fmt: skip
_HOME = {name: home for home, names in _HOMES.items() for name in names}
_ROOMS = ("corpora", "evaluation", "records", "retrieval")

__all__ = sorted([*_HOME, "corpora"])  # noqa: PLE0605  the table above is the list


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(import_module(_HOME[name]), name)
    if name in _ROOMS:
        return import_module(f"sage_nb.{name}")
    raise AttributeError(f"module 'sage_nb' has no attribute {name!r}{_nearest(name)}")


def _nearest(name: str) -> str:
    near = [] if name.startswith("_") else import_module("difflib").get_close_matches(name, __all__, n=1)
    return f"; did you mean {near[0]!r}?" if near else ""


def __dir__() -> list[str]:
    return __all__


def load_ipython_extension(shell: InteractiveShell) -> None:
    """`%load_ext sage_nb` calls this."""
    import_module("sage_nb.notebook.magic").load_ipython_extension(shell)
