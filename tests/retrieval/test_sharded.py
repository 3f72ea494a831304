"""A collection in shards finds what it finds whole, also while its shards are killed."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import sage_nb as sage
from sage_nb.errors import BadValueError, CollectionError
from sage_nb.index.bm25 import VARIANTS
from sage_nb.index.share import Share
from sage_nb.retrieval.sharded import Shard, ShardReader, SweptError
from sage_nb.runtime.ray.environment import RayEnvironment
from sage_nb.runtime.ray.service import LostError, ServiceError
from sage_nb.runtime.ray.status import cluster_status
from tests.retrieval.test_on_ray import DOCUMENTS, QUESTIONS

RARE = sage.Document("rare", "A quagga grazed alone.", source="zoo")


@pytest.fixture(autouse=True, scope="module")
def _on_the_cluster(cluster):
    """Every test here wants it."""


def made(folder, encoder=None):
    """Three segments, with documents deleted and changed."""
    collection = sage.Collection(str(folder), encoder=encoder)
    zoo = [sage.Document(d.id, d.text, source="zoo") for d in DOCUMENTS[:60]]
    for batch in (zoo, DOCUMENTS[60:], [RARE]):
        collection.add(batch, progress=False)
    collection.delete("d3", "d77")
    collection.update([sage.Document("d5", "An okapi hid behind the fox.", source="zoo")], progress=False)
    return collection


@pytest.fixture(scope="module")
def animals(tmp_path_factory):
    return made(tmp_path_factory.mktemp("collections") / "animals", "bundled")


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    return made(tmp_path_factory.mktemp("collections") / "small")


@pytest.fixture(scope="module", params=[1, 2, 4])
def sharded(animals, request):
    with animals.sharded(request.param, env=RayEnvironment()) as opened:
        yield opened


def pids(opened, cluster):
    """The shards' processes."""
    handles = [opened.service.handle(n) for n in range(opened.service.count)]
    return [cluster.get(handle.place.remote(), timeout=60)[1] for handle in handles]


def dead(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):  # the second: between opening and reading
        return True


def until(condition, timeout=60.0):
    end = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < end, condition
        time.sleep(0.02)


def alike(here, there):
    """The same passages in the same order, their scores to 1e-6, and the same notes."""
    assert [hit.document for hit in there] == [hit.document for hit in here]
    assert [hit.score for hit in there] == pytest.approx([hit.score for hit in here], abs=1e-6)
    assert [list(hit.scores) for hit in there] == [list(hit.scores) for hit in here]
    assert (there.notes, there.error) == (here.notes, here.error)


@pytest.mark.parametrize("variant", VARIANTS)
def test_words_are_scored_as_in_the_whole(animals, sharded, variant):
    for question in ("quagga and okapi", "ant hill", "the cat met the dog"):
        for k in (5, 500):
            pipe = (view.lexical(k, variant=variant) for view in (animals, sharded))
            here, there = (each.search(question) for each in pipe)
            assert there == here
            assert here.hits


def test_meaning_and_both_are_found_as_in_the_whole(animals, sharded):
    for make in (
        lambda view: view.dense(1000),
        lambda view: view.hybrid(10),
        lambda view: view.hybrid(10, fusion="tmm", weights=(1, 3)) % 3,
        lambda view: view.lexical(20) + 2 * view.dense(7),
    ):
        for question in ("a rare animal", "fox"):
            alike(make(animals).search(question), make(sharded).search(question))


def test_a_filter_comes_before_the_best_k(animals, sharded):
    only = {"source": "zoo", "text__contains": "fox"}
    for name in ("lexical", "dense"):
        here, there = (getattr(view.where(**only), name)(7).search("fox") for view in (animals, sharded))
        alike(here, there)
        assert "d5" in {hit.document.id for hit in here}
    nothing = [view.where(source="none").lexical(5).search("fox").notes for view in (animals, sharded)]
    assert nothing[0][0].endswith("no passage meets where(source='none')")
    assert nothing[1] == ("animals: no passage meets where(source='none')",)


@pytest.mark.parametrize("env", [None, "ray"])
def test_many_questions_in_either_environment(small, env):
    with small.sharded(3) as opened:
        pipes = [(view.lexical(20) + 2 * view.lexical(5)) % 7 for view in (small, opened)]
        here = pipes[0].run(QUESTIONS).results
        there = pipes[1].run(QUESTIONS, env=RayEnvironment("asked", parallelism=2) if env else None).results
        assert there == here
        assert all(result.hits for result in here)


