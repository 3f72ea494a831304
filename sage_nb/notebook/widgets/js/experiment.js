const PAGE = 50; // rows that are drawn at first

/** The columns of the table: what each shows of a row, and what it is sorted by; `best` first where it is a measure.
 *  What the name has `told` already is left out where there is no room. */
function columns({ parameters, measures, costs }) {
  return [
    { title: "pipeline", key: (row) => row.name, cell: named },
    ...parameters.map(({ name, labels, numbers }, at) => ({
      title: name, key: (row) => (numbers || labels)[row.point[at]], number: Boolean(numbers), told: true, cell: (row) => [labels[row.point[at]]] })),
    ...measures.map((measure) => ({ title: measure, key: (row) => row.scores[measure].mean, number: true, best: true, cell: (row) => scored(row.scores[measure]) })),
    ...costs.map((cost) => ({ title: cost, key: (row) => row.costs[cost], number: true, cell: (row) => [row.costs[cost] === null ? "cached" : short(row.costs[cost])] })),
  ];
}

function scored({ mean, low, high, mark, said }) {
  const sign = mark ? el("span", { class: mark === "▲" ? "up" : "down", role: "img", "aria-label": `${mark === "▲" ? "better" : "worse"}: ${said}` }, mark) : null;
  return [el("span", { title: said }, fixed(mean), el("span", { class: "sign" }, sign)), el("div", { class: "quiet" }, `${fixed(low)} – ${fixed(high)}`)];
}

function named(row, model) {
  const pick = el("button", { class: "pick", "aria-pressed": "false", title: row.pipeline, onclick: () => choose(model, row.name) }, row.name);
  pick.dataset.name = row.name;
  return [pick, row.baseline ? el("span", { class: "quiet" }, " baseline") : null];
}

function choose(model, name) {
  model.set("chosen", name);
  model.save_changes();
}

/** Rows in the order of a column, numbers and words each by their own; what is not known comes last. */
function ordered(rows, { key }, down) {
  const compare = (one, other) => (typeof one === "number" ? one - other : String(one).localeCompare(String(other), "en", { numeric: true }));
  const known = rows.filter((row) => key(row) !== null && key(row) !== undefined);
  const sorted = [...known].sort((one, other) => (down ? -1 : 1) * compare(key(one), key(other)));
  return [...sorted, ...rows.filter((row) => !known.includes(row))];
}

function table(model) {
  const rows = model.get("rows"), facts = model.get("facts"), shown = columns(facts);
  let by = null, down = false, count = PAGE;
  const body = el("tbody"), more = el("button", { onclick: () => { count += PAGE; draw(); } });
  const heads = shown.map((column) => {
    const arrow = el("span", { class: "arrow", "aria-hidden": "true" });
    const head = el("th", { scope: "col", class: looks(column), "aria-sort": "none" }, el("button", { class: "sort", onclick: () => sort(column) }, column.title, arrow));
    return { column, head, arrow };
  });

  function sort(column) {
    [by, down] = [column, by === column ? !down : Boolean(column.best)];
    for (const each of heads) {
      each.head.setAttribute("aria-sort", each.column !== by ? "none" : down ? "descending" : "ascending");
      each.arrow.textContent = each.column !== by ? "" : down ? " ↓" : " ↑";
    }
    draw();
  }

  function draw() {
    const tops = Object.fromEntries(facts.measures.map((measure) => [measure, highest(rows.map((row) => row.scores[measure].mean))]));
    const here = (by ? ordered(rows, by, down) : rows).slice(0, count);
    body.replaceChildren(...here.map((row) => el("tr", {}, ...shown.map((column, at) => el(at ? "td" : "th", {
      class: looks(column, column.best && fixed(column.key(row)) === tops[column.title]), scope: at ? null : "row" }, ...column.cell(row, model))))));
    more.hidden = count >= rows.length;
    more.textContent = `${Math.min(PAGE, rows.length - count)} more of ${rows.length}`;
    press(body, "name", model.get("chosen"));
  }

  /** What was chosen elsewhere is brought into sight; the page itself stays where it is. */
  function seek() {
    const row = body.querySelector('[aria-pressed="true"]')?.closest("tr"), head = heads[0].head.offsetHeight;
    if (!row) return;
    if (row.offsetTop - head < frame.scrollTop) frame.scrollTop = row.offsetTop - head;
    else frame.scrollTop = Math.max(frame.scrollTop, row.offsetTop + row.offsetHeight - frame.clientHeight);
  }

  draw();
  const frame = el("div", { class: "wide table", role: "region", tabindex: 0, "aria-label": "measures of each pipeline" },
    el("table", {}, el("thead", {}, el("tr", {}, ...heads.map((each) => each.head))), body));
  return { node: el("div", {}, frame, more, ...facts.notes.map((note) => el("div", { class: "quiet note" }, note))), seek };
}

