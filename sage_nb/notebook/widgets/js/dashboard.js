const SHARES = ["busy", "back-pressured", "idle"];
const count = (number) => number.toLocaleString("en");
const plural = (number, word) => `${count(number)} ${word}${number === 1 ? "" : "s"}`;

function duration(seconds) {
  for (const [unit, length] of [["d", 86400], ["h", 3600], ["min", 60]]) {
    if (seconds >= length) return `${(seconds / length).toFixed(1)} ${unit}`;
  }
  return `${Math.max(0, seconds).toFixed(0)} s`;
}

function size(bytes) {
  for (const [unit, length] of [["GB", 1e9], ["MB", 1e6], ["kB", 1e3]]) {
    if (bytes >= length) return `${(bytes / length).toFixed(1)} ${unit}`;
  }
  return `${bytes} B`;
}

function spark(rates) {
  const top = Math.max(1, ...rates), wide = 59;
  const start = 60 - rates.length;
  const points = rates.map((rate, at) => `${start + at},${19 - (17 * rate) / top}`);
  const area = points.length ? `${start},20 ${points.join(" ")} ${wide},20` : "";
  const label = `records a second over the last 30 s: now ${count(rates.at(-1) ?? 0)}, at most ${count(Math.max(0, ...rates))}`;
  return svg("svg", { class: "spark", viewBox: "0 0 60 20", preserveAspectRatio: "none", role: "img", "aria-label": label },
    svg("polygon", { points: area }), svg("polyline", { points: points.join(" ") }));
}

function shares(time) {
  const label = time.map((part, at) => `${SHARES[at]} ${part} %`).join(", ");
  const bars = time.map((part, at) => el("span", { class: SHARES[at], style: `flex-grow:${part}` }));
  return el("div", { title: label }, el("div", { class: "bar", role: "img", "aria-label": label }, ...bars),
    el("div", { class: "quiet", "aria-hidden": "true" }, time.join(" · ")));
}

function fill(percent) {
  const part = el("span", { class: percent > 80 ? "full" : "held", style: `flex-grow:${percent}` });
  return el("div", {}, el("div", { class: "bar", "aria-hidden": "true" }, part, el("span", { style: `flex-grow:${100 - percent}` })),
    el("div", { class: "quiet" }, `${percent} %`));
}

const cell = (label, look, ...children) => el("td", { class: look, "data-label": label }, ...children);
const head = (...names) => el("thead", {}, el("tr", {}, ...names.map((name) => el("th", { scope: "col" }, name))));

function stage(each) {
  const many = each.subtasks > 1 ? el("span", { class: "quiet" }, ` × ${each.subtasks}`) : null;
  return el("tr", {},
    el("th", { scope: "row", class: "stage", dir: "auto" }, each.name, many),
    cell("records/s", "rate", spark(each.rates), el("span", {}, count(each.rate))),
    cell("in", "number", count(each.in)), cell("out", "number", count(each.out)),
    cell("queue", "queue", each.queue === null ? null : fill(each.queue)),
    cell("busy · back-pressured · idle %", "time", each.time === null ? null : shares(each.time)),
    cell("", "also quiet", each.also.join(" · ")));
}

function stages(facts) {
  const legend = el("span", { class: "legend" }, ...SHARES.flatMap((name) => [el("i", { class: name }), ` ${name} `]), "%");
  return el("table", { class: "stages", "aria-label": "stages" }, head("stage", "records/s", "in", "out", "queue", legend, ""),
    el("tbody", {}, ...facts.stages.map(stage)));
}

function figure(label, value, ...more) {
  return el("div", { class: "figure" }, el("div", { class: "value" }, value, ...more), el("div", { class: "quiet" }, label));
}

function checkpoints(facts, ago) {
  const rows = facts.checkpoints.map(([number, at, took, bytes, aligned]) => el("tr", {},
    ...[number, `${ago(at)} ago`, `${took.toFixed(2)} s`, size(bytes), `${aligned.toFixed(2)} s`].map((text) => el("td", {}, String(text)))));
  return el("table", {}, head("checkpoint", "age", "took", "size", "aligned in"), el("tbody", {}, ...rows));
}