def test_the_example_in_the_readme_runs(animals):
    readme = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf8")
    example = next(each for each in re.findall(r"```python\n(.*?)```", readme, re.DOTALL) if ".sharded(" in each)
    names = {"handbook": animals, "questions": QUESTIONS[:3], "env": RayEnvironment("index", num_cpus=4)}
    exec(example, names)  # noqa: S102  our own text
    for here, there in zip((animals.hybrid(100) % 10).run(QUESTIONS[:3]).results, names["run"].results, strict=True):
        alike(here, there)


def test_more_shards_than_rows(tmp_path):
    few = sage.Collection(str(tmp_path), encoder=None)
    few.add([RARE, DOCUMENTS[0]], progress=False)
    with few.sharded(4) as opened:
        assert opened.lexical(5).search("quagga") == few.lexical(5).search("quagga")


def test_while_a_shard_is_opened_again_questions_wait(cluster, small):
    many = {f"{round_}{n}": text for round_ in range(30) for n, text in enumerate(QUESTIONS)}
    expected = small.lexical(10).run(many).results
    with small.sharded(3) as opened:
        for victim in range(3):
            pid = pids(opened, cluster)[victim]
            run = opened.lexical(10).run(many)
            until(lambda run=run: run.done)
            os.kill(pid, signal.SIGKILL)
            assert opened.lexical(10).search("ant").hits == small.lexical(10).search("ant").hits
            assert run.results == expected


def test_where_one_need_not_wait_the_others_answer_and_the_missing_is_named(cluster, small):
    whole = small.lexical(500).search("the ant")
    with small.sharded(3, on_lost="degrade") as opened:
        pipe = opened.lexical(500)
        assert pipe.search("the ant") == whole
        victim = pids(opened, cluster)[1]
        os.kill(victim, signal.SIGKILL)
        until(lambda: dead(victim))
        degraded = pipe.search("the ant")
        assert degraded.missing[0] == "shard 2 of 3 of 'small' is lost, its passages are missing until it is back"
        scores = {hit.document.id: hit.score for hit in whole}
        assert 0 < len(degraded) < len(whole)
        assert {hit.document.id: hit.score for hit in degraded}.items() <= scores.items()
        until(lambda: pipe.search("the ant") == whole)
        for pid in pids(opened, cluster):
            os.kill(pid, signal.SIGKILL)
        until(lambda: pipe.run({"q": "the ant"}).results[0] == whole)  # until then it is an error, or in part


def test_what_another_handle_commits_is_found(tmp_path):
    mine = made(tmp_path / "mine")
    other = sage.Collection(str(tmp_path / "mine"))
    with mine.sharded(2) as opened:
        for change in (
            lambda: other.add([sage.Document("new", "A quagga came back.")], progress=False),
            other.compact,
            lambda: other.delete("rare"),
            other.compact,
        ):
            change()
            assert opened.lexical(10).search("quagga") == mine.lexical(10).search("quagga")
        assert [hit.document.id for hit in opened.lexical(10).search("quagga")] == ["new"]


def test_a_batch_whose_commit_is_swept_away_begins_again(cluster, tmp_path):
    mine = made(tmp_path / "mine")
    tried = []

    def work(pinned):
        tried.append(pinned.manifest.generation)
        if len(tried) == 1:
            sage.Collection(str(tmp_path / "mine")).compact()
            for pid in pids(opened, cluster):
                os.kill(pid, signal.SIGKILL)
        return pinned.lexical([["quagga"]], 5, sage_weighting)

    with mine.sharded(2) as opened:
        sage_weighting = opened.lexical(5).function()._weighting
        answers = ShardReader(opened._source).read(work)
    assert tried == [tried[0], tried[0] + 1]
    assert [document.id for document, _ in answers.passages[0]] == ["rare"]


def test_a_commit_that_is_gone_is_said_so(tmp_path):
    mine = made(tmp_path / "mine")
    before = mine._folder.snapshot().manifest
    mine.compact()
    shard = Shard(str(tmp_path / "mine"), Share(0, 2))
    with pytest.raises(SweptError, match="is missing; restore the collection from a copy"):
        shard.documents(before, [0])


