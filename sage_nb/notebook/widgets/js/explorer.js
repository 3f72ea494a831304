const ROW = 62, HEAD = 54, GAP = 36; // pixels: a hit, a column's head, the room between columns; as explorer.css has them

/** The form: a question, those of the past and of examples at hand. */
function asking(model) {
  const id = `sage-${Math.random().toString(36).slice(2)}`;
  const known = el("datalist", { id });
  const box = el("input", { type: "text", list: id, "aria-label": "your question", placeholder: "Ask a question", dir: "auto" });
  const button = el("button", { class: "first", type: "submit" }, "Ask");
  const chips = el("div", { class: "row chips" });
  const ask = (text) => text.trim() && model.send({ do: "ask", text });
  const form = el("form", { class: "row ask", onsubmit: (event) => { event.preventDefault(); ask(box.value); } }, sending(box), button, known);
  const chip = (text) => el("button", { type: "button", class: "chip", dir: "auto", onclick: () => { box.value = text; ask(text); } }, text);
  const row = (label, texts) => (texts.length ? [el("span", { class: "quiet" }, label), ...texts.map(chip)] : []);
  function draw() {
    const past = model.get("history"), examples = model.get("examples");
    known.replaceChildren(...[...new Set([...past, ...examples])].map((text) => el("option", { value: text })));
    const before = past.slice(1, 5).filter((text) => !examples.includes(text));
    chips.replaceChildren(...row("Examples", examples), ...row("Before", before));
  }
  return { draw, node: el("div", {}, form, chips), value: () => { if (document.activeElement !== box) box.value = model.get("question"); } };
}

/** A slider for each knob; one that is being moved is left alone. */
function sliders(model) {
  const node = el("div", { class: "knobs", role: "group", "aria-label": "settings of the pipeline" });
  let inputs = [];
  function made(knob, at) {
    const shown = el("output", { class: "number" });
    const send = settled(() => model.send({ do: "turn", knob: at, value: Number(input.value) }), 60);
    const input = el("input", { type: "range", min: knob.low, max: knob.high, step: knob.step, "aria-label": knob.name,
      oninput: () => { shown.textContent = input.value; send(); } });
    inputs.push([input, shown]);
    return el("label", { class: "knob", title: knob.name }, el("span", { class: "quiet name" }, knob.name), input, shown);
  }
  function draw() {
    const knobs = model.get("knobs");
    if (knobs.length !== inputs.length) { inputs = []; node.replaceChildren(...knobs.map(made)); }
    knobs.forEach((knob, at) => {
      const [input, shown] = inputs[at];
      input.max = knob.high;
      if (input.matches(":active")) return;
      input.value = knob.value;
      shown.textContent = input.value;
    });
  }
  return { draw, node };
}

/** Filters by the values of what was found. */
function filters(model) {
  const node = el("div", { class: "row filters", role: "group", "aria-label": "filters" });
  const send = (field, value) => model.send({ do: "choose", field, value });
  const controls = {
    choice: (facet) => el("select", { "aria-label": facet.name, onchange: (event) => send(facet.name, event.target.value) },
      el("option", { value: "" }, "any"),
      ...facet.values.map((value) => el("option", { value, selected: value === facet.chosen }, value))),
    text: (facet) => el("input", { type: "text", size: 12, value: facet.chosen, "aria-label": `${facet.name} contains`, placeholder: "contains",
      onchange: (event) => send(facet.name, event.target.value) }),
    range: (facet) => {
      const [low, high] = facet.chosen.split("…");
      const end = (name, value) => el("input", { type: "text", inputmode: "decimal", size: 5, value: value || "", "aria-label": `${facet.name} ${name}`, placeholder: name,
        onchange: () => send(facet.name, `${ends[0].value}…${ends[1].value}`) });
      const ends = [end("from", low), end("to", high)];
      return el("span", { class: "row" }, ...ends);
    },
  };
  function draw() {
    const at = [...node.querySelectorAll("select, input")].indexOf(document.activeElement);
    node.replaceChildren(...model.get("facets").map((facet) =>
      el("label", { class: "row facet" }, el("span", { class: "quiet", dir: "auto" }, facet.name), controls[facet.kind](facet))));
    if (at >= 0) node.querySelectorAll("select, input")[at]?.focus();
  }
  return { draw, node };
}

