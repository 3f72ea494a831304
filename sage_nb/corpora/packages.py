"""What Debian says of its packages, as documents: from the lists that apt keeps on this machine."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

from sage_nb.errors import BadValueError
from sage_nb.records.values import Document

LISTS = Path("/var/lib/apt/lists")
PATTERN = "*_main_i18n_Translation-en*"
READER = ("/usr/lib/apt/apt-helper", "cat-file")  # unpacks whatever apt has packed


def debian_packages(lists: Path = LISTS) -> Iterator[Document]:
    """Each package once: its name the id, its short description the title, its long one the text.

    Raises BadValueError where apt keeps no descriptions here.
    """
    files = sorted(lists.glob(PATTERN))
    if not files:
        raise BadValueError(
            f"apt keeps no descriptions of packages in {lists}; as root: apt-get -o Acquire::Languages=en update"
        )
    seen: set[str] = set()
    for path in files:
        for document in described(_text(path)):
            if document.id not in seen:
                seen.add(document.id)
                yield document


def described(text: str) -> Iterator[Document]:
    r"""The packages in one list, as apt writes it.

    >>> (found,) = described("Package: moon\nDescription-en: tides\n Tells when they come.\n .\n Wet.\n")
    >>> found.id, found.title, found.text
    ('moon', 'tides', 'Tells when they come.\n\nWet.')
    """
    for block in text.split("\n\n"):
        name = re.search(r"^Package: (.+)$", block, re.MULTILINE)
        short = re.search(r"^Description-en: (.+)$", block, re.MULTILINE)
        if name and short:
            lines = block[short.end() :].strip("\n").split("\n")
            long = "\n".join("" if line.strip() == "." else line[1:] for line in lines)
            yield Document(name[1], long.strip(), title=short[1], source="debian")


def _text(path: Path) -> str:
    return subprocess.run(
        (*READER, str(path)), capture_output=True, check=True, encoding="utf8", errors="replace"
    ).stdout
