"""The `%%sage` cell in a real kernel: what runs again is what an edit changed, and nothing else."""

from __future__ import annotations

import pytest

from tests.notebooks.cells import calls, kernel

HYBRID = "book.hybrid(k=50) >> rerank(k=10, model='short')"


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return tmp_path_factory.mktemp("cells")


@pytest.fixture(scope="module")
def shared(place):
    """One kernel for the tests of a file, in which each begins with its own cell name and no calls."""
    with kernel(place) as started:
        yield started


@pytest.fixture
def ask(shared, place, request):
    """Run a cell of this test's own name; gives what it showed and what the models were asked."""
    name = request.node.name.replace("[", "_").replace("]", "")
    shared.run("%sage clear")
    calls(place)

    def asked(body, options="--on questions"):
        said = shared.run(f"%%sage {name} {options}\n{body}")
        return said, calls(place)

    asked.name = name
    return asked


def pairs(shared, name):
    """Distinct pairs that a finished run has scored or found."""
    return shared.value(f"sum(v['model_calls'] + v['items_known'] for n, v in {name}.stages.items() if 'rerank' in n)")


@pytest.mark.filterwarnings("ignore")  # of the kernel client's own event loop
class TestCells:
    """All on one kernel."""

    def test_the_same_cell_again_asks_no_model(self, ask, shared):
        said, first = ask(HYBRID)
        assert f"{ask.name}: 100 of 100 questions" in said
        assert first == {"letters": 100, "short": pairs(shared, ask.name)}
        results = shared.run(f"print([[(h.document.id, h.score) for h in r] for r in {ask.name}])")
        _, again = ask(HYBRID)
        assert again == {}
        assert shared.run(f"print([[(h.document.id, h.score) for h in r] for r in {ask.name}])") == results

    def test_a_larger_k_scores_the_new_pairs_only(self, ask, shared):
        _, first = ask(HYBRID)
        said, second = ask(HYBRID.replace("50", "100"))
        known = shared.value(f"[v['items_known'] for n, v in {ask.name}.stages.items() if 'rerank' in n][0]")
        assert known == first["short"]
        assert second["short"] == pairs(shared, ask.name) - first["short"]
        assert "k 50 → 100" in said

    def test_ten_questions_more_are_ten(self, ask, shared):
        ask(HYBRID)
        shared.run("more = [f'stream of {n}' for n in range(10)] + questions")
        _, second = ask(HYBRID, "--on more")
        assert second["letters"] == 10
        counts = shared.value(f"{{n: [v['cached'], v['computed']] for n, v in {ask.name}.stages.items()}}")
        assert all(each == [100, 10] for each in counts.values())

    def test_another_reranker_retrieves_nothing(self, ask, shared):
        _, first = ask(HYBRID)
        said, second = ask(HYBRID.replace("'short'", "'long'"))
        assert second == {"long": first["short"]}
        assert "model 'short' → 'long'" in said

    @pytest.mark.parametrize(
        "edited", ["# why\n" + HYBRID, HYBRID.replace(" >> ", "\n   >> ") + "  # the best ten", f"(\n{HYBRID}\n)"]
    )
    def test_comments_and_layout_do_not_count(self, ask, edited):
        ask(HYBRID)
        assert ask(edited)[1] == {}

    def test_another_cell_does_not_count(self, ask, shared):
        ask(HYBRID)
        shared.run("unrelated = 3\ndef unrelated_too():\n    return unrelated")
        assert ask(HYBRID)[1] == {}

    def test_only_what_an_edit_changed_in_ones_own_code_runs_again(self, ask, shared):
        shared.run(
            "ran = []\nallowed = ['window']\ndef clean(text):\n    return text.lower()\n"
            "def keep(result):\n    ran_here(result.query.id)\n"
            "    return result.top(5) if clean(result.query.text).split()[0] in allowed else result\n"
            "def ran_here(name):\n    pathlib.Path('ran').open('a').write(name + ' ')"
        )
        body = "book.lexical(k=20) >> keep >> rerank(k=5, model='short')"

        def ran():
            return shared.value("len(pathlib.Path('ran').read_text().split())")

        def own():
            shared.run("pathlib.Path('ran').write_text('')")
            _, asked = ask(body)
            return ran(), asked

        assert own()[0] == 100
        assert own() == (0, {})
        shared.run("allowed.append('barrier')")  # a captured list, mutated
        assert own()[0] == 100
        assert own()[0] == 0
        shared.run("def clean(text):\n    return text.upper().lower()")  # a function that it calls
        assert own()[0] == 100
        shared.run("def clean(text):\n    # as before\n    return (text.upper().lower())")
        assert own()[0] == 0

    def test_a_changed_collection_is_searched_again(self, ask, shared):
        ask(HYBRID)
        shared.run("book.add([sage.Document('new', 'window window window')], progress=False)")
        said, second = ask(HYBRID)
        assert second["letters"] == 1  # the new document: the questions' vectors are known
        assert "source changed" in said
        assert shared.value(f"[v['computed'] for n, v in {ask.name}.stages.items() if 'dense' in n]") == [100]
        shared.run("book.delete('new')")
        assert ask(HYBRID)[1] == {}  # the content is what it was

    def test_other_weights_in_a_models_folder_score_again_and_retrieve_nothing(self, ask, shared, place):
        shared.run("from sage_nb.models.untrained import untrained_cross_encoder as write")
        shared.run("asked, folder = questions[:5], write(pathlib.Path('model'), seed=1)")
        body = "book.hybrid(k=10) >> rerank(k=3, model=folder)"

        def counts():
            _, asked = ask(body, "--on asked")
            ranked = shared.run(f"print([[(h.document.id, h.score) for h in r] for r in {ask.name}])")
            told = f"[sum(v[n] for v in {ask.name}.stages.values()) for n in ('model_calls', 'items_known')]"
            return asked, shared.value(told), ranked

        vectors, (first, _), ranked = counts()
        assert first > vectors["letters"] == 5
        assert counts() == ({}, [0, 0], ranked)
        shared.run("write(pathlib.Path('model'), seed=2)")
        again, scored, other = counts()
        assert (again, scored) == ({}, [first - 5, 0])
        assert other != ranked

    def test_a_model_that_is_defined_anew_scores_again(self, ask, shared):
        _, first = ask(HYBRID)
        shared.run(
            "class Other(Counted):\n    def __init__(self):\n        super().__init__('short', -2)\n"
            "        self.fingerprint = '2'\nsage.cross_encoder('short')(Other)"
        )
        assert ask(HYBRID)[1] == {"short": first["short"]}
        shared.run("sage.cross_encoder('short')(lambda: Counted('short', -1))")
        assert ask(HYBRID)[1] == {}

    def test_what_cannot_be_known_runs_uncached_and_says_so(self, ask, shared):
        shared.run("rows = (n for n in range(10**9))\ndef odd(result):\n    next(rows)\n    return result")
        said, _ = ask("book.lexical(k=5) >> odd")
        assert "odd runs uncached" in said
        assert "rows" in said

    def test_fresh_computes_everything(self, ask):
        _, first = ask(HYBRID)
        assert ask(HYBRID, "--on questions --fresh")[1] == first
        assert ask(HYBRID)[1] == {}

    def test_a_plan_tells_and_runs_nothing(self, ask, shared):
        ask(HYBRID)
        said, asked = ask(HYBRID.replace("rerank(k=10", "rerank(k=5"), "--on questions --plan")
        assert asked == {}
        assert "k 10 → 5" in said
        assert "stale" in said
        assert "cached" in shared.run("%sage plan")

    def test_runs_are_kept_and_compared(self, ask, shared):
        ask("book.lexical(k=10)")
        ask("book.dense(k=10)")
        said = shared.run("%sage runs")
        assert said.count(ask.name) == 2
        shared.run(f"first = sage.Run.load({ask.name!r})")
        assert shared.run(f"print(first.results == list({ask.name}))").strip() == "True"
        ids = [word for word in said.split() if ask.name in word]
        assert "rankings differ" in shared.run(f"%sage diff {ids[0]} {ids[1]}")
        assert "True" in shared.run("print(first.reproduce().results == first.results)")

    def test_results_are_had_while_they_come(self, ask, shared):
        said = shared.run(
            f"%%sage {ask.name} --on questions --background\nbook.lexical(k=20) >> rerank(k=5, model='long')"
        )
        assert "Error" not in said
        assert shared.run(f"for result in {ask.name}:\n    break\nprint(len(result))").strip().endswith("5")
        assert "finished" in shared.run(f"await {ask.name}\nprint({ask.name}.status)")

    def test_two_cells_of_one_name_keep_both_runs(self, ask, shared):
        ask("book.lexical(k=10)")
        ask("book.lexical(k=20)")
        assert shared.value(f"len({ask.name}.queries)") == 100
        assert shared.run("%sage runs " + ask.name).count("finished") == 2


@pytest.mark.filterwarnings("ignore")
def test_a_restarted_kernel_computes_nothing(tmp_path):
    with kernel(tmp_path) as first:
        first.run(f"%%sage answers --on questions\n{HYBRID}")
        before = first.run("print([[(h.document.id, h.score) for h in r] for r in answers])")
    calls(tmp_path)
    with kernel(tmp_path) as second:
        second.run(f"%%sage answers --on questions\n{HYBRID}")
        assert calls(tmp_path) == {}
        assert second.run("print([[(h.document.id, h.score) for h in r] for r in answers])") == before