function letter(each, model, open) {
  const send = (what) => () => model.send({ do: what, key: what === "open" && open === each.key ? "" : each.key });
  const again = el("button", { "data-key": `retry-${each.key}`, "aria-label": `try the record of ${each.operator} again`, onclick: send("retry") }, "Retry");
  const record = el("button", { class: "record", dir: "auto", "data-key": `open-${each.key}`, "aria-expanded": String(open === each.key), onclick: send("open") }, each.record);
  return el("tr", {},
    el("td", { class: "operator", dir: "auto" }, each.operator), el("td", { class: "words" }, record),
    el("td", { class: "error", dir: "auto" }, each.error, each.attempts > 1 ? el("span", { class: "quiet" }, ` · tried ${each.attempts} times`) : null),
    el("td", { class: "last" }, each.final ? el("span", { class: "quiet", title: each.final }, "cannot be retried") : again));
}

function whole(opened, model) {
  const close = el("button", { "data-key": "close", onclick: () => model.send({ do: "open", key: "" }) }, "Close");
  return el("section", { class: "opened", "aria-label": "dead letter" },
    el("div", { class: "row" }, el("b", { dir: "auto" }, opened.operator), el("span", { class: "wrong grow", dir: "auto" }, opened.error), close),
    el("div", { class: "text", dir: "auto", tabindex: 0 }, opened.record),
    opened.final ? el("div", { class: "quiet" }, `It cannot be tried again: ${opened.final}.`) : null);
}

function letters(model) {
  const { open = 0, shown = [], more: left = false, why = "" } = model.get("letters"), opened = model.get("opened");
  if (!open) return [];
  const all = shown.some((each) => !each.final)
    ? el("button", { "data-key": "retry-all", onclick: () => model.send({ do: "retry", key: "" }) }, "Retry all") : null;
  const more = left && open > shown.length
    ? el("button", { class: "more", "data-key": "more", onclick: () => model.send({ do: "more" }) }, `Show more of ${count(open)}`) : null;
  const rows = shown.flatMap((each) => [letter(each, model, opened.key), ...(opened.key === each.key ? [el("tr", {}, el("td", { class: "below", colspan: 4 }, whole(opened, model)))] : [])]);
  const table = shown.length ? el("table", { class: "letters", "aria-label": "dead letters" }, head("operator", "record", "error", ""), el("tbody", {}, ...rows)) : null;
  return [el("div", { class: "row title" }, el("b", {}, plural(open, "dead letter")), all), why ? el("div", { class: "quiet" }, why) : null, table, more].filter(Boolean);
}

function nodes(cluster) {
  if (!cluster.nodes) return [];
  const rows = cluster.nodes.map((row) => el("tr", {}, ...row.map((text, at) => el("td", { class: text === "NO" && at === 2 ? "wrong" : "" }, text))));
  const lost = cluster.lost ? el("div", { class: "wrong" }, `no answer from ${cluster.lost}`) : null;
  return [el("div", { class: "row title" }, el("b", {}, "Nodes"), el("span", { class: "quiet" }, cluster.address)), lost,
    el("table", { class: "nodes", "aria-label": "nodes" }, head("node", "address", "alive", "CPUs free", "GPUs free", "memory free", "works here"), el("tbody", {}, ...rows))].filter(Boolean);
}

/** New children; what had the focus has it again, if it is still there. */
function refill(part, children) {
  const key = part.contains(document.activeElement) ? document.activeElement.dataset.key : null;
  part.replaceChildren(...children);
  if (key) part.querySelector(`[data-key="${key}"]`)?.focus();
}

