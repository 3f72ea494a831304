"""`make bench-results`: every bench run, and the newest of what each has written put together in RESULTS.md.

    python -m tests.benchmarks.results                         only put together what lies under bench/
    python -m tests.benchmarks.results --run --data DIR        run all first; DIR has BEIR folders vaswani and medquad

RESULTS.template.md has what people wrote; a line `{{bench limit}}` in it becomes that bench's table, `{{machine}}` the
facts of the machine. Nothing else is known of where, when or by whom a bench was run.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sage_nb.cli.bench_stream import Figure

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
MAIN = "import sys; from sage_nb.cli.main import main; sys.exit(main())"
MARK = re.compile(r"^\{\{(machine|bench (\w+))\}\}$", re.MULTILINE)
HEADER = ("figure", "unit", "median", "spread", "bar", "met")
WITH_PEERS = ("index", "query", "lexical")
OF_DATA = {"index": ("vaswani", "medquad"), "query": ("vaswani",)}  # the BEIR folders that a bench is given
ALONE = ("limit", "start", "memory", "sweep", "stream", "ray", "cache")
RUNS = (*ALONE, *WITH_PEERS, "quality", "notebooks")

Found = Mapping[str, Any]  # what a bench has written


def newest(folder: Path, kind: str) -> Found | None:
    """What a bench wrote last; the names of its files sort by time."""
    written = sorted(folder.glob(f"{kind}-*.json"))
    return json.loads(written[-1].read_text(encoding="utf8")) if written else None


def page(template: str, folder: Path) -> str:
    """The template with the facts and tables in their places."""
    kinds = dict.fromkeys(mark[2] for mark in MARK.finditer(template) if mark[2])
    found = {kind: newest(folder, kind) for kind in kinds}
    there = [each for each in found.values() if each is not None]

    def filled(mark: re.Match[str]) -> str:
        if mark[2] is None:
            return _facts(there[0]) if there else "Nothing has been run."
        seen = found[mark[2]]
        return "Not run." if seen is None else "\n\n".join([*_unlike(seen, there[0]), _settings(seen), _table(seen)])

    return MARK.sub(filled, template)


def commands(data: Path | None, peers: Path) -> dict[str, list[str]]:
    """The arguments of each bench that can be run; those without their data or peers are left out, or run alone."""
    given: dict[str, list[str]] = {kind: [] for kind in RUNS}
    given["quality"] = ["data/pydocs"]
    given["notebooks"] = [str(path.relative_to(ROOT)) for path in sorted(ROOT.glob("notebooks/**/[!.]*.ipynb"))]
    for kind, names in OF_DATA.items():
        folders = [data / name for name in names] if data else []
        if folders and all(folder.is_dir() for folder in folders):
            given[kind] = list(map(str, folders))
        else:
            del given[kind]
    for kind in WITH_PEERS:
        if kind in given and peers.exists():
            given[kind] += ["--peers", str(peers)]
    return given


def run(given: Mapping[str, Sequence[str]], out: Path) -> list[str]:
    """Run each bench in a process of its own, one after the other; the names of those that failed."""
    failed = []
    for kind, arguments in given.items():
        print(f"== bench {kind}", flush=True)
        command = [sys.executable, "-c", MAIN, "bench", kind, *arguments, "--out", str(out)]
        if subprocess.run(command, cwd=ROOT, check=False).returncode:
            failed.append(kind)
    return failed


def _facts(found: Found) -> str:
    rows = [*found["machine"].items(), *found["libraries"].items()]
    return _markdown(("", ""), [[name, str(value)] for name, value in rows])


def _unlike(found: Found, first: Found) -> list[str]:
    """Where a bench was run on something else than the first one, what differs."""
    given = [{**each["machine"], **each["libraries"]} for each in (found, first)]
    other = [f"{name} {value}" for name, value in given[0].items() if given[1].get(name) != value]
    return [f"On another machine or with other libraries: {', '.join(other)}."] if other else []


def _settings(found: Found) -> str:
    """Numbers that it was run with; a text may be somebody's path."""
    kept = {name: value for name, value in found.items() if isinstance(value, (int, float))}
    versions = {name: value for name, value in found.get("versions", {}).items() if isinstance(value, str)}
    return ", ".join(f"{name} {value}" for name, value in {**kept, **versions}.items()) + "."


def _table(found: Found) -> str:
    if "rows" in found:
        return _markdown(tuple(found["rows"][0]), [list(map(str, row.values())) for row in found["rows"]])
    figures = [
        Figure(each["figure"], each["unit"], each["bar"], each["bar_is"] == "least", each["values"])
        for each in found["figures"]
    ]
    return _markdown(HEADER, [figure.row for figure in figures])


def _markdown(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def main(arguments: Sequence[str] | None = None) -> int:
    """Put RESULTS.md together, perhaps from benches run now; 1 where one of them failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", action="store_true", help="run all benches first")
    parser.add_argument("--data", type=Path, help="a folder with the BEIR folders vaswani and medquad")
    parser.add_argument("--peers", type=Path, default=ROOT / ".venv-peers" / "bin" / "python", help="their Python")
    parser.add_argument("--out", type=Path, default=ROOT / "bench", help="where benches write (default bench)")
    parser.add_argument("--into", type=Path, default=HERE / "RESULTS.md", help="the page (default: beside this file)")
    given = parser.parse_args(arguments)
    failed = run(commands(given.data and given.data.resolve(), given.peers), given.out.resolve()) if given.run else []
    template = (HERE / "RESULTS.template.md").read_text(encoding="utf8")
    given.into.write_text(page(template, given.out), encoding="utf8")
    if failed:
        print(f"failed: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    raise SystemExit(main())
