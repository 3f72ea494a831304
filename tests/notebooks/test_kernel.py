"""Streams in a real kernel: the stop button pauses a job, and the cell run again goes on from there."""

from __future__ import annotations

import time

import pytest
from jupyter_client.manager import start_new_kernel

ENDLESS = """
import itertools, time
import sage_nb as sage

class Endless(sage.SourceFunction):
    def read(self, split, start):
        for n in itertools.count(start):
            time.sleep(0.001)
            yield n

env = sage.LocalEnvironment("endless", checkpoint=sage.Checkpointing("ckpt", every=0.2))
env.from_source(Endless()).sink(sage.JsonlSink("out"))
job = env.submit()
print("going", flush=True)
status = job.wait()
"""
CHECK = """
import json, pathlib
rows = sorted(int(line) for path in pathlib.Path("out").glob("*.jsonl") for line in path.read_text().splitlines())
print(status, rows == list(range(len(rows))), len(rows) > {more})
"""


@pytest.fixture
def kernel(tmp_path):
    manager, client = start_new_kernel(kernel_name="python3", cwd=str(tmp_path))
    yield manager, client
    client.stop_channels()
    manager.shutdown_kernel(now=True)


def shown(client, code, act=lambda text: None):
    """What a cell prints and shows; `act` sees it as it comes."""
    sent, text = client.execute(code), ""
    while True:
        message = client.get_iopub_msg(timeout=120)
        if message["parent_header"].get("msg_id") != sent:
            continue
        content = message["content"]
        text += content.get("text", "") + content.get("data", {}).get("text/plain", "") + content.get("evalue", "")
        act(text)
        if message["msg_type"] == "status" and content["execution_state"] == "idle":
            return text


def interrupted(manager, client):
    """Run the endless cell, and press stop once it is under way."""
    pressed: list[float] = []

    def press(text):
        if "going" in text and not pressed:
            time.sleep(1.0)  # some records, and a checkpoint or two
            manager.interrupt_kernel()
            pressed.append(time.monotonic())

    return shown(client, ENDLESS, press)


@pytest.mark.filterwarnings("ignore")  # of the kernel client's own event loop
def test_the_stop_button_pauses_and_the_cell_goes_on_when_it_is_run_again(kernel):
    manager, client = kernel
    said = interrupted(manager, client)
    assert "Traceback" not in said
    first = shown(client, CHECK.format(more=0))
    assert first.split() == ["paused", "True", "True"]
    count = int(shown(client, "print(len(rows))"))
    interrupted(manager, client)
    assert shown(client, CHECK.format(more=count)).split() == ["paused", "True", "True"]
    assert "endless" in shown(client, "job")
