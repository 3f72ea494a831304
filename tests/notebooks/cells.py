"""A real kernel that runs `%%sage` cells over a small collection, with models that count what they are asked."""

from __future__ import annotations

import gc
import json
import os
import signal
import warnings
from contextlib import contextmanager

from jupyter_client.manager import start_new_kernel

PREPARE = '''
import json, os, pathlib, time
import numpy as np
import sage_nb as sage
%load_ext sage_nb

SLOW = float(os.environ.get("SLOW", "0"))

def note(model, count):
    with open("calls", "a") as calls:
        calls.write(json.dumps([model, count]) + "\\n")

class Counted:
    """Scores a pair by the passage's length; writes down how many it was asked."""

    def __init__(self, name, sign):
        self.name, self.fingerprint, self.truncated = name, "1", 0
        self._sign = sign

    def score(self, pairs):
        note(self.name, len(pairs))
        time.sleep(SLOW * len(pairs))
        return np.array([self._sign * len(passage) - sum(map(ord, asked)) % 7 for asked, passage in pairs], np.float32)

class Encoding:
    """A vector of letter counts; writes down how many texts it was asked."""

    name, dimension, fingerprint, truncated = "letters", 8, "1", 0

    def encode(self, texts):
        note("letters", len(texts))
        counts = np.array([[1 + text.count(each) for each in "aeiourst"] for text in texts], np.float32)
        return counts / np.linalg.norm(counts, axis=1, keepdims=True)

sage.cross_encoder("short")(lambda: Counted("short", -1))
sage.cross_encoder("long")(lambda: Counted("long", 1))
sage.encoder("letters")(Encoding)
words = "window barrier stream record state timer source sink join key".split()
texts = [f"{words[n % 10]} {words[n // 10 % 10]} {words[n // 3 % 10]} " + "x" * (n % 23) for n in range(400)]
book = sage.Collection("book", encoder="letters")
book.add([sage.Document(f"d{n}", text) for n, text in enumerate(texts)], progress=False)
questions = [f"{words[n % 10]} {words[n // 10]}" for n in range(100)]
pathlib.Path("calls").write_text("")
'''


class Kernel:
    """One that can be asked, interrupted and killed."""

    def __init__(self, manager, client):
        self.manager, self.client = manager, client

    def run(self, code, act=lambda text: None):
        """What a cell prints, shows and raises; `act` sees it as it comes."""
        sent, text = self.client.execute(code), ""
        while True:
            message = self.client.get_iopub_msg(timeout=120)
            if message["parent_header"].get("msg_id") != sent:
                continue
            content = message["content"]
            text += content.get("text", "") + content.get("data", {}).get("text/plain", "")
            text += "\n".join(content.get("traceback", []))
            act(text)
            if message["msg_type"] == "status" and content["execution_state"] == "idle":
                return text

    def value(self, expression):
        """What an expression of plain data is."""
        return json.loads(self.run(f"print(json.dumps({expression}))"))

    def kill(self):
        """With -9."""
        os.kill(self.manager.provisioner.process.pid, signal.SIGKILL)


@contextmanager
def kernel(folder, prepare=PREPARE, **variables):
    """A kernel in a folder, whose home lies there, too."""
    env = {**os.environ, "SAGE_HOME": str(folder / ".sage"), **variables}
    manager, client = start_new_kernel(kernel_name="python3", cwd=str(folder), env=env)
    asked = Kernel(manager, client)
    try:
        said = asked.run(prepare)
        assert "Error" not in said, said
        yield asked
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)
        with warnings.catch_warnings():  # what the kernel's client leaves open is not ours to close
            warnings.simplefilter("ignore")
            del asked, client, manager
            gc.collect()


def calls(folder):
    """What models were asked since the last look, by model."""
    path = folder / "calls"
    counts: dict[str, int] = {}
    for line in path.read_text().splitlines():
        model, count = json.loads(line)
        counts[model] = counts.get(model, 0) + count
    path.write_text("")
    return counts
