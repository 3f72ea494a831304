// The controls of a form: one for each argument, made by what the catalogue says of it.

/** The node, or the branch, at a path: numbers lead to steps and branches in turn, a name to an argument's value. */
function at(chain, path) {
  let here = { pipe: chain };
  for (const each of path) here = typeof each === "string" ? here?.fields?.[each] : here?.pipe ? here.pipe[each] : here?.branches?.[each];
  return here;
}

/** What of a form decides which controls there are: everything but what stands in them. */
function skeleton(chain) {
  const kept = ["kind", "number"];
  return JSON.stringify(chain, (key, value) => (value !== null && typeof value === "object") || kept.includes(key) ? value : 0);
}

const labelled = (spec, ...controls) =>
  el("label", { class: "field", title: spec.help || null }, el("span", { class: "quiet" }, spec.name.replaceAll("_", " ")), ...controls);

function options(control, pairs, chosen) {
  control.append(...pairs.map(([value, text]) => {
    const option = el("option", { value }, text);
    option.selected = String(value) === String(chosen ?? "");
    return option;
  }));
  return control;
}

function pairsOf(spec, sources) {
  if (spec.control === "source") return sources.map((label, number) => [number, label]);
  const blank = spec.optional ? [["", "none"]] : [];
  return [...blank, ...spec.choices.filter((each) => each !== null && !(each === "" && spec.optional)).map((each) => [each, each || "none"])];
}

/** A control for `spec` that holds `value` and tells `say` what it is changed to; `key` finds it again. */
function control(spec, value, { say, key, sources }) {
  const common = { "data-key": key, "aria-label": spec.name.replaceAll("_", " ") };
  if (spec.control === "flag") {
    const box = el("input", { ...common, type: "checkbox", onchange: () => say(box.checked) });
    box.checked = value;
    return box;
  }
  if (["choice", "list", "source"].includes(spec.control)) {
    const select = el("select", { ...common, onchange: () => say(spec.control === "source" ? Number(select.value) : select.value) });
    return options(select, pairsOf(spec, sources), value);
  }
  return typed(spec, value, common, say);
}

function typed(spec, value, common, say) {
  const number = spec.control !== "text";
  const kind = number ? { type: "number", step: spec.control === "whole" ? 1 : "any" } : { type: "text", dir: "auto", spellcheck: "false" };
  let told = value ?? "";
  const box = el("input", { ...common, ...kind, placeholder: spec.optional ? "none" : null, onchange: tell, oninput: settled(tell, 400) });
  function tell() {
    if (!box.isConnected || box.value === String(told)) return;
    told = box.value;
    say(box.value);
  }
  box.value = told;
  box.wrote = (now) => { told = now ?? ""; };
  return box;
}

/** What the form holds now, in a control that nobody is typing in. */
function write(box, value) {
  if (box.getRootNode().activeElement === box) return;
  if (box.type === "checkbox") box.checked = value;
  else box.value = value ?? "";
  box.wrote?.(value);
}
