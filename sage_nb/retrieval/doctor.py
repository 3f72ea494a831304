"""What this machine offers and what is installed: the first thing to send with a question."""

from __future__ import annotations

import importlib.metadata
import platform

from sage_nb.errors import SageError
from sage_nb.models.device import choose_compute, describe_devices
from sage_nb.models.registry import DEFAULT_RERANKER
from sage_nb.models.weights import bundled_folder
from sage_nb.records.disk import home

PACKAGES = (
    "sage-nb", "torch", "sentence-transformers", "transformers", "faiss-cpu", "ray", "numpy", "pyarrow", "ipywidgets",
    "ipython", "jupyterlab",
)  # fmt: skip


def doctor() -> str:
    """Devices, the dtype chosen, versions and paths, a line each."""
    compute = choose_compute()
    facts = [
        ("python", f"{platform.python_version()} on {platform.platform()}"),
        *describe_devices(),
        ("models run on", f"{compute.device} in {compute.dtype}"),
        ("bundled encoder", _encoder()),
        (
            "default reranker",
            f"{DEFAULT_RERANKER}, mixed with what was found by",
        ),
        ("home", str(home())),
        *((name, _version(name)) for name in PACKAGES),
    ]
    width = max(len(name) for name, _ in facts)
    return "\n".join(f"{name:<{width}}  {value}" for name, value in facts)


def _encoder() -> str:
    try:
        return f"{bundled_folder()} (weights checked)"
    except SageError as wrong:
        return str(wrong)


def _version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"
