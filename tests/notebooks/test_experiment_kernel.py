"""The `%%sage_experiment` cell in a real kernel: shared work is done once, stopped work goes on, done work stays."""

from __future__ import annotations

import threading

import pytest

from tests.notebooks.cells import calls, kernel

BODY = """_found = book.lexical(k=20)
short = _found
>> rerank(k=10, model='short')
cut = short % 3
both = short + _found
"""


@pytest.mark.filterwarnings("ignore")  # of the kernel client's own event loop
def test_it_runs_stops_goes_on_and_is_not_run_again(tmp_path):
    with kernel(tmp_path, SLOW="0.002") as asked:
        asked.run("qrels = {f'q{n}': {f'd{n}': 1} for n in range(1, 101)}")
        cell = f"%%sage_experiment seen --on questions --qrels qrels --measures RR --baseline cut\n{BODY}"
        calls(tmp_path)
        begun, ended = threading.Event(), threading.Event()

        def press():
            while not ended.wait(0.05):
                if (tmp_path / "calls").read_text().count("short") >= 3:
                    asked.manager.interrupt_kernel()
                    begun.set()
                    return

        watcher = threading.Thread(target=press)
        watcher.start()
        said = asked.run(cell)
        ended.set()
        watcher.join()
        assert begun.is_set(), said
        assert "3 pipelines, 9 stages asked, 4 to run · stopped; what was computed is kept: run the cell again" in said
        before = calls(tmp_path)["short"]
        said = asked.run(cell)
        rest = calls(tmp_path)["short"]
        assert "3 pipelines, 9 stages asked, 4 run · 100 questions" in said
        assert before + rest <= (100 + 8) * 20  # each pair once, for all three, and what was in hand at the stop
        assert asked.value("[len(seen.values[name]['RR']) for name in seen.names]") == [100, 100, 100]
        said = asked.run(cell)
        assert calls(tmp_path) == {}
        assert "cached" in said
        assert asked.run("%sage trace").startswith("there was no error")
