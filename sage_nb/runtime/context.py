"""What a function that runs in this process may ask for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from sage_nb.errors import UnknownNameError

Resource = TypeVar("Resource")


@dataclass(frozen=True)
class LocalContext:
    """The context of a function in this process: things shared by type.

    >>> LocalContext({int: 7}).get(int)
    7
    """

    resources: Mapping[type, Any] = field(default_factory=dict)
    subtask: int = 0

    def get(self, kind: type[Resource], /) -> Resource:
        """The shared resource of that type."""
        if kind not in self.resources:
            raise UnknownNameError.of("resource", kind.__name__, [each.__name__ for each in self.resources])
        return self.resources[kind]  # type: ignore[no-any-return]