function movedBy(row) {
  if (!row.moved) return null;
  const up = row.moved > 0, by = Math.abs(row.moved);
  return el("span", { class: up ? "up" : "down", "aria-label": `${up ? "up" : "down"} ${by}` }, `${up ? "▲" : "▼"}${by}`);
}

/** A ranking: its head, then its hits, one of which can be reached by Tab and the others by arrow keys. */
function column(drawn, at, open) {
  const left = drawn.kept !== null && drawn.total > drawn.kept ? ` · first ${drawn.kept} go on` : "";
  const head = el("div", { class: "head" },
    el("div", { class: "name" }, el("b", {}, drawn.name), el("span", { class: "quiet" }, ` ${drawn.total.toLocaleString("en")}${left}`)),
    el("div", { class: "quiet about", title: drawn.about }, drawn.about));
  const hits = drawn.rows.map((row, place) => el("div", {
    class: drawn.kept !== null && place >= drawn.kept ? "hit cut" : "hit", role: "option", tabindex: place ? -1 : 0, "data-doc": row.doc, "data-rank": row.rank,
    "aria-label": `${drawn.name} ${row.rank}: ${row.title}, score ${row.score}`, "aria-selected": "false", onclick: () => open(row.doc),
  },
  el("div", { class: "line" }, el("span", { class: "rank number" }, row.rank), el("span", { class: "title", dir: "auto" }, row.title),
    el("span", { class: "mark-of" }), movedBy(row), el("span", { class: "number score" }, row.score)),
  el("div", { class: "quiet text", dir: "auto" }, ...marked(row.text, row.marks))));
  const words = drawn.terms.map((term) => el("div", { class: "term" }, el("span", { dir: "auto" }, term.text), el("span", { class: "number quiet" }, term.weight)));
  const list = words.length ? el("div", { class: "terms" }, ...words) : el("div", { role: "listbox", "aria-label": `${drawn.name}, ${drawn.about}` }, ...hits);
  return el("div", { class: "stage", "data-column": at }, head, list, drawn.total || words.length ? null : el("div", { class: "quiet none" }, "no hits"));
}

/** Where the documents of one column stand in the next. */
function moves(from, to) {
  const places = new Map(to.rows.map((row, place) => [row.doc, place]));
  const middle = (place) => HEAD + ROW * (place + 0.5);
  const lines = from.rows.map((row, place) => {
    if (!places.has(row.doc)) return null;
    const there = places.get(row.doc), [y, z] = [middle(place), middle(there)];
    const way = there < place ? "up" : there > place ? "down" : "same";
    return svg("path", { class: `move ${way}`, "data-doc": row.doc, d: `M0 ${y}C${GAP / 2} ${y} ${GAP / 2} ${z} ${GAP} ${z}` });
  });
  const high = HEAD + ROW * Math.max(from.rows.length, to.rows.length, 1);
  return svg("svg", { class: "moves", width: GAP, height: high, viewBox: `0 0 ${GAP} ${high}`, "aria-hidden": "true" }, ...lines);
}

