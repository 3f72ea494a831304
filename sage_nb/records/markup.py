"""HTML from untrusted text: everything is escaped here, once, so that nothing in a document can run."""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

# Control characters are shown as U+FFFD: some front ends drop them and some stop at them. So are lone surrogates, which
# no message to a front end can hold, and what turns the direction of all that follows.
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
_WORD = re.compile(r"\w+")
_NUMBER = re.compile(r"\[(\d{1,3}|\?)\]")  # by which an answer cites a passage, or one that there is not
_ASKED = 1_000  # characters of a question whose words are looked for
_SMALL = frozenset(
    {"about", "and", "are", "for", "from", "how", "into", "its", "out", "that", "the", "this", "what", "when"}
    | {"where", "which", "why", "with"}
)

# What is shown has the class `mathjax_ignore`: else a front end takes what stands between two $ for a formula, in which
# a document could even have a link that runs code.
STYLE = (
    "<style>.sage-table{table-layout:auto!important;border-collapse:collapse;width:100%;max-width:68em;font-size:.93em}"
    ".sage-table th,.sage-table td{text-align:left!important;vertical-align:top;padding:.35em .7em;"
    "border-bottom:1px solid var(--jp-border-color2,#ddd);overflow-wrap:break-word;max-width:44em}"
    ".sage-table th{font-weight:600;color:var(--jp-ui-font-color2,#666)}"
    ".sage-table .sage-number{text-align:right!important;font-variant-numeric:tabular-nums}"
    ".sage-table td.sage-number{white-space:nowrap}"
    ".sage-table td:first-child{white-space:nowrap}.sage-table td:last-child{overflow-wrap:normal;white-space:nowrap}"
    ".sage-table td div{overflow-wrap:anywhere}.sage-table td:last-child div{overflow-wrap:normal}"
    ".sage-title{font-weight:600}.sage-quiet{color:var(--jp-ui-font-color2,#666);font-size:.9em}"
    ".sage-table mark{background:var(--jp-warn-color3,#ffe8a3);color:inherit;padding:0 .1em;border-radius:.15em}"
    ".sage-answer{max-width:60em;margin:.4em 0 1em;line-height:1.5}.sage-answer sup{cursor:help}"
    ".sage-answer u{text-decoration:underline wavy var(--jp-warn-color1,#c60)}"
    ".sage-chat{max-width:60em}.sage-asked{background:var(--jp-layout-color2,#eee);border-radius:.6em;"
    "padding:.3em .8em;margin:.8em 0 .4em auto;width:fit-content;max-width:80%;overflow-wrap:anywhere}"
    "</style>"
)
# Of what a notebook keeps JupyterLab drops the rules until it is trusted, as one just cloned is not; a cell's own stay.
_LEFT = " style='text-align:left;vertical-align:top'"


@dataclass(frozen=True)
class Html:
    """Text that is already markup; only this module and its callers' templates make it. Numbers stand to the right."""

    text: str
    number: bool = False


def escape(text: str) -> Html:
    r"""`text` with markup and control characters made harmless.

    >>> escape("<b>&\x00").text
    '&lt;b&gt;&amp;\ufffd'
    """
    return Html(html.escape(harmless(text)))


def harmless(text: str) -> str:
    r"""`text` with what no front end shows as U+FFFD, one character for one; markup stays, for who sets it as text.

    >>> harmless("<b>\x00\u202e") == "<b>\ufffd\ufffd"
    True
    """
    return _CONTROL.sub("\ufffd", text)


def words_of(text: str) -> list[str]:
    """The first distinct words of a question: what is marked in a passage, however long the question is.

    >>> words_of("a lock? (a LOCK)")
    ['a', 'lock', 'LOCK']
    """
    return list(dict.fromkeys(_WORD.findall(text[:_ASKED])))


def shortened(text: str, width: int = 200) -> str:
    r"""The beginning of a text, on one line, for a caption.

    >>> shortened("as long as\n it takes", 10)
    'as long as …'
    """
    flat = " ".join(text[: 2 * width].split())
    return flat if len(flat) <= width and len(text) <= 2 * width else f"{flat[:width].rstrip()} …"


def places(text: str, words: Iterable[str]) -> list[tuple[int, int]]:
    """The characters (start, end) of each word of `text` that begins like one of `words`.

    Words are compared by their first letters (all but the last two, at least four), so that a plural finds its
    singular: good enough to read by, and independent of the index's analyzer.

    >>> places("Stops threads", ["thread"])
    [(6, 13)]
    """
    stems = {word.lower()[: max(4, len(word) - 2)] for word in words if len(word) > 2 and word.lower() not in _SMALL}
    return [match.span() for match in _WORD.finditer(text) if match.group().lower().startswith(tuple(stems))]


