function render({ model, el: root }) {
  const opened = new Set();
  const controls = new Map();  // by key: the control, and where in the form its value stands
  let drawn = "";

  const steps = el("div", { class: "steps" });
  const picture = el("div", { class: "picture" });
  const wrong = el("div", { class: "wrong", role: "alert" });
  const cell = el("pre", { class: "cell", tabindex: 0, "aria-label": "the cell" });
  const told = el("span", { class: "quiet", "aria-live": "polite" });
  const name = el("input", { type: "text", "aria-label": "name", spellcheck: "false", onchange: () => model.send({ do: "call", name: name.value }) });
  const insert = el("button", { type: "button", class: "first", onclick: put }, "Insert below");
  const copy = el("button", { type: "button", onclick: take }, "Copy");
  const notebook = notebookOf(model);

  function put() {
    insertBelow(notebook, model.get("own_id"), model.get("cell"));
    told.textContent = "The cell is below.";
  }

  async function take() {
    told.textContent = await copied(cell);
  }

  const edit = (change, how) => model.send({ do: "edit", change, ...how });
  const kindOf = (node) => model.get("choices").kinds[node.kind];
  const button = (key, label, sign, onclick) =>
    el("button", { type: "button", class: "small", "data-key": key, title: label, "aria-label": label, onclick }, sign);

  function argument(spec, holder, path, branch) {
    const value = branch === undefined ? holder.fields[spec.name] : holder[spec.name];
    const key = JSON.stringify([path, branch ?? null, spec.name]);
    const say = (now) => edit("set", { path, name: spec.name, given: now, branch: branch ?? null });
    if (spec.control === "kept" && value === undefined) return null;
    if (value?.kind === "kept") return labelled(spec, el("code", {}, value.expression));
    if (spec.control === "value") return choosing(spec, value, path);
    if (spec.control === "numbers") return numbers(spec, value, path, say);
    const box = control(spec, value, { say, key, sources: model.get("sources") });
    controls.set(key, { box, path: branch === undefined ? path : [...path, branch], name: spec.name });
    return labelled(spec, box);
  }

  function numbers(spec, value, path, say) {
    const boxes = value.map((each, place) => {
      const key = JSON.stringify([path, null, spec.name, place]);
      const one = { name: ["lexical", "dense"][place], control: "number" };
      const box = control(one, each, { key, say: () => say(boxes.map((other) => other.value)) });
      controls.set(key, { box, path, name: spec.name, place });
      return box;
    });
    return labelled(spec, ...boxes);
  }

  /** An argument with arguments: which of them, then its own. */
  function choosing(spec, value, path) {
    const kinds = model.get("choices").kinds;
    const none = spec.optional ? [["", "default"]] : [];
    const key = JSON.stringify([path, null, spec.name]);
    const select = el("select", { "data-key": key, "aria-label": spec.name,
      onchange: () => edit("choose_value", { path, name: spec.name, kind: select.value || null }) });
    options(select, [...none, ...spec.choices.map((kind) => [kind, kinds[kind].name])], value?.kind);
    const inner = value ? el("div", { class: "inner" }, ...fieldsOf(value, [...path, spec.name])) : null;
    return el("div", { class: "choosing" }, labelled(spec, select), inner);
  }

  /** The arguments that matter; the others, at their defaults, behind a button. */
  function fieldsOf(node, path) {
    const shown = kindOf(node).fields.filter((spec) => spec.name in node.fields || spec.control === "kept");
    const same = (spec) => spec.control === "numbers" ? node.fields[spec.name].every((each) => each === 1) : (node.fields[spec.name] ?? null) === spec.default;
    const later = shown.filter((spec) => !spec.first && same(spec));
    const key = JSON.stringify([path, "more"]);
    const rest = el("div", { class: "rest" }, ...later.map((spec) => argument(spec, node, path)));
    const more = el("button", { type: "button", class: "small", "data-key": key, onclick: () => open(!opened.has(key)) });
    const open = (yes) => {
      opened[yes ? "add" : "delete"](key);
      rest.hidden = !yes;
      more.textContent = yes ? "less" : "more";
      more.setAttribute("aria-expanded", yes);
    };
    open(opened.has(key));
    const first = shown.filter((spec) => !later.includes(spec)).map((spec) => argument(spec, node, path));
    return later.some((spec) => spec.control !== "kept") ? [...first, more, rest] : first;
  }

  function step(node, path, last) {
    const place = path.at(-1);
    const alone = path.length > 1 && !place && last;  // it goes with its branch
    const key = (what) => JSON.stringify([path, what]);
    const tools = el("span", { class: "tools" },
      place > 0 ? button(key("up"), "move up", "↑", () => edit("move", { path, by: -1 })) : null,
      last ? null : button(key("down"), "move down", "↓", () => edit("move", { path, by: 1 })),
      alone && inFusion(path) ? null : button(key("away"), "remove this step", "✕", () => edit("remove", { path })));
    if (node.kind === "kept") {
      return el("section", { class: "step", "aria-label": `step ${place + 1}: kept` },
        el("div", { class: "head" }, el("code", {}, node.expression), el("span", { class: "quiet" }, "kept as it is"), tools));
    }
    const kind = kindOf(node);
    const too = kind.group === "search" && (kind.several || !(alone && inFusion(path))) ? button(key("too"), "search something else, too", "+ search", () => edit("search_too", { path })) : null;
    return el("section", { class: "step", "aria-label": `step ${place + 1}: ${kind.name}` },
      el("div", { class: "head" }, which(node, path, kind), el("span", { class: "quiet said" }, kind.said), tools),
      el("div", { class: "fields" }, ...fieldsOf(node, path), kind.several ? null : too),
      ...(node.branches ?? []).map((branch, number) => branchOf(node, branch, path, number)), kind.several ? too : null);
  }

  const inFusion = (path) => kindOf(at(model.get("chain"), path.slice(0, -2))).several;

  function which(node, path, kind) {
    if (kind.alike.length < 2) return el("b", {}, kind.name);
    const kinds = model.get("choices").kinds;
    const select = el("select", { class: "kind", "data-key": JSON.stringify([path, "kind"]), "aria-label": "kind of step",
      onchange: () => edit("choose", { path, kind: select.value }) });
    return options(select, kind.alike.map((each) => [each, kinds[each].name]), node.kind);
  }

  function branchOf(node, branch, path, number) {
    const { each, several } = kindOf(node);
    const away = several && node.branches.length > 1
      ? button(JSON.stringify([path, number, "away"]), "remove this branch", "✕", () => edit("remove", { path, branch: number })) : null;
    const own = each.length ? el("div", { class: "fields" }, ...each.map((spec) => argument(spec, branch, path, number)), el("span", { class: "tools" }, away)) : null;
    return el("div", { class: "branch", role: "group", "aria-label": `branch ${number + 1}` }, own, ...chainOf(branch.pipe, [...path, number]));
  }

  function chainOf(chain, path) {
    return [...chain.map((node, place) => step(node, [...path, place], place === chain.length - 1)), adding(path)];
  }

  function adding(path) {
    const { groups, kinds } = model.get("choices");
    const select = el("select", { class: "adding", "data-key": JSON.stringify([path, "add"]), "aria-label": "add a step",
      onchange: () => { edit("add", { kind: select.value, path }); select.value = ""; } },
      el("option", { value: "" }, "+ add a step"));
    for (const [group, held] of Object.entries(groups)) {
      select.append(options(el("optgroup", { label: group }), held.map((kind) => [kind, `${kinds[kind].name} – ${kinds[kind].said}`]), ""));
    }
    return select;
  }

  function draw() {
    const key = root.getRootNode().activeElement?.dataset?.key;
    controls.clear();
    steps.replaceChildren(...chainOf(model.get("chain"), []));
    drawn = skeleton(model.get("chain"));
    if (key) [...steps.querySelectorAll("[data-key]")].find((each) => each.dataset.key === key)?.focus();
  }

  function refresh() {
    if (skeleton(model.get("chain")) !== drawn) return draw();
    for (const { box, path, name: field, place } of controls.values()) {
      const holder = at(model.get("chain"), path);
      const value = (holder.fields ?? holder)[field];
      write(box, place === undefined ? value : value[place]);
    }
  }

  function say() {
    const text = model.get("cell");
    cell.textContent = text;
    wrong.textContent = model.get("wrong");
    name.value = model.get("called");
    insert.disabled = Boolean(model.get("wrong")) || !text;
    copy.disabled = !text;
    told.textContent = notebook ? "" : "Copy the cell into your notebook.";
  }

  function sketch() {
    const laid = model.get("graph");
    if (laid.boxes) picture.style.flexBasis = `${Math.round(0.85 * laid.width)}px`;  // else it goes below the steps
    picture.replaceChildren(...(laid.boxes ? [graph(laid, "the pipeline")] : []));
  }

  const heard = { chain: refresh, sources: draw, choices: draw, graph: sketch, cell: say, wrong: say, called: say };
  for (const [trait, act] of Object.entries(heard)) model.on(`change:${trait}`, act);
  draw();
  say();
  sketch();
  root.append(el("div", { class: "sage sage-builder" },
    el("div", { class: "sides" }, steps, picture), wrong,
    el("div", { class: "said-as" }, cell,
      el("div", { class: "row" }, el("label", { class: "field" }, el("span", { class: "quiet" }, "name"), name), notebook ? insert : null, copy, told))));
  return () => { for (const [trait, act] of Object.entries(heard)) model.off(`change:${trait}`, act); };
}

export default { render };
