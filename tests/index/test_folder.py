"""Commits: whatever the order of adds, updates and deletes, the index is that of its live documents."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from sage_nb.errors import CollectionError
from sage_nb.index.bm25 import Weighting
from sage_nb.index.folder import IndexFolder
from tests.index.making import SETTINGS, index, segment

names = st.sampled_from([f"d{n}" for n in range(8)])
texts = st.lists(st.sampled_from(["ant", "bee", "cow", "dog"]), min_size=1, max_size=6).map(" ".join)
steps = st.lists(
    st.one_of(
        st.dictionaries(names, texts, min_size=1, max_size=4).map(lambda batch: ("add", batch)),
        st.lists(names, min_size=1, max_size=3).map(lambda gone: ("delete", gone)),
        st.just(("compact", None)),
        st.just(("reopen", None)),
    ),
    max_size=12,
)


def carried_out(path, actions):
    """The folder after some steps, and the documents that should be alive."""
    folder, alive = IndexFolder(path), {}
    for action, given_ in actions:
        if action == "add":
            folder.commit(SETTINGS, segment(given_))
            alive.update(given_)
        elif action == "delete":
            folder.commit(SETTINGS, None, given_)
            alive = {name: text for name, text in alive.items() if name not in given_}
        elif action == "compact":
            folder.compact()
        else:
            folder = IndexFolder(path)
    return folder, alive


def answers(folder, variant="lucene"):
    snapshot = folder.snapshot()
    queries = (["ant"], ["bee", "cow"], ["dog", "dog", "ant"])
    found = [snapshot.lexical(query, 5, Weighting(variant), None) for query in queries]
    return [[(snapshot.document(row).id, round(score, 9)) for row, score in each] for each in found]


@settings(max_examples=60, deadline=None)
@given(steps)
@example(  # a mean idf of okapi that was 0 in one order of terms, and 6e-17 in another
    [
        ("add", {"d0": "ant", "d3": "cow dog"}),
        ("add", {"d0": "cow dog", "d1": "ant cow dog"}),
        ("add", {"d4": "ant", "d2": "cow dog", "d5": "bee cow", "d6": "cow dog"}),
    ]
)
def test_incremental_equals_rebuilt(actions):
    with tempfile.TemporaryDirectory() as one, tempfile.TemporaryDirectory() as other:
        folder, alive = carried_out(Path(one), actions)
        rebuilt = index(Path(other), *([alive] if alive else []))
        assert {d.id: d.text for d in folder.snapshot().documents()} == alive
        assert folder.snapshot().manifest.content == rebuilt.snapshot().manifest.content
        assert folder.snapshot().statistics == rebuilt.snapshot().statistics
        assert answers(folder) == answers(rebuilt)
        assert answers(folder, "okapi") == answers(rebuilt, "okapi")


def test_many_small_commits_make_few_segments(tmp_path):
    folder = index(tmp_path, *({f"d{n}": "ant"} for n in range(60)))
    assert len(folder.snapshot().manifest.segments) < 8
    assert folder.snapshot().rows == 60


def test_a_reader_keeps_its_snapshot_while_another_commits(tmp_path):
    reader, writer = index(tmp_path, {"a": "ant"}), IndexFolder(tmp_path)
    before = reader.snapshot()
    writer.commit(SETTINGS, segment({"a": "bee"}))
    writer.compact()
    assert [d.text for d in before.documents()] == ["ant"]
    assert [d.text for d in reader.snapshot().documents()] == ["bee"]


def test_a_broken_checksum_is_named(tmp_path):
    index(tmp_path, {"a": "ant"})
    path = tmp_path / "MANIFEST"
    path.write_bytes(path.read_bytes().replace(b'"generation":1', b'"generation":2'))
    with pytest.raises(CollectionError, match="MANIFEST is damaged .its checksum does not match.; restore"):
        IndexFolder(tmp_path).snapshot()


@pytest.mark.parametrize("kept", [0, 10, 60])
def test_a_truncated_manifest_is_named(tmp_path, kept):
    index(tmp_path, {"a": "ant"})
    path = tmp_path / "MANIFEST"
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(CollectionError, match="MANIFEST is (damaged|not the MANIFEST)"):
        IndexFolder(tmp_path).snapshot()


def test_a_newer_format_is_named(tmp_path):
    index(tmp_path, {"a": "ant"})
    path = tmp_path / "MANIFEST"
    path.write_bytes(path.read_bytes().replace(b"sage-collection 1", b"sage-collection 2"))
    with pytest.raises(CollectionError, match="written in format 2 and this sage_nb reads up to 1; upgrade sage-nb"):
        IndexFolder(tmp_path).snapshot()


def test_a_truncated_segment_is_named(tmp_path):
    index(tmp_path, {"a": "ant bee"})
    path = next(tmp_path.glob("segments/*/rows.npy"))
    path.write_bytes(path.read_bytes()[:-4])
    with pytest.raises(CollectionError, match=r"rows.npy is damaged \(it has 132 of 136 bytes\); restore"):
        IndexFolder(tmp_path).snapshot()


def test_a_missing_segment_file_is_named(tmp_path):
    index(tmp_path, {"a": "ant"})
    next(tmp_path.glob("segments/*/terms.arrow")).unlink()
    with pytest.raises(CollectionError, match="terms.arrow is missing; restore"):
        IndexFolder(tmp_path).snapshot()


def test_another_analyzer_is_refused(tmp_path):
    folder = index(tmp_path, {"a": "ant"})
    other = msgspec.structs.replace(SETTINGS, analyzer="english")
    with pytest.raises(CollectionError, match="was built with analyzer 'plain', not 'english'; open it with the same"):
        folder.commit(other, segment({"b": "bee"}))


def test_two_processes_adding_at_once_lose_nothing(tmp_path):
    code = """
import sys
from pathlib import Path
from tests.index.making import SETTINGS, segment, IndexFolder
folder = IndexFolder(Path(sys.argv[1]))
for n in range(30):
    folder.commit(SETTINGS, segment({f"{sys.argv[2]}{n}": "ant"}))
"""
    command = [sys.executable, "-c", code, str(tmp_path)]
    writers = [subprocess.Popen([*command, name], cwd=Path(__file__).parents[2]) for name in "xy"]
    assert [writer.wait(timeout=120) for writer in writers] == [0, 0]
    found = {document.id for document in IndexFolder(tmp_path).snapshot().documents()}
    assert found == {f"{name}{n}" for name in "xy" for n in range(30)}


def test_a_full_disk_leaves_the_last_snapshot(tmp_path):
    code = """
import resource, sys
from pathlib import Path
from tests.index.making import SETTINGS, index, segment
folder = index(Path(sys.argv[1]), {"a": "ant"})
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
try:
    folder.commit(SETTINGS, segment({f"b{n}": "bee " * 100 for n in range(100)}))
except Exception as error:
    print(type(error).__name__, error)
"""
    command = [sys.executable, "-c", code, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parents[2], check=True)
    assert "CollectionError" in done.stdout
    assert "File too large); it still holds its last snapshot: make room" in done.stdout
    assert [d.id for d in IndexFolder(tmp_path).snapshot().documents()] == ["a"]