def highlight(text: str, words: Iterable[str]) -> Html:
    """`text` escaped, with the `places` of `words` in it marked.

    >>> highlight("Stops threads & tasks", ["thread"]).text
    'Stops <mark>threads</mark> &amp; tasks'
    """
    parts, at = [], 0
    for start, end in places(text, words):
        parts.append(escape(text[at:start]).text + f"<mark>{escape(text[start:end]).text}</mark>")
        at = end
    return Html("".join(parts) + escape(text[at:]).text)


def excerpt(text: str, words: Iterable[str], width: int = 280) -> str:
    """About `width` characters of `text`, begun at the first of `words` that it holds.

    >>> excerpt("a" * 300 + " the needle in it", ["needle"], 40)
    '… the needle in it'
    """
    lowered = text.lower()
    found = [at for word in words if len(word) > 3 and (at := lowered.find(word.lower())) >= 0]
    start = max(0, min(found, default=0) - width // 4)
    if start:
        start = text.find(" ", start, start + width) + 1 or start
    flat = " ".join(text[start : start + 4 * width].split())
    more = len(flat) > width or start + 4 * width < len(text)
    return ("… " if start else "") + flat[:width] + (" …" if more else "")


def cited(text: str, doubtful: Sequence[tuple[int, int]], quotes: Mapping[str, str]) -> Html:
    """An answer's text: its [numbers] raised, each with its quote at hand, and what is doubtful underlined.

    >>> cited("It <b>ends</b> [1].", [(0, 19)], {"1": 'so "it" ends'}).text.partition(" <sup")[0]
    "<u title='no cited passage supports this'>It &lt;b&gt;ends&lt;/b&gt;"
    """
    opening = {start for start, _ in doubtful}
    closing = {end for _, end in doubtful}
    numbers = {match.start(): match for match in _NUMBER.finditer(text)}
    marks = {*opening, *closing, *numbers, *(match.end() for match in numbers.values())}
    parts = []
    for start, end in pairwise(sorted({0, len(text), *(mark for mark in marks if 0 <= mark <= len(text))})):
        parts.append("</u>" * (start in closing) + "<u title='no cited passage supports this'>" * (start in opening))
        shown = escape(text[start:end]).text.replace("\n", "<br>")
        if start in numbers:
            quote = escape(shortened(quotes.get(numbers[start][1], ""))).text
            shown = f"<sup title='{quote}'>{shown}</sup>"
        parts.append(shown)
    return Html("".join(parts) + "</u>" * (len(text) in closing))


def table(header: Sequence[str], rows: Iterable[Sequence[str | float | Html]], caption: str = "") -> str:
    """A table in the notebook's own colours; numbers to the right, floats with four digits.

    >>> table(["text"], [["<i>"]]).partition("<tbody>")[2]
    "<tr><td style='text-align:left;vertical-align:top'>&lt;i&gt;</td></tr></tbody></table>"
    """
    rows = list(rows)
    numeric = [_numeric([row[at] for row in rows]) for at in range(len(header))]
    head = "".join(
        f"<th{' class=sage-number' if right else _LEFT}>{escape(name).text}</th>"
        for name, right in zip(header, numeric, strict=True)
    )
    body = "".join(f"<tr>{''.join(map(_cell, row))}</tr>" for row in rows)
    above = f"<div class='sage-quiet mathjax_ignore'>{escape(caption).text}</div>" if caption else ""
    inner = f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody>"
    return f"{STYLE}{above}<table class='sage-table mathjax_ignore'>{inner}</table>"


def _numeric(column: Sequence[str | float | Html]) -> bool:
    """Whether its heading stands to the right: there are numbers, and nothing else."""
    return {
        isinstance(cell, (int, float)) or (isinstance(cell, Html) and cell.number) for cell in column if cell != ""
    } == {True}


def _cell(value: str | float | Html) -> str:
    if isinstance(value, Html):
        return f"<td{' class=sage-number' if value.number else _LEFT}>{value.text}</td>"
    if isinstance(value, str):
        return f"<td{_LEFT}>{escape(value).text}</td>"
    if isinstance(value, int):
        return f"<td class='sage-number'>{value:,}</td>"
    return f"<td class='sage-number'>{value:.4g}</td>"