/** All rankings, side by side. */
function rankings(model, open) {
  const board = el("div", { class: "board" });
  const more = el("button", { type: "button", class: "more", onclick: () => model.send({ do: "more" }) });
  const node = el("div", {}, board, more);
  const all = (doc) => board.querySelectorAll(`[data-doc="${doc}"]`);
  const follow = (doc) => {
    board.querySelectorAll(".on").forEach((each) => each.classList.remove("on"));
    if (doc !== undefined) all(doc).forEach((each) => each.classList.add("on"));
  };
  const doc = (event) => event.target.closest?.("[data-doc]")?.dataset.doc;
  board.addEventListener("mouseover", (event) => follow(doc(event)));
  board.addEventListener("mouseleave", () => follow(undefined));
  board.addEventListener("focusin", (event) => follow(doc(event)));
  board.addEventListener("keydown", (event) => {
    const here = event.target.closest(".hit");
    if (!here) return;
    const to = next(here, event.key);
    if (to) { here.tabIndex = -1; to.tabIndex = 0; to.focus(); }
    else if (event.key === "Enter" || event.key === " ") open(Number(here.dataset.doc));
    else if (event.key === "r" || event.key === "n") model.send({ do: "mark", doc: Number(here.dataset.doc), grade: event.key === "r" ? 1 : 0 });
    else if (!event.key.startsWith("Arrow")) return;
    event.preventDefault();
  });
  function next(here, key) {
    const list = [...here.parentNode.children], at = list.indexOf(here);
    const ends = { ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: list.length - 1 };
    if (key in ends) return list[ends[key]];
    if (key !== "ArrowLeft" && key !== "ArrowRight") return null;
    const stages = [...board.querySelectorAll(".stage")], by = key === "ArrowRight" ? 1 : -1;
    for (let to = stages.indexOf(here.closest(".stage")) + by; stages[to]; to += by) {
      const hits = stages[to].querySelectorAll(".hit");
      if (hits.length) return stages[to].querySelector(`[data-doc="${here.dataset.doc}"]`) || hits[Math.min(at, hits.length - 1)];
    }
    return null;
  }
  function draw() {
    const columns = model.get("columns"), held = board.contains(document.activeElement) ? document.activeElement.dataset : null;
    const column_ = held && document.activeElement.closest(".stage").dataset.column;
    board.replaceChildren(...columns.flatMap((drawn, at) => [at ? moves(columns[at - 1], drawn) : null, column(drawn, at, open)]).filter(Boolean));
    const longest = Math.max(0, ...columns.map((drawn) => drawn.total)), shown = Math.max(0, ...columns.map((drawn) => drawn.rows.length));
    more.hidden = shown >= longest;
    more.textContent = `Show more: ${shown} of ${longest.toLocaleString("en")} are shown`;
    if (held) board.querySelector(`[data-column="${column_}"] [data-rank="${held.rank}"]`)?.focus();
    state();
  }
  function state() {
    const marks = model.get("marks"), opened = model.get("opened").doc;
    for (const hit of board.querySelectorAll(".hit")) {
      const grade = marks[hit.dataset.doc], sign = hit.querySelector(".mark-of");
      sign.textContent = grade === undefined ? "" : grade ? "✓" : "✕";
      sign.className = `mark-of ${grade ? "up" : "down"}`;
      hit.setAttribute("aria-selected", String(Number(hit.dataset.doc) === opened));
    }
    for (const move of board.querySelectorAll(".move")) move.classList.toggle("open", Number(move.dataset.doc) === opened);
  }
  return { draw, state, node };
}

function reason(each) {
  const terms = each.terms.map(([what, working, value]) =>
    el("tr", {}, el("td", { dir: "auto" }, what), el("td", { class: "quiet" }, working), el("td", { class: "number" }, value)));
  const total = terms.length > 1 ? el("tr", {}, el("td", {}, each.total), el("td"), el("td", { class: "number" }, el("b", {}, each.score))) : null;
  return el("section", { class: "reason" },
    el("div", {}, el("b", {}, each.stage), ` #${each.rank} `, el("span", { class: "number" }, each.score)),
    el("div", { class: "quiet" }, each.said), terms.length ? el("table", {}, el("tbody", {}, ...terms, total)) : null);
}