/** The greatest mean as it is shown; none where all look the same. */
function highest(means) {
  const top = fixed(Math.max(...means));
  return means.every((mean) => fixed(mean) === top) ? null : top;
}

function looks({ number, told }, top) {
  return [number && "number", told && "told", top && "top"].filter(Boolean).join(" ") || null;
}

/** Shows which of the marks and buttons below `node` is the one that was pressed. */
function press(node, kind, value) {
  for (const each of node.querySelectorAll(`[data-${kind}]`)) each.setAttribute("aria-pressed", String(each.dataset[kind] === value));
}

function select(label, options, value, act) {
  const box = el("select", { "aria-label": label, onchange: () => act(box.value) }, ...options.map(([key, text]) => el("option", { value: key, selected: key === value }, text)));
  return el("label", { class: "row" }, el("span", { class: "quiet" }, label), box);
}

function slider(parameter, at, act) {
  const shown = el("output", {}, parameter.labels[at]);
  const box = el("input", { type: "range", min: 0, max: parameter.labels.length - 1, step: 1, value: at, "aria-label": parameter.name, "aria-valuetext": parameter.labels[at],
    oninput: () => { shown.textContent = parameter.labels[box.value]; box.setAttribute("aria-valuetext", shown.textContent); act(Number(box.value)); } });
  return el("label", { class: "row" }, el("span", { class: "quiet" }, parameter.name), box, shown);
}

function described(row, measure) {
  const { mean, low, high, said } = row.scores[measure];
  return `${row.name}: ${measure} ${fixed(mean)} (${fixed(low)} to ${fixed(high)})${said ? `, ${said}` : ""}`;
}

/** The questions: a bar for each, and below it the rankings of the one that was pressed. */
function questions(model) {
  const node = el("div"), said = el("div", { class: "quiet", "aria-live": "polite" }), under = el("div", { class: "under quiet", dir: "auto" });
  const chart = el("div", { class: "wide" }), below = el("div", { "aria-live": "polite" });
  const ask = (question) => { model.set({ question, depth: 10 }); model.save_changes(); };
  const point = (event) => { under.textContent = event.target.closest(".mark")?.getAttribute("aria-label") || under.textContent; };
  chart.addEventListener("focusin", point);
  chart.addEventListener("pointerover", point);

  function open() {
    const opened = model.get("opened");
    press(chart, "question", model.get("question"));
    below.replaceChildren(...(opened.rankings ? [side(opened, model)] : []));
  }

  function draw(width) {
    const { bars: values, title, note } = model.get("compared");
    said.textContent = note;
    under.textContent = "Press a bar to open its question.";
    const held = values.map(([key, text, value, label]) => ({ key, value, label: `${label} · ${text}` }));
    chart.replaceChildren(bars({ width, height: 190, values: held, names: [`${values.length} questions, the best first`, title], act: ask }));
    open();
  }

  node.append(said, chart, under, below);
  return { node, draw, open };
}

/** A question with its rankings side by side. */
function side({ id, text, rankings, more }, model) {
  const deeper = el("button", { onclick: () => { model.set("depth", model.get("depth") * 5); model.save_changes(); } }, "More hits");
  const lists = rankings.map(({ name, value, found, answer, hits }) => el("section", { "aria-label": `ranking of ${name}` },
    el("div", { class: "row" }, el("b", {}, name), el("span", { class: "quiet" }, `${value} · ${found}`)),
    answer ? el("div", { class: "answer", dir: "auto" }, answer) : null,
    el("ol", {}, ...hits.map(ranked)), hits.length ? null : el("div", { class: "quiet" }, "Nothing was found.")));
  return el("section", { class: "opened", "aria-label": `question ${id}` }, el("div", { class: "asked", dir: "auto" }, el("b", {}, text), " ", el("span", { class: "quiet" }, id)), el("div", { class: "side" }, ...lists), more ? deeper : null);
}

function ranked({ rank, title, source, text, pieces, grade, move }) {
  const judged = grade === null ? null : el("span", { class: grade > 0 ? "grade" : "grade not" }, grade > 0 ? `relevant${grade > 1 ? ` (${grade})` : ""}` : "not relevant");
  return el("li", { value: rank, dir: "auto" },
    el("div", {}, el("b", {}, title), " ", judged, " ", move ? el("span", { class: "move quiet" }, move) : null),
    el("div", { class: "text" }, ...marked(text, pieces)), source ? el("div", { class: "quiet" }, source) : null);
}

