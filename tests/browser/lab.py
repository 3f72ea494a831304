"""A real JupyterLab, and its notebooks in a real Chromium."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from contextlib import contextmanager

import nbformat

TOKEN = "sage"
SETTINGS = {
    "@jupyterlab/notebook-extension/tracker": {"windowingMode": "none"},
    "@jupyterlab/apputils-extension/notification": {"fetchNews": "false", "checkForUpdates": False},
}
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
CONNECTED = "() => jupyterapp.shell.currentWidget?.sessionContext?.session?.kernel?.connectionStatus === 'connected'"
QUIET = ("favicon", "net::ERR_ABORTED")  # what JupyterLab itself says of files that it does without

ASK = """async (code) => {
    const kernel = jupyterapp.shell.currentWidget.sessionContext.session.kernel;
    const future = kernel.requestExecute({ code, store_history: false });
    let said = "";
    future.onIOPub = ({ header, content }) => {
        if (header.msg_type === "stream") said += content.text;
        if (header.msg_type === "error") said += content.traceback.join("\\n");
    };
    await future.done;
    return said;
}"""


class Lab:
    """One server: its address and its folder."""

    def __init__(self, address, folder):
        self.address, self.folder = address, folder


@contextmanager
def jupyterlab(folder):
    """A server in a folder, whose kernels have their home there, too; ended with its kernels."""
    settings = folder / "settings"
    for name, value in SETTINGS.items():
        path = settings / f"{name}.jupyterlab-settings"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(value))
    work, address = folder / "work", f"http://127.0.0.1:{_free_port()}"
    work.mkdir()
    env = {**os.environ, "JUPYTERLAB_SETTINGS_DIR": str(settings), "SAGE_HOME": str(folder / ".sage")}
    env |= {"JUPYTERLAB_WORKSPACES_DIR": str(folder / "workspaces"), "JUPYTER_CONFIG_DIR": str(folder / "config")}
    flags = ["--no-browser", "--allow-root", f"--ServerApp.token={TOKEN}", f"--ServerApp.port={address[17:]}"]
    flags += ["--LabApp.expose_app_in_browser=True"]
    command = [sys.executable, "-m", "jupyterlab", *flags, f"--ServerApp.root_dir={work}"]
    with (folder / "lab.log").open("w") as log:
        server = subprocess.Popen(command, env=env, stdout=log, stderr=log)
    try:
        _until_it_answers(f"{address}/api?token={TOKEN}", server)
        yield Lab(address, work)
    finally:
        server.terminate()
        server.wait(30)


class Notebook:
    """An open notebook: what a person does with it and sees of it."""

    def __init__(self, page, cells):
        self.page, self._cells = page, cells
        self.errors = []
        page.on("console", lambda said: said.type == "error" and self._heard(said.text))
        page.on("pageerror", lambda error: self._heard(str(error)))

    def run_all(self, timeout=120):
        """Every cell, and wait until the last has ended."""
        for cell in range(self._cells):
            self.begin(cell)
        self.idle(timeout)

    def idle(self, timeout=120):
        """Until no cell works or waits."""
        self.page.wait_for_function(
            """() => [...document.querySelectorAll('.jp-CodeCell .jp-InputPrompt')].every(
                prompt => !prompt.textContent.includes('*'))""",
            timeout=timeout * 1000,
        )

    def begin(self, cell):
        """Run one cell and do not wait for it, only until it is seen to wait or work or have a new number.

        On a busy machine JupyterLab drops a key that comes while it moves on, or to a kernel that it connects to.
        """
        prompt = self.page.locator(".jp-Notebook .jp-Cell").nth(cell).locator(".jp-InputPrompt").first
        before, end = prompt.inner_text(), time.monotonic() + 60
        while prompt.inner_text() == before:
            assert time.monotonic() < end, f"cell {cell} was not run"
            self.page.locator(".jp-Notebook .jp-Cell").nth(cell).locator(".cm-content").click()
            self.page.keyboard.press("Control+Enter")
            self._until(lambda: prompt.inner_text() != before, 5)

    def run(self, cell, timeout=120):
        """Run one cell and wait for it."""
        self.begin(cell)
        self.idle(timeout)

    def theme(self, name):
        """JupyterLab in another theme, "Dark" or "Light"; its server keeps it for the pages to come."""
        self.page.evaluate(f"jupyterapp.commands.execute('apputils:change-theme', {{theme: 'JupyterLab {name}'}})")
        self.page.locator(f"body[data-jp-theme-light='{str(name == 'Light').lower()}']").wait_for(state="attached")

    def output(self, cell):
        """What a cell shows."""
        return self.page.locator(".jp-Notebook .jp-Cell").nth(cell).locator(".jp-OutputArea")

    def value(self, expression):
        """What an expression of plain data is in the kernel, asked of it beside the notebook's cells."""
        said = self.page.evaluate(ASK, f"import json; print('<<' + json.dumps({expression}) + '>>')")
        assert "<<" in said, said
        return json.loads(said[said.index("<<") + 2 : said.rindex(">>")])

    def _until(self, true, seconds):
        end = time.monotonic() + seconds
        while not true() and time.monotonic() < end:
            self.page.wait_for_timeout(50)

    def _heard(self, text):
        if not any(quiet in text for quiet in QUIET):
            self.errors.append(text)


def write_notebook(lab, name, cells):
    """A notebook of code cells that names its kernel, without which JupyterLab asks for one."""
    made = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    made.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
    nbformat.write(made, lab.folder / f"{name}.ipynb")


def opened(lab, context, name, cells):
    """The notebook `name` of these cells, open in a new page, its kernel ready."""
    write_notebook(lab, name, cells)
    page = context.new_page()
    notebook = Notebook(page, len(cells))
    page.goto(f"{lab.address}/lab/tree/{name}.ipynb?token={TOKEN}&reset", wait_until="domcontentloaded")
    page.locator(".jp-Notebook .jp-Cell .cm-content").first.wait_for(timeout=60_000)
    # The indicator beside the kernel's name is idle before there is a kernel, and what is run then is not run at all.
    page.locator(".jp-StatusBar-TextItem", has_text="| Idle").wait_for(timeout=90_000)
    indicator = page.locator(".jp-Notebook-ExecutionIndicator[data-status='idle']")
    indicator.wait_for(timeout=60_000, state="attached")  # a narrow page hides it
    page.wait_for_function(CONNECTED, timeout=60_000)  # a cell that is run before is not, and nothing says so
    return notebook


def _free_port():
    with socket.socket() as opening:
        opening.bind(("127.0.0.1", 0))
        return opening.getsockname()[1]


def _until_it_answers(address, server):
    end = time.monotonic() + 300  # beside other work a start takes minutes
    while not _answers(address):
        assert server.poll() is None, "JupyterLab has ended; see lab.log beside its folder"
        assert time.monotonic() < end, "JupyterLab has not answered for 300 s"
        time.sleep(0.2)


def _answers(address):
    try:
        with urllib.request.urlopen(address, timeout=5):
            return True
    except (urllib.error.URLError, OSError):
        return False
