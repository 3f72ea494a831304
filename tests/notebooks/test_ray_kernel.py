"""Ray in a real kernel, which is first killed and started anew: what a person sees in its cells, and what is left."""

from __future__ import annotations

import os
import re
import signal
from pathlib import Path
from typing import NamedTuple

import pytest
from jupyter_client.manager import start_new_kernel

from tests.runtime.jobs import until

pytestmark = [
    pytest.mark.filterwarnings("ignore"),  # of the kernel client's own event loop
    pytest.mark.timeout(600),
]
BEGIN = """
import itertools, time
import sage_nb as sage
%load_ext sage_nb

class Endless(sage.SourceFunction):
    def read(self, split, start):
        for n in itertools.count(start):
            time.sleep(0.002)
            yield n

def ran(function):
    rows, env = [], sage.RayEnvironment("ran", num_cpus=2)
    env.from_collection([1, 2, 3]).map(function, name="work").sink(sage.CollectSink(rows))
    job = env.submit()
    return job.wait(100), sorted(rows), job

def endless(name, function=abs, **settings):
    env = sage.RayEnvironment(name, num_cpus=2, **settings)
    work = env.from_source(Endless(), on_error="fail").map(function, name="work", parallelism=2, on_error="fail")
    work.sink(sage.JsonlSink(f"out-{name}"), on_error="fail")
    return env.submit()

def until(condition):
    end = time.monotonic() + 100
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)
"""


class Said(NamedTuple):
    """What came while a cell ran, from whichever cell: what was printed, shown, and raised."""

    printed: str
    shown: str
    raised: str


NOTHING = Said("", "", "")


class Notebook:
    """A kernel and what it says. Its cluster is its own, whatever else there is on the machine."""

    def __init__(self, folder):
        places = os.environ | {"RAY_ADDRESS": "127.0.0.1:1"}
        self.manager, self.client = start_new_kernel(kernel_name="python3", cwd=str(folder), env=places)

    @property
    def pid(self):
        return self.manager.provisioner.pid

    def run(self, code, act=lambda: None):
        """Run a cell; `act` is called whenever it shows something."""
        sent, printed, shown, raised = self.client.execute(code), "", "", ""
        while True:
            message = self.client.get_iopub_msg(timeout=300)
            kind, content = message["msg_type"], message["content"]
            shown += content["data"]["text/plain"] if kind == "execute_result" else ""
            if kind == "error":
                raised += "\n".join(content["traceback"])
            if kind == "stream":
                printed += content["text"]
            if kind == "display_data":
                act()
            idle = kind == "status" and content["execution_state"] == "idle"
            if idle and message["parent_header"].get("msg_id") == sent:
                return Said(printed, shown, raised)

    def value(self, expression):
        """A Python literal of the kernel's."""
        said = self.run(f"print(repr({expression}))")
        assert not said.raised, said.raised
        return eval(said.printed)  # noqa: S307  what our own cell printed

    def stopped(self, job):
        """Wait for a job in a cell, and press the stop button when its progress shows; the job's status then."""
        pressed: list = []

        def press():
            if not pressed:
                pressed.append(self.manager.interrupt_kernel())

        said = self.run(f"status = {job}.wait(progress=True)", press)
        assert (said.shown, said.raised, pressed) == ("", "", [None])
        return self.value("status")

    def kill(self):
        """Kill -9, and start a new one."""
        process = self.manager.provisioner.process
        process.send_signal(signal.SIGKILL)
        process.wait()
        self.manager.restart_kernel(now=True)
        self.client.wait_for_ready(timeout=120)

    def begin(self):
        """Define what the cells use, and start Ray."""
        for _ in range(4):
            assert self.run(BEGIN) == NOTHING
            raised = self.run("ran(abs)").raised
            if "timed out during startup" not in raised:
                break
            self.kill()  # on a busy machine a node may not come up within Ray's half minute
        assert raised == ""

    def close(self):
        self.client.stop_channels()
        self.manager.shutdown_kernel(now=True)


def running():
    """Parents of all processes that run, by pid."""
    found = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                state, parent = (folder / "stat").read_text().rpartition(")")[2].split()[:2]
            except OSError:  # it has just ended
                continue
            if state != "Z":
                found[int(folder.name)] = int(parent)
    return found


def descendants(pid):
    """A process's children, and theirs."""
    parents, found, fresh = running(), set(), {pid}
    while fresh := {each for each, parent in parents.items() if parent in fresh} - found:
        found |= fresh
    return found