/** The sweep: lines over one parameter, or a heat map over two; the others stand still at their sliders. */
function sweep(model) {
  const { parameters } = model.get("facts"), rows = model.get("rows");
  const many = parameters.map((_, at) => at).filter((at) => parameters[at].labels.length > 1);
  const state = { across: many[0] ?? 0, by: many[1] ?? -1, heat: many.length > 1, held: [...(rows.find((row) => row.name === model.get("chosen")) || rows[0]).point] };
  const controls = el("div", { class: "row controls" }), keys = el("div", { class: "row keys quiet" }), chart = el("div"), node = el("div", {}, controls, keys, chart);
  let wide = 600;
  const change = (changed) => { Object.assign(state, changed); steer(); draw(wide); };

  function steer() {
    const others = parameters.map((_, at) => at).filter((at) => at !== state.across && at !== state.by && parameters[at].labels.length > 1);
    const named = many.map((at) => [String(at), parameters[at].name]);
    const rest = named.filter(([at]) => Number(at) !== state.across);
    const looks = [["lines", false], ["heat map", true]].map(([text, heat]) => el("button", { "aria-pressed": String(state.heat === heat), onclick: () => change({ heat }) }, text));
    const boxes = [
      select("across", named, String(state.across), (at) => change({ across: Number(at), by: state.by === Number(at) ? state.across : state.by })),
      rest.length ? select("and", [["-1", "nothing"], ...rest], String(state.by), (at) => change({ by: Number(at) })) : null,
      state.by >= 0 ? el("div", { class: "row looks", role: "group", "aria-label": "drawn as" }, ...looks) : null,
      ...others.map(held)];
    controls.replaceChildren(...boxes.filter(Boolean));
  }

  function held(at) {
    const move = (value) => { state.held[at] = value; draw(wide); };
    const options = parameters[at].labels.map((label, place) => [String(place), label]);
    return parameters[at].numbers ? slider(parameters[at], state.held[at], move) : select(parameters[at].name, options, String(state.held[at]), (value) => move(Number(value)));
  }

  const here = () => rows.filter((row) => row.point.every((place, at) => at === state.across || at === state.by || place === state.held[at]));
  const act = (name) => choose(model, name);

  function draw(width) {
    wide = width;
    const measure = model.get("measure"), across = parameters[state.across];
    const point = (row) => ({ at: row.point[state.across], value: row.scores[measure].mean, low: row.scores[measure].low, high: row.scores[measure].high, name: row.name, label: described(row, measure) });
    const inOrder = (some) => some.map(point).sort((one, other) => one.at - other.at);
    const series = state.by < 0 ? [inOrder(here())] : parameters[state.by].labels.map((_, at) => inOrder(here().filter((row) => row.point[state.by] === at)));
    const colour = (at) => (series.length === 1 ? "var(--sage-accent)" : `color-mix(in oklch, var(--sage-accent) ${100 - Math.round((100 * at) / (series.length - 1))}%, var(--sage-other))`);
    const coloured = series.map((points, at) => ({ points, colour: colour(at) })).filter((each) => each.points.length);
    const asHeat = state.heat && state.by >= 0;
    keys.replaceChildren(...(asHeat || state.by < 0 ? [] : [parameters[state.by].name, ...series.map((_, at) => el("span", { class: "key" }, el("i", { style: `background:${colour(at)}` }), parameters[state.by].labels[at]))]));
    const cells = asHeat ? here().map((row) => ({ column: row.point[state.across], row: row.point[state.by], ...point(row) })) : [];
    chart.replaceChildren(asHeat
      ? heat({ width: Math.min(width, 90 + 110 * across.labels.length), across, down: parameters[state.by], cells, names: [across.name, parameters[state.by].name, measure], act })
      : lines({ width, height: 270, parameter: across, series: coloured, names: [across.name, measure], act }));
    press(chart, "name", model.get("chosen"));
  }

  steer();
  return { node, draw, open: () => press(chart, "name", model.get("chosen")) };
}

/** Quality against time: what no other pipeline beats in both stands on the line. */
function worth(model) {
  const chart = el("div"), said = el("div", { class: "quiet" }), node = el("div", {}, chart, said);
  const mark = () => press(chart, "name", model.get("chosen"));
  function draw(width) {
    const measure = model.get("measure"), { cost } = model.get("facts");
    const known = model.get("rows").filter((row) => row.costs[cost] !== null);
    const points = known.map((row) => ({ x: row.costs[cost], y: row.scores[measure].mean, best: row.scores[measure].front, name: row.name, label: `${described(row, measure)}, ${short(row.costs[cost])} ${cost}` }));
    const drawn = points.length ? front({ width, height: 300, points, names: [cost, measure], act: (name) => choose(model, name) }) : "";
    chart.replaceChildren(drawn);
    const left = model.get("rows").length - points.length;
    said.textContent = [points.length ? "On the line: no other pipeline is both better and quicker." : "", left ? `The time of ${left} is not known: a cache held their results.` : ""].join(" ");
    mark();
  }
  return { node, draw, open: mark };
}

