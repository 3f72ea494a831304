"""What Ray's processes import in another's place is what it stands for, only later."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from sage_nb.runtime.ray.cluster import LAZY

pytest.importorskip("rfc3987_syntax")

CHECKING = """
import sys
from jsonschema import FormatChecker

def built():
    return "rfc3987_syntax.syntax_helpers" in sys.modules

before, check = built(), FormatChecker().conforms
print(before, check("http://example.org/ä", "iri"), check("no iri", "iri"), check("../ä", "iri-reference"), built())
from rfc3987_syntax import is_valid_syntax, parse
print(is_valid_syntax.__module__, parse.__module__, is_valid_syntax("iri", "x"))
"""


def test_the_stand_in_checks_as_the_module_does_and_builds_the_grammar_only_then():
    said = [
        subprocess.run([sys.executable, "-c", CHECKING], capture_output=True, text=True, check=True, env=environment)
        for environment in (os.environ | {"PYTHONPATH": LAZY}, os.environ | {"PYTHONPATH": ""})
    ]
    stand_in, real = (each.stdout.split() for each in said)
    assert stand_in[:5] == ["False", "True", "False", "True", "True"]
    assert real[0] == "True"
    assert stand_in[1:5] == real[1:5]
    assert stand_in[6:] == real[6:]


def test_processes_of_a_cluster_have_not_built_it_and_this_one_is_as_it_was(cluster):
    @cluster.remote(num_cpus=0)
    def seen():
        import sys

        return "jsonschema" in sys.modules, "rfc3987_syntax.syntax_helpers" in sys.modules

    assert cluster.get(seen.remote()) == (True, False)
    assert LAZY not in os.environ.get("PYTHONPATH", "").split(os.pathsep)
