"""Manual pages of this machine, as documents."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterable, Iterator

from sage_nb.records.values import Document

SHOWN = {"MANWIDTH": "200", "MANPAGER": "cat", "LC_ALL": "C.UTF-8"}
SECONDS = 10.0


def manuals(pages: Iterable[str]) -> Iterator[Document]:
    """NAME and DESCRIPTION of each page of section 1 that is installed; what is not here is left out."""
    for page in pages:
        sections = _sections(page)
        if text := " ".join(filter(None, (sections.get("NAME"), sections.get("DESCRIPTION")))):
            yield Document(page, text, source="man")


def _sections(page: str) -> dict[str, str]:
    command = ("man", "--no-hyphenation", "1", page)
    shown = subprocess.run(
        command, capture_output=True, check=False, text=True, timeout=SECONDS, env={**os.environ, **SHOWN}
    ).stdout
    plain = re.sub(r".\x08", "", shown)  # bold and underlined letters are struck twice
    found = re.findall(r"^(\S[^\n]*)\n(.*?)(?=^\S|\Z)", plain, re.MULTILINE | re.DOTALL)
    return {name.strip(): " ".join(body.split()) for name, body in found}