function render({ model, el: root }) {
  const name = el("b", { class: "name", dir: "auto" }), status = el("span", { class: "status", role: "status" }), clock = el("span", { class: "quiet grow" });
  const buttons = {}, figures = el("div", { class: "figures" }), table = el("div", { class: "wide" });
  const wrong = el("div", { class: "wrong", role: "alert" }), said = el("div", { class: "quiet said", role: "status" });
  const alarms = el("div", { class: "alarms", role: "log", "aria-live": "polite", "aria-label": "alerts" });
  const taken = el("div"), history = el("details", {}, el("summary", {}, "Checkpoints"), taken), warned = el("div", { class: "warned" });
  const mail = el("div", { class: "wide" }), cluster = el("div", { class: "wide" });
  let skew = 0, sure = false, rung = "";  // skew: seconds that the clock here is ahead of the kernel's

  const now = () => Date.now() / 1000 - skew;
  const ago = (at) => duration(now() - at);
  const press = (what) => () => {
    if (buttons[what].getAttribute("aria-disabled") === "true") return;
    if (what === "cancel" && !sure) return ask(true);
    ask(false);
    model.send({ do: what === "pause" && !model.get("facts").working ? "resume" : what });
  };
  const ask = (really) => {
    sure = really;
    buttons.cancel.textContent = really ? "Really cancel" : "Cancel";
  };
  for (const [what, label] of [["pause", "Pause"], ["savepoint", "Savepoint"], ["cancel", "Cancel"]]) {
    buttons[what] = el("button", { onclick: press(what), onblur: what === "cancel" ? () => ask(false) : null }, label);
  }

  function able() {
    const { working, cannot } = model.get("facts"), busy = Boolean(model.get("doing"));
    buttons.pause.textContent = working ? "Pause" : "Resume";
    buttons.pause.classList.toggle("first", !working && !cannot.resume);
    for (const [what, button] of Object.entries(buttons)) {
      const why = cannot[what === "pause" && !working ? "resume" : what] || (busy && what !== "cancel" ? "wait a moment" : "");
      button.setAttribute("aria-disabled", String(Boolean(why)));
      button.title = why ? `not now: ${why}` : "";
    }
  }

  function say() {
    wrong.textContent = model.get("wrong");
    said.textContent = model.get("doing") ? `${model.get("doing")} …` : model.get("said");
    able();
  }

  function ring(list) {
    if (JSON.stringify(list) === rung) return;
    rung = JSON.stringify(list);
    alarms.replaceChildren(...list.map(([text, , until]) => el("div", { class: until === null ? "alarm" : "alarm over" },
      el("b", {}, until === null ? "Alert" : "Over"), ` ${text}`)));
  }

  function draw() {
    const facts = model.get("facts");
    name.textContent = facts.name;
    if (status.textContent !== facts.status) status.textContent = facts.status;
    status.className = `status ${facts.status}`;
    figures.replaceChildren(
      figure("records out", count(facts.out)), figure("a second", count(facts.rate), spark(facts.rates)),
      figure("checkpoints", count(facts.committed)), figure("restarts", count(facts.restarts)),
      figure("dead letters", count(facts.dead)));
    ring(facts.alarms);
    table.replaceChildren(stages(facts));
    warned.replaceChildren(...facts.warnings.map((each) => el("div", { class: "quiet" }, `warning: ${each}`)));
    tick();
    able();
  }

  function tick() {
    const facts = model.get("facts");
    clock.textContent = duration(facts.seconds + (facts.working ? now() - facts.now : 0));
    history.hidden = !facts.checkpoints.length;
    if (history.hidden) return;
    const [, at, took, bytes] = facts.checkpoints[0];
    history.firstChild.textContent = `${plural(facts.committed, "checkpoint")}, the last ${ago(at)} ago: ${took.toFixed(2)} s, ${size(bytes)}`;
    if (history.open) taken.replaceChildren(checkpoints(facts, ago));
  }

  const hear = () => {
    skew = Date.now() / 1000 - model.get("facts").now;
    draw();
  };
  const post = () => refill(mail, letters(model)), place = () => cluster.replaceChildren(...nodes(model.get("cluster")));
  const heeds = [["facts", hear], ["letters", post], ["opened", post], ["cluster", place], ["doing", say], ["said", say], ["wrong", say]];
  for (const [trait, heed] of heeds) model.on(`change:${trait}`, heed);
  const timer = setInterval(() => model.get("facts").working && tick(), 1000);
  history.addEventListener("toggle", tick);
  draw();
  say();
  post();
  place();
  root.append(el("div", { class: "sage sage-dashboard" },
    el("div", { class: "row" }, name, status, clock, ...Object.values(buttons)),
    wrong, said, figures, alarms, table, history, mail, cluster, warned));
  return () => {
    clearInterval(timer);
    for (const [trait, heed] of heeds) model.off(`change:${trait}`, heed);
  };
}

export default { render };