/** The open passage: its text with what stands around it, its marks, and why it is where it is. */
function passage(model) {
  const node = el("div", { class: "opened", "aria-live": "polite" });
  let shown, buttons = [];
  function draw() {
    const held = model.get("opened");
    buttons = [];
    node.hidden = held.doc === undefined;
    if (node.hidden) { shown = undefined; return node.replaceChildren(); }
    const button = (grade, label) => {
      const made = el("button", { type: "button", onclick: () => model.send({ do: "mark", doc: held.doc, grade: model.get("marks")[held.doc] === grade ? null : grade }) }, label);
      buttons.push([made, grade]);
      return made;
    };
    const around = (text) => (text ? el("span", { class: "around" }, text) : null);
    const facts = [...held.facts, ...held.also.map((each) => ["also in", each])].map(([name, value]) => el("span", { class: "fact", dir: "auto" }, el("span", { class: "quiet" }, `${name} `), value));
    node.replaceChildren(
      el("div", { class: "row title-row" }, el("b", { class: "title", dir: "auto" }, held.title),
        button(1, "✓ Relevant"), button(0, "✕ Not relevant"),
        el("button", { type: "button", "aria-label": "close the passage", onclick: () => model.send({ do: "shut" }) }, "Close")),
      el("div", { class: "facts" }, ...facts),
      el("div", { class: "halves" },
        el("section", { class: "passage", "aria-label": "passage", tabindex: 0 },
          el("div", { class: "whole", dir: "auto" }, around(held.before), ...marked(held.text, held.marks), around(held.after))),
        el("section", { class: "why", "aria-label": "why it is here" }, el("div", { class: "quiet" }, "Why is it here?"), ...held.reasons.map(reason))));
    state();
    if (shown !== held.doc) node.scrollIntoView({ block: "nearest" });
    shown = held.doc;
  }
  function state() {
    for (const [made, grade] of buttons) made.setAttribute("aria-pressed", String(model.get("marks")[model.get("opened").doc] === grade));
  }
  return { draw, state, node };
}

/** What an answering stage has written: its citations open the passages. */
function answered(model, open) {
  const node = el("div", { class: "answer", dir: "auto", "aria-live": "polite" });
  function draw() {
    const held = model.get("answer");
    node.hidden = !held.pieces;
    node.replaceChildren(...(held.pieces || []).map((each) => (each.cites && each.cites in held.docs
      ? el("button", { type: "button", class: "cite", "aria-label": `open passage ${each.cites}`, onclick: () => open(held.docs[each.cites]) }, each.cites)
      : el("span", each.doubtful ? { class: "doubtful", title: "no cited passage supports this" } : {}, each.text))),
    ...(held.by ? [el("div", { class: "quiet" }, `by ${held.by}`)] : []));
  }
  return { draw, node };
}

function render({ model, el: root }) {
  const open = (doc) => model.send({ do: "open", doc });
  const ask = asking(model), knobs = sliders(model), facets = filters(model), board = rankings(model, open), shown = passage(model), said = answered(model, open);
  const status = el("div", { class: "quiet status", role: "status" }), notes = el("div", { class: "quiet" }), saved = el("div", { class: "quiet" });
  const wrong = el("div", { class: "wrong", role: "alert" }), written = el("code", { class: "written" });
  const reset = el("button", { type: "button", onclick: () => model.send({ do: "reset" }) }, "Reset");
  function line() {
    status.textContent = model.get("busy") ? "Working …" : model.get("status");
    notes.textContent = model.get("notes").join(" · ");
    saved.textContent = model.get("saved");
    written.textContent = model.get("written");
    wrong.textContent = model.get("wrong");
    if (model.get("wrong")) { knobs.draw(); facets.draw(); }
  }
  const heard = {
    history: ask.draw, examples: ask.draw, question: ask.value, knobs: knobs.draw, facets: facets.draw, columns: board.draw, answer: said.draw,
    opened: () => { shown.draw(); board.state(); }, marks: () => { shown.state(); board.state(); },
    busy: line, status: line, notes: line, saved: line, written: line, wrong: line,
  };
  for (const [name, draw] of Object.entries(heard)) { model.on(`change:${name}`, draw); draw(); }
  // JupyterLab's own keys (arrows, Enter, r …) must not act on cells, nor move the focus there, while one works in here;
  // Escape leads out.
  const own = (event) => { if (!event.ctrlKey && !event.metaKey && event.key !== "Escape") event.stopPropagation(); };
  root.append(el("div", { class: "sage sage-explorer", "data-lm-suppress-shortcuts": "true", onkeydown: own },
    ask.node, el("details", { class: "settings", open: true }, el("summary", {}, "Settings and filters"), knobs.node, el("div", { class: "row" }, facets.node, reset), written),
    wrong, status, notes, said.node, board.node, shown.node, saved));
  return () => Object.entries(heard).forEach(([name, draw]) => model.off(`change:${name}`, draw));
}

export default { render };