/** One part at a time, by tabs that the arrow keys walk. */
function tabs(parts, turned) {
  const buttons = parts.map(([title], at) => el("button", { role: "tab", onclick: () => show(at), onkeydown: walk }, title));
  const panels = parts.map(([title, part]) => el("div", { role: "tabpanel", "aria-label": title }, part.node));
  let current = 0;
  function walk(event) {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!step) return;
    event.preventDefault();
    event.stopPropagation();
    show((current + step + parts.length) % parts.length);
    buttons[current].focus();
  }
  function show(at) {
    current = at;
    buttons.forEach((each, place) => { each.setAttribute("aria-selected", String(place === at)); each.setAttribute("tabindex", place === at ? 0 : -1); });
    panels.forEach((each, place) => { each.hidden = place !== at; });
    turned(parts[at][1]);
  }
  return { node: el("div", {}, el("div", { class: "tabs", role: "tablist", "aria-label": "plots" }, ...buttons), ...panels), show };
}

/** The pipeline that was chosen, as a cell. */
function cellOf(model) {
  const text = el("pre", { tabindex: 0, "aria-label": "the cell" }), said = el("span", { class: "quiet", role: "status" }), wrong = el("div", { class: "quiet" });
  const notebook = notebookOf(model);
  const put = () => { insertBelow(notebook, model.get("own_id"), model.get("cell")); said.textContent = "The cell is below."; };
  const insert = notebook ? el("button", { class: "first", onclick: put }, "Insert below") : null;
  const copy = el("button", { onclick: async () => { said.textContent = await copied(text); } }, "Copy");
  const node = el("section", { class: "cell", "aria-label": "cell of the chosen pipeline" }, el("div", { class: "row" }, el("b", {}, "The chosen pipeline as a cell"), insert, copy, said), text, wrong);
  const draw = () => { text.textContent = model.get("cell"); said.textContent = ""; wrong.textContent = model.get("unsaid"); };
  return { node, draw };
}

function render({ model, el: root }) {
  const { summary, measures, parameters } = model.get("facts");
  const grid = table(model), cell = cellOf(model), wrong = el("div", { class: "wrong", role: "alert" });
  const asked = questions(model), parts = [["Questions", asked], ["Quality and time", worth(model)]];
  if (parameters.some((each) => each.labels.length > 1)) parts.unshift(["Parameters", sweep(model)]);
  let width = 0, shown = parts[0][1];
  const draw = () => { if (width) shown.draw(width); };
  const turned = tabs(parts, (part) => { shown = part; draw(); });
  const picked = (measure) => { model.set("measure", measure); model.save_changes(); };
  const by = el("div", {});
  // JupyterLab's own keys (arrows, Enter, r …) must not act on cells while one works in here; Escape leads back to the cell.
  const own = (event) => {
    if (event.key === "Escape") root.closest("[tabindex]")?.focus();
    else if (!event.ctrlKey && !event.metaKey) event.stopPropagation();
  };
  const all = el("div", { class: "sage sage-experiment", "data-lm-suppress-shortcuts": "true", onkeydown: own }, el("div", { class: "row head" }, el("span", { class: "quiet" }, summary), by), grid.node, wrong, turned.node, cell.node);

  const heard = {
    measure: () => { by.replaceChildren(select("measure", measures.map((each) => [each, each]), model.get("measure"), picked)); draw(); },
    chosen: () => { press(all, "name", model.get("chosen")); grid.seek(); },
    compared: () => { if (shown === asked) draw(); },
    opened: () => shown.open(),
    cell: cell.draw,
    unsaid: cell.draw,
    wrong: () => { wrong.textContent = model.get("wrong"); },
  };
  // A plot is drawn for the room it has, so that its letters keep their size; later than the resizing that it would add to.
  const seen = new ResizeObserver(settled(([entry]) => {
    const now = Math.floor(entry.contentRect.width);
    if (now && now !== width) { width = now; draw(); }
  }, 60));
  for (const [name, act] of Object.entries(heard)) { model.on(`change:${name}`, act); act(); }
  turned.show(0);
  root.append(all);
  seen.observe(all);
  return () => {
    seen.disconnect();
    for (const [name, act] of Object.entries(heard)) model.off(`change:${name}`, act);
  };
}

export default { render };
