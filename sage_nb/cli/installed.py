"""The package as an installer leaves it, for what measures how long it takes to start."""

from __future__ import annotations

import compileall
from pathlib import Path


def with_bytecode() -> None:
    """Write the package's bytecode, as pip does when it installs.

    A package that is being edited has none where Python is told to write none (PYTHONDONTWRITEBYTECODE), and each
    start compiled it anew: the imports of a first cell took 0.8 s then, and 0.5 with bytecode.
    """
    compileall.compile_dir(Path(__file__).parents[1], quiet=2)
