// What every widget draws with. Text goes in as text nodes only: nothing that a document says becomes markup.

/** An element: `el("button", {class: "x", "aria-label": "…", onclick: f}, "text", child, …)`; null children are left out. */
function el(tag, attributes = {}, ...children) {
  return filled(document.createElement(tag), attributes, children);
}

/** The same for drawings. */
function svg(tag, attributes = {}, ...children) {
  return filled(document.createElementNS("http://www.w3.org/2000/svg", tag), attributes, children);
}

function filled(made, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else made.setAttribute(name, value === true ? "" : String(value));
  }
  made.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return made;
}

/** Text with the pieces [start, end) marked; they count characters as Python does, an emoji as one. */
function marked(text, pieces) {
  const parts = [], letters = [...text];
  let at = 0;
  for (const [start, end] of pieces) {
    parts.push(letters.slice(at, start).join(""), el("mark", {}, letters.slice(start, end).join("")));
    at = end;
  }
  return [...parts, letters.slice(at).join("")];
}

/** `f` after it has not been called for `ms`: what a slider or a box calls while it moves. */
function settled(f, ms) {
  let timer;
  return (...given) => {
    clearTimeout(timer);
    timer = setTimeout(() => f(...given), ms);
  };
}

/** Enter in `box` sends its form: where a notebook is in command mode, JupyterLab takes the key for itself. */
function sending(box) {
  box.addEventListener("keydown", (event) => {
    if (event.key !== "Enter" || event.isComposing) return;
    event.preventDefault();
    event.stopPropagation();
    box.form.requestSubmit();
  });
  return box;
}