def test_a_shard_that_does_not_answer_in_time_is_named(cluster, small):
    with small.sharded(2, timeout=1.0) as opened:
        whole = small.lexical(5).search("ant")
        silent = pids(opened, cluster)[1]
        os.kill(silent, signal.SIGSTOP)
        try:
            results = opened.lexical(5).run(["ant", "bee"]).results
        finally:
            os.kill(silent, signal.SIGCONT)
        assert all(
            re.search(r"LostError: shard 2 of 2 of 'small' is lost, and no other is there after 1 s", result.error)
            for result in results
        )
        until(lambda: opened.lexical(5).run({"q": "ant"}).results[0] == whole)


def test_closed_shards_end_and_their_pipelines_say_so(cluster, small):
    opened = small.sharded(2)
    pipe, running = opened.lexical(5), pids(opened, cluster)
    assert pipe.search("ant").hits
    seen = {(each.job, each.operator, each.subtask): each.pid for each in cluster_status().actors}
    assert [seen["small", "shard", number] for number in (1, 2)] == running
    opened.close()
    opened.close()
    assert not any(each.job == "small" for each in cluster_status().actors)
    until(lambda: all(map(dead, running)))
    with pytest.raises(sage.SageError, match="shard 1 of 2 of 'small' is closed, or the process that opened it has"):
        pipe.search("ant")


def test_shards_end_with_the_process_that_opened_them(cluster, small):
    address = cluster.get_runtime_context().gcs_address
    code = (
        "import os, sage_nb as sage, ray\n"
        f"opened = sage.Collection({small._source.path!r}).sharded(2, env=sage.RayEnvironment(address={address!r}))\n"
        "print(*[ray.get(opened.service.handle(n).place.remote())[1] for n in range(2)], flush=True)\n"
        "os.kill(os.getpid(), 9)\n"
    )
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=300)
    running = list(map(int, done.stdout.split()))
    assert len(running) == 2, done.stderr
    until(lambda: all(map(dead, running)))


@pytest.mark.parametrize(
    ("act", "kind", "sentence"),
    [
        (lambda c: c.sharded(0), BadValueError, "the number of shards must be a whole number of 1 or more, got 0"),
        (lambda c: c.sharded(True), BadValueError, "must be a whole number of 1 or more, got True"),
        (lambda c: c.sharded(2.0), BadValueError, "must be a whole number of 1 or more, got 2.0"),
        (lambda c: c.sharded(2, on_lost="wiat"), BadValueError, "on_lost must be 'wait' or 'degrade', got 'wiat'"),
        (lambda c: c.sharded(2, timeout=0), BadValueError, "timeout must be more than 0 seconds, got 0"),
        (lambda c: c.sharded(2, env=sage.LocalEnvironment()), BadValueError, "shards are actors on a cluster, got env"),
    ],
)
def test_a_mistake_gets_a_sentence(small, act, kind, sentence):
    with pytest.raises(kind, match=sentence):
        act(small)


def test_what_cannot_be_in_shards_is_refused(small, tmp_path):
    with small.sharded(1) as opened:
        with pytest.raises(BadValueError, match=r"rank_bm25 wants a whole collection and Collection.* is in parts"):
            opened.lexical(5, engine="rank_bm25")
        with pytest.raises(CollectionError, match="'small' was built without an encoder, so it has no vectors"):
            opened.dense(5).search("ant")
    with sage.Collection(str(tmp_path / "void")).sharded(2) as empty:  # noqa: SIM117
        with pytest.raises(CollectionError, match="the collection 'void' is empty; add documents to it with .add"):
            empty.lexical(5).search("ant")


def test_a_damaged_collection_is_said_so_and_leaves_no_actors(cluster, tmp_path):
    mine = made(tmp_path / "mine")
    next((tmp_path / "mine" / "segments").rglob("lengths.npy")).write_bytes(b"")
    again = sage.Collection.__new__(sage.Collection)
    vars(again).update(vars(mine))
    with pytest.raises(CollectionError, match=r"lengths.npy is damaged"):
        again.sharded(2)


def test_a_view_of_shards_is_a_value(small):
    with small.sharded(2) as opened:
        assert opened.where(source="zoo").lexical(3) == opened.where(source="zoo").lexical(3)
        assert opened.lexical(3) != small.lexical(3)
        assert repr(opened.where(source="zoo")) == f"{small!r}.sharded(2).where(source='zoo')"
        assert issubclass(LostError, ServiceError)