def named(pid):
    """How a process calls itself."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ").strip()
    except OSError:
        return ""


AGENTS = ("ray::DashboardAgent", "ray::RuntimeEnvAgent")  # Ray's: they try for a minute to tell the dead of its death


@pytest.fixture(scope="module")
def killed(tmp_path_factory):
    """A notebook whose kernel was killed while a job ran, and the processes that it had."""
    notebook = Notebook(tmp_path_factory.mktemp("notebook"))
    try:
        notebook.begin()
        code = "job = endless('cut short')\nuntil(lambda: job.metrics().total('JsonlSink', 'passed'))"
        assert notebook.run(code) == NOTHING
        processes = {pid: named(pid) for pid in descendants(notebook.pid)}
        notebook.kill()
        notebook.begin()
        yield notebook, processes
    finally:
        notebook.close()


@pytest.fixture
def notebook(killed):
    return killed[0]


def test_a_killed_kernel_takes_its_jobs_and_its_cluster_with_it(killed):
    _, processes = killed
    actors = [pid for pid, name in processes.items() if name.startswith("ray::Host")]
    assert len(actors) >= 4
    lasting = {pid for pid, name in processes.items() if name in AGENTS}
    until(lambda: not set(processes) - lasting & set(running()), 60)


def test_a_second_start_with_other_arguments_is_reported_in_a_sentence(notebook):
    assert notebook.value("ran(lambda n: 2 * n)[:2]") == ("finished", [2, 4, 6])
    said = notebook.run("env = sage.RayEnvironment('more', num_cpus=3); env.from_collection([1]).for_each(abs)")
    assert said == NOTHING
    assert notebook.run("env.submit()").raised == (
        "ClusterError: this process is connected to a Ray cluster with 2 CPU, and num_cpus=3 was asked; "
        "leave it out, or end the other first with ray.shutdown()"
    )


def test_a_class_defined_anew_takes_effect_in_the_next_run(notebook):
    for version in (1, 2):
        code = f"class Tag(sage.MapFunction):\n    def map(self, value):\n        return value, {version}"
        assert notebook.run(code) == NOTHING
        assert notebook.value("ran(Tag)[:2]") == ("finished", [(n, version) for n in (1, 2, 3)])


def test_what_actors_print_is_the_jobs_and_shows_in_no_cell(notebook):
    code = "def speak(n):\n    print('number', n)\n    return n\n\ntalking = endless('talking', speak)"
    assert notebook.run(code) == NOTHING
    try:
        assert notebook.run("until(lambda: len(talking.lines) > 100)") == NOTHING
        lines = notebook.value("talking.lines[:100]")
    finally:
        assert notebook.run("talking.cancel()") == NOTHING
    spoken = [re.fullmatch(r"work\[(\d)\] number (\d+)", line).groups() for line in lines]
    numbers = {subtask: [int(n) for at, n in spoken if at == subtask] for subtask in "01"}
    assert all(each == sorted(each) for each in numbers.values())
    whole = min(each[-1] for each in numbers.values())  # up to here both have told all they had
    assert set(range(whole)) <= {n for each in numbers.values() for n in each}
    assert notebook.run("print('later')") == Said("later\n", "", "")


def test_the_stop_button_pauses_a_job_which_goes_on_when_its_cell_is_run_again(notebook):
    checkpoint = "sage.Checkpointing('ckpt', every=0.2)"
    code = f"job = endless('kept', checkpoint={checkpoint})\nuntil(lambda: job.metrics().committed)"
    files = "pathlib.Path('out-kept').glob('*.jsonl')"
    look = f"import json, pathlib\nlines = [line for path in {files} for line in path.open()]"
    counts = [0]
    for _ in range(2):
        assert notebook.run(code) == NOTHING
        assert notebook.stopped("job") == "paused"
        assert notebook.run(look) == NOTHING
        shown = notebook.value("[json.loads(line) for line in lines]")
        assert sorted(shown) == list(range(len(shown)))
        counts.append(len(shown))
    assert counts[0] < counts[1] < counts[2]


def test_the_stop_button_cancels_a_job_without_a_folder_and_the_kernel_goes_on(notebook):
    assert notebook.run("job = endless('brief')") == NOTHING
    assert notebook.stopped("job") == "cancelled"
    assert notebook.value("ran(lambda n: n + 1)[:2]") == ("finished", [2, 3, 4])


def test_a_job_can_be_awaited_and_what_else_awaits_goes_on(notebook):
    code = """
    import asyncio
    async def tick():
        while not job.status == "finished":
            ticks.append(1)
            await asyncio.sleep(0.01)
    rows, ticks, env = [], [], sage.RayEnvironment("awaited")
    env.from_collection([1, 2]).map(lambda n: time.sleep(0.3) or n).sink(sage.CollectSink(rows))
    job = env.submit()
    status, _ = await asyncio.gather(job, tick())
    """
    assert notebook.run("\n".join(line[4:] for line in code.splitlines())) == NOTHING
    assert notebook.value("(status, rows, len(ticks) > 5)") == ("finished", [1, 2], True)


def test_status_lists_a_job_and_its_actors_while_it_runs(notebook):
    assert notebook.run("watched = endless('watched')") == NOTHING
    try:
        assert notebook.run("until(lambda: watched.metrics().total('JsonlSink', 'passed'))") == NOTHING
        said = notebook.run("%sage status")
        rows = [line.split() for line in said.shown.splitlines()]
        found = {(row[1], row[2]): int(row[4]) for row in rows if row[:1] == ["watched"]}
        assert set(found) == {("source", "0"), ("work", "0"), ("work", "1"), ("JsonlSink", "0")}
        assert set(found.values()) <= descendants(notebook.pid)
        assert "1 of 1 nodes alive" in said.shown
    finally:
        assert notebook.run("watched.cancel()") == NOTHING
    assert "jobs of this process: 0" in notebook.run("%sage status").shown


def test_in_the_end_nothing_is_left_of_a_killed_kernel(killed):
    until(lambda: not set(killed[1]) & set(running()), 150)
