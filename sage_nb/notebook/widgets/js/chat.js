function piece(said, open) {
  const look = said.doubtful ? { class: "doubtful", title: "no cited passage supports this" } : {};
  if (!said.cites) return el("span", look, said.text);
  return el("button", { class: "cite", "aria-label": `open passage ${said.cites}`, onclick: () => open(said.cites) }, said.cites);
}

function passage(number, held) {
  const source = held.source ? el("span", { class: "quiet" }, ` ${held.source}`) : null;
  return el("section", { class: "passage", "aria-label": `passage ${number}` },
    el("div", {}, el("b", {}, `${number} · ${held.title}`), source),
    el("div", { class: "text", dir: "auto", tabindex: 0 }, ...marked(held.text, held.quoted)));
}

function answer(turn) {
  const below = el("div", { "aria-live": "polite" });
  let shown = "";
  const open = (number) => {
    shown = shown === number ? "" : number;
    below.replaceChildren(...(shown && turn.passages[number] ? [passage(number, turn.passages[number])] : []));
  };
  const notes = turn.notes.map((note) => el("div", { class: "quiet" }, note));
  return el("div", { class: "said", dir: "auto" },
    el("div", { class: "words" }, ...turn.pieces.map((each) => piece(each, open))),
    turn.by ? el("div", { class: "quiet" }, `by ${turn.by}`) : null, ...notes, below);
}

function asked(text, whole) {
  const below = whole ? el("div", { class: "quiet" }, `asked as: ${whole}`) : null;
  return el("div", { class: "asked", dir: "auto" }, text, below);
}

function render({ model, el: root }) {
  const log = el("div", { class: "log", role: "log", "aria-label": "conversation" });
  const box = el("input", { type: "text", "aria-label": "your question", placeholder: "Ask a question", dir: "auto" });
  const send = el("button", { class: "first", type: "submit" }, "Ask");
  const clear = el("button", { type: "button", onclick: () => model.send({ do: "clear" }) }, "Clear");
  const wrong = el("div", { class: "wrong", role: "alert" });
  const form = el("form", { class: "row", onsubmit: ask }, sending(box), send, clear);

  function ask(event) {
    event.preventDefault();
    if (!box.value.trim() || model.get("asked")) return;
    model.send({ do: "ask", text: box.value });
    box.value = "";
  }

  function draw() {
    const turns = model.get("turns");
    const drawn = turns.flatMap((turn) => [asked(turn.question, turn.whole), answer(turn)]);
    log.replaceChildren(...drawn, ...(turns.length || model.get("asked") ? [] : [el("div", { class: "quiet" }, "Nothing has been asked yet.")]));
    work();
  }

  function work() {
    log.querySelectorAll(".now").forEach((each) => each.remove());
    const text = model.get("asked");
    if (text) log.append(el("div", { class: "now" }, asked(text, ""), el("div", { class: "said", dir: "auto" }, model.get("writing") || "…")));
    send.disabled = clear.disabled = Boolean(text);
    wrong.textContent = model.get("wrong");
    log.scrollTop = log.scrollHeight;
  }

  // The log's handlers are taken off with it: a widget shown twice draws each time for itself.
  model.on("change:turns", draw);
  for (const name of ["asked", "writing", "wrong"]) model.on(`change:${name}`, work);
  draw();
  root.append(el("div", { class: "sage sage-chat", "data-lm-suppress-shortcuts": "true" }, log, wrong, form));
  return () => {
    model.off("change:turns", draw);
    for (const name of ["asked", "writing", "wrong"]) model.off(`change:${name}`, work);
  };
}

export default { render };
