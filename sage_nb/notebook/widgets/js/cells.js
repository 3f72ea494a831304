const VIEW = "application/vnd.jupyter.widget-view+json";

/** The notebook as JupyterLab and Notebook 7 share it, where there is one to put cells into. */
const notebookOf = (model) => model.widget_manager?.context?.model?.sharedModel ?? null;

/** Put a cell below the one that shows the widget `id`, or at the end. */
function insertBelow(notebook, id, source) {
  const shows = (cell) => (cell.outputs ?? []).some((output) => output.data?.[VIEW]?.model_id === id);
  const found = notebook.cells.findIndex(shows);
  notebook.insertCell(found < 0 ? notebook.cells.length : found + 1, { cell_type: "code", source, metadata: {} });
}

/** Copy the text of an element; where the browser forbids it, it is selected for the keyboard. Says which of the two. */
async function copied(shown) {
  try {
    await navigator.clipboard.writeText(shown.textContent);
    return "Copied.";
  } catch {
    window.getSelection().selectAllChildren(shown);
    return "Selected: copy it with the keyboard.";
  }
}
