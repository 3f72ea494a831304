"""Documents from what package managers bring: descriptions of packages, manual pages."""

from __future__ import annotations

import gzip
import shutil
from pathlib import Path

import pytest

from sage_nb.corpora.manuals import manuals
from sage_nb.corpora.packages import READER, debian_packages
from sage_nb.errors import BadValueError

LIST = """Package: moon
Description-md5: 0
Description-en: tides
 Tells when they come.
 .
 And when they go.

Package: sun
Description-en: daylight
 Long in summer.

Package: moon
Description-en: another of that name
 Not read.
"""
PAGE = """.TH MOON 1
.SH NAME
moon \\- tells the tides
.SH SYNOPSIS
moon
.SH DESCRIPTION
Writes when the
.B water
comes.
.SH BUGS
None.
"""


@pytest.mark.skipif(not Path(READER[0]).exists(), reason="apt is of Debian and its kin")
def test_packages_are_read_from_the_lists_of_apt(tmp_path):
    (tmp_path / "x_main_i18n_Translation-en").write_text(LIST)
    with gzip.open(tmp_path / "y_main_i18n_Translation-en.gz", "wt") as packed:
        packed.write("Package: star\nDescription-en: far\n Very far.\n")
    found = {each.id: (each.title, each.text) for each in debian_packages(tmp_path)}
    assert found == {
        "moon": ("tides", "Tells when they come.\n\nAnd when they go."),
        "sun": ("daylight", "Long in summer."),
        "star": ("far", "Very far."),
    }


def test_without_lists_it_is_said_how_to_get_them(tmp_path):
    with pytest.raises(BadValueError, match="apt keeps no descriptions .* apt-get -o Acquire::Languages=en update"):
        list(debian_packages(tmp_path))


@pytest.mark.skipif(shutil.which("man") is None, reason="there is no man here")
def test_manual_pages_are_read_as_man_shows_them(tmp_path, monkeypatch):
    (tmp_path / "man1").mkdir()
    (tmp_path / "man1" / "moon.1").write_text(PAGE)
    monkeypatch.setenv("MANPATH", str(tmp_path))
    (found,) = manuals(["moon", "nothing-of-this-name"])
    assert found.id == "moon"
    assert found.text == "moon - tells the tides Writes when the water comes."
