"""The base of our widgets: its JavaScript from files beside this one, and a picture of itself for where none runs."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import anywidget

from sage_nb.records.drawing import RULES
from sage_nb.records.markup import harmless

HERE = Path(__file__).parent


def script(name: str, *parts: str) -> str:
    """The module of one widget: what all of them draw with, further parts, then its own, in one text.

    >>> "export default" in script("chat")
    True
    """
    return "\n".join((HERE / "js" / f"{each}.js").read_text(encoding="utf8") for each in ("dom", *parts, name))


def style(name: str) -> str:
    """Its style: the one look of all, that of drawings, then what is its own.

    >>> "--jp-ui-font-color1" in style("chat")
    True
    """
    look, own = ((HERE / "css" / f"{each}.css").read_text(encoding="utf8") for each in ("look", name))
    return f"{look}\n{RULES}\n{own}"


class Drawn(anywidget.AnyWidget):
    """A widget whose state is drawn by `js/<name>.js`, and that is told there is something to do by messages.

    JavaScript makes elements by `el` of `js/dom.js`, which sets text and never markup, so that nothing in a document
    can run. What it sends, `{"do": name, …}`, goes to the method `on_<name>`. Where no JavaScript runs (nbconvert, a
    saved notebook, a terminal), `html` and `text` show the same facts.
    """

    name: ClassVar[str]
    parts: ClassVar[tuple[str, ...]] = ()  # of js/, that come before its own

    def __init_subclass__(cls, **kwargs: Any) -> None:
        if "name" in vars(cls):  # else one that anywidget derives from ours, to add traits to it
            cls._esm, cls._css = script(cls.name, *cls.parts), style(cls.name)
        super().__init_subclass__(**kwargs)

    def __init__(self, **state: Any) -> None:
        super().__init__(**state)
        self.on_msg(self._told)

    @abstractmethod
    def html(self) -> str:
        """What a notebook shows of it without JavaScript: markup whose every text is escaped."""

    @abstractmethod
    def text(self) -> str:
        """The same in a terminal."""

    @staticmethod
    def _trait_to_json(value: Any, widget: Any) -> Any:  # noqa: ARG004  ipywidgets' signature
        """What goes to the browser: texts without what no message can hold, and nothing may turn around."""
        return _harmless(value)

    def _told(self, _widget: Any, content: Mapping[str, Any], _buffers: Any) -> None:
        told = dict(content)
        getattr(self, f"on_{told.pop('do')}")(**told)

    def _repr_mimebundle_(self, **kwargs: Any) -> tuple[dict[str, Any], dict[str, Any]] | None:
        shown = super()._repr_mimebundle_(**kwargs)
        if shown is None:
            return None
        data, metadata = shown
        return {**data, "text/html": self.html(), "text/plain": self.text()}, metadata


def _harmless(value: Any) -> Any:
    if isinstance(value, str):
        return harmless(value)
    if isinstance(value, dict):
        return {name: _harmless(each) for name, each in value.items()}
    return [_harmless(each) for each in value] if isinstance(value, (list, tuple)) else value
