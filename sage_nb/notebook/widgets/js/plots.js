// Plots in SVG: round numbers on the axes, and marks (points, bars, cells) that Tab, the arrow keys and Enter reach.

const DIGIT = 6.6; // pixels: about the width of a digit
const [LEFT, RIGHT, TOP, BOTTOM] = [52, 16, 12, 42]; // pixels: the room for axes around a plot

function fixed(value) {
  return value.toFixed(3);
}

/** A number of any size: 1,234 · 56.7 · 0.0123. */
function short(value) {
  return Number.isInteger(value) || value >= 100 ? Math.round(value).toLocaleString("en") : value.toPrecision(3);
}

/** Round numbers between two, about `count` of them. */
function rounds(low, high, count) {
  const rough = (high - low) / count || 1;
  const size = 10 ** Math.floor(Math.log10(rough));
  const step = size * [1, 2, 5, 10].find((each) => each * size >= rough * 0.999);
  const made = [];
  for (let at = Math.ceil(low / step - 1e-9); at * step <= high + step * 1e-9; at++) made.push(Number((at * step).toPrecision(12)));
  return made;
}

/** From values to pixels; `ticks` are [value, text]. */
function linear(low, high, start, end, count = 5) {
  const scale = (value) => start + ((value - low) / (high - low || 1)) * (end - start);
  scale.ticks = rounds(low, high, count).map((value) => [value, String(value).replace("-", "−")]);
  return scale;
}

function logarithmic(low, high, start, end) {
  const line = linear(Math.log10(low), Math.log10(high), start, end);
  const scale = (value) => line(Math.log10(value));
  const decades = Array.from({ length: 16 }, (_, at) => 10 ** (at - 8));
  const inside = decades.flatMap((each) => [1, 2, 5].map((times) => Number((each * times).toPrecision(3)))).filter((value) => value >= low && value <= high);
  scale.ticks = inside.map((value) => [value, value.toLocaleString("en")]);
  return scale;
}

/** The scale of positive numbers: by their logarithms where they are far apart. */
function spread(values, start, end) {
  const [low, high] = [Math.min(...values), Math.max(...values)];
  if (low > 0 && high / low > 12) return logarithmic(low / 1.15, high * 1.15, start, end);
  const room = (high - low) * 0.06 || Math.abs(high) * 0.1 || 1;
  return linear(Math.max(low - room, low >= 0 ? 0 : -Infinity), high + room, start, end);
}

/** The scale of a parameter, each of whose values is a tick; words stand at equal distances. */
function stops(parameter, start, end) {
  const { labels, numbers } = parameter;
  const places = numbers || labels.map((_, at) => at);
  const [low, high] = [Math.min(...places), Math.max(...places)];
  const far = numbers && low > 0 && high / low > 12;
  const inner = far ? logarithmic(low, high, start, end) : linear(low, high, start, end);
  const scale = (at) => (low === high ? (start + end) / 2 : inner(places[at]));
  scale.ticks = labels.map((label, at) => [at, label]);
  return scale;
}

/** Those of an axis' ticks whose texts do not touch. */
function apart(scale) {
  let free = -Infinity;
  return [...scale.ticks].sort((one, other) => scale(one[0]) - scale(other[0])).filter(([value, text]) => {
    const half = (text.length * DIGIT) / 2;
    if (scale(value) - half < free) return false;
    free = scale(value) + half + 8;
    return true;
  });
}

/** Axes with their names and a quiet grid. */
function axes(width, height, x, y, names) {
  const bottom = height - BOTTOM;
  const across = apart(x).map(([value, text]) => svg("text", { class: "tick", x: x(value), y: bottom + 16, "text-anchor": "middle" }, text));
  const up = y.ticks.flatMap(([value, text]) => [
    svg("line", { class: "grid", x1: LEFT, x2: width - RIGHT, y1: y(value), y2: y(value) }),
    svg("text", { class: "tick", x: LEFT - 8, y: y(value) + 4, "text-anchor": "end" }, text),
  ]);
  const name = svg("text", { class: "axis", x: (LEFT + width - RIGHT) / 2, y: height - 6, "text-anchor": "middle" }, names[0]);
  const side = svg("text", { class: "axis", transform: `translate(12 ${(TOP + bottom) / 2}) rotate(-90)`, "text-anchor": "middle" }, names[1]);
  return [...up, svg("line", { class: "base", x1: LEFT, x2: width - RIGHT, y1: bottom, y2: bottom }), ...across, name, side];
}

function picture(width, height, label, ...parts) {
  return svg("svg", { width, height, viewBox: `0 0 ${width} ${height}`, role: "group", "aria-label": label }, ...parts);
}

/** Something in a plot that can be pressed: `data` names it, `label` says what it is. */
function mark(data, label, act, ...parts) {
  const [kind, value] = data;
  const made = svg("g", { class: "mark", role: "button", tabindex: -1, "aria-label": label, "aria-pressed": "false", onclick: () => act(value) }, svg("title", {}, label), ...parts);
  made.dataset[kind] = value;
  return made;
}

/** One stop of Tab for all marks of a plot: arrows go from one to the next, up and down by `columns`, Enter presses. */
function walkable(plot, columns = 1) {
  const marks = [...plot.querySelectorAll(".mark")];
  const steps = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: columns, ArrowUp: -columns, Home: -Infinity, End: Infinity };
  const rest = (at) => marks.forEach((each, place) => each.setAttribute("tabindex", place === at ? 0 : -1));
  marks.forEach((each, at) => {
    each.addEventListener("focus", () => rest(at));
    each.addEventListener("keydown", (event) => {
      if (event.key === "Enter" || event.key === " ") each.dispatchEvent(new MouseEvent("click"));
      else if (event.key in steps) marks[Math.max(0, Math.min(marks.length - 1, at + steps[event.key]))].focus();
      else return;
      event.preventDefault();
      event.stopPropagation();
    });
  });
  rest(0);
  return plot;
}

/** Lines over the values of a parameter: `series` are {colour, points: [{at, value, low, high, name, label}]}. */
function lines({ width, height, parameter, series, names, act }) {
  const points = series.flatMap((each) => each.points);
  const bounds = points.flatMap((point) => (series.length === 1 ? [point.low, point.high] : [point.value]));
  const x = stops(parameter, LEFT + 14, width - RIGHT - 14);
  const y = spread(bounds, height - BOTTOM, TOP);
  const drawn = series.flatMap(({ colour, points: own }) => {
    const path = own.map((point, at) => `${at ? "L" : "M"}${x(point.at)} ${y(point.value)}`).join("");
    return [band(series.length === 1 ? own : [], x, y), svg("path", { class: "line", d: path, style: `stroke:${colour}` })];
  });
  const dots = series.flatMap(({ colour, points: own }) => own.map((point) => mark(["name", point.name], point.label, act,
    svg("circle", { class: "reach", cx: x(point.at), cy: y(point.value), r: 11 }),
    svg("circle", { class: "dot", cx: x(point.at), cy: y(point.value), r: 4.5, style: `fill:${colour}` }))));
  return walkable(picture(width, height, `${names[1]} by ${names[0]}`, ...axes(width, height, x, y, names), ...drawn, ...dots));
}

function band(points, x, y) {
  if (points.length < 2) return null;
  const there = points.map((point) => `${x(point.at)} ${y(point.high)}`);
  const back = points.map((point) => `${x(point.at)} ${y(point.low)}`).reverse();
  return svg("path", { class: "band", d: `M${[...there, ...back].join("L")}z` });
}

/** Cells over two parameters, the stronger the better. */
function heat({ width, across, down, cells, names, act }) {
  const left = Math.min(width / 3, 24 + DIGIT * Math.max(names[1].length, ...down.labels.map((each) => each.length)));
  const [wide, high] = [(width - left - 4) / across.labels.length, 34];
  const height = TOP + high * down.labels.length + BOTTOM;
  const values = cells.map((cell) => cell.value);
  const [low, top] = [Math.min(...values), Math.max(...values)];
  const drawn = [...cells].sort((one, other) => one.row - other.row || one.column - other.column).map((cell) => {
    const [x, y] = [left + wide * cell.column, TOP + high * cell.row];
    const share = top > low ? (cell.value - low) / (top - low) : 0.5;
    const colour = `color-mix(in srgb, var(--sage-accent) ${Math.round(6 + 60 * share)}%, var(--jp-layout-color1, #fff))`;
    const text = wide > 40 ? svg("text", { class: "held", x: x + wide / 2, y: y + high / 2 + 4, "text-anchor": "middle" }, fixed(cell.value)) : null;
    return mark(["name", cell.name], cell.label, act, svg("rect", { class: "cell", x: x + 1, y: y + 1, width: wide - 2, height: high - 2, rx: 3, style: `fill:${colour}` }), text);
  });
  const sides = down.labels.map((label, at) => svg("text", { class: "tick", x: left - 8, y: TOP + high * at + high / 2 + 4, "text-anchor": "end" }, label));
  const middles = (at) => left + wide * (at + 0.5);
  middles.ticks = across.labels.map((label, at) => [at, label]);
  const feet = apart(middles).map(([at, label]) => svg("text", { class: "tick", x: middles(at), y: height - BOTTOM + 16, "text-anchor": "middle" }, label));
  const titles = [svg("text", { class: "axis", x: (left + width) / 2, y: height - 6, "text-anchor": "middle" }, names[0]), svg("text", { class: "axis", x: left - 8, y: height - BOTTOM + 16, "text-anchor": "end" }, names[1])];
  return walkable(picture(width, height, `${names[2]} by ${names[0]} and ${names[1]}`, ...drawn, ...sides, ...feet, ...titles), across.labels.length);
}

/** Points of two costs, those that no other beats in both joined by a line and named. */
function front({ width, height, points, names, act }) {
  const x = spread(points.map((point) => point.x), LEFT, width - RIGHT);
  const y = spread(points.map((point) => point.y), height - BOTTOM, TOP + 8);
  const best = points.filter((point) => point.best).sort((one, other) => one.x - other.x);
  const steps = best.map((point, at) => (at ? `H${x(point.x)}V${y(point.y)}` : `M${x(point.x)} ${y(point.y)}`)).join("");
  const ordered = [...points].sort((one, other) => one.x - other.x);
  const dots = ordered.map((point) => mark(["name", point.name], point.label, act,
    svg("circle", { class: "reach", cx: x(point.x), cy: y(point.y), r: 11 }),
    svg("circle", { class: point.best ? "dot best" : "dot", cx: x(point.x), cy: y(point.y), r: 5 })));
  const said = titles(best, points, x, y, width);
  return walkable(picture(width, height, `${names[1]} against ${names[0]}`, ...axes(width, height, x, y, names), svg("path", { class: "front", d: steps }), ...said, ...dots));
}

/** The names of the best, each beside its point, but for those that would lie on another name or point. */
function titles(best, points, x, y, width) {
  const taken = points.map((point) => [x(point.x) - 6, x(point.x) + 6, y(point.y) - 6, y(point.y) + 6]);
  const free = ([left, right, top, bottom]) => left > LEFT && right < width && taken.every((each) => left > each[1] || right < each[0] || top > each[3] || bottom < each[2]);
  return best.map((point) => {
    const text = point.name.length > 28 ? `${point.name.slice(0, 27)}…` : point.name;
    const [long, middle, up] = [text.length * DIGIT, x(point.x), y(point.y)];
    const boxes = [[1, 14], [-1, -8], [1, -8], [-1, 14]].map(([side, down]) => {
      const from = side > 0 ? middle + 8 : middle - 8 - long;
      return [from, from + long, up + down - 10, up + down + 2];
    });
    const box = boxes.find(free);
    if (!box) return null;
    taken.push(box);
    return svg("text", { class: "title", x: box[0], y: box[3] - 2 }, text);
  });
}

/** A bar for each difference, in the order given; wider than the page where there are many. */
function bars({ width, height, values, names, act }) {
  const each = Math.max(3, Math.min(26, (width - LEFT - RIGHT) / values.length));
  const whole = Math.max(width, LEFT + RIGHT + each * values.length);
  const [low, high] = [Math.min(0, ...values.map((one) => one.value)), Math.max(0, ...values.map((one) => one.value))];
  const room = (high - low) * 0.06 || 0.5;
  const y = linear(low - (low < 0 ? room : 0), high + room, height - 26, TOP, 6);
  const drawn = values.map(({ key, value, label }, at) => {
    const x = LEFT + each * at;
    const [top, tall] = [Math.min(y(value), y(0)), Math.max(1, Math.abs(y(value) - y(0)))];
    return mark(["question", key], label, act,
      svg("rect", { class: "reach", x, y: TOP, width: each, height: height - 26 - TOP }),
      svg("rect", { class: value > 0 ? "bar up" : value < 0 ? "bar down" : "bar", x: x + each * 0.1, y: top, width: each * 0.8, height: tall }));
  });
  const grid = y.ticks.flatMap(([value, text]) => [
    svg("line", { class: value ? "grid" : "base", x1: LEFT, x2: whole - RIGHT, y1: y(value), y2: y(value) }),
    svg("text", { class: "tick", x: LEFT - 8, y: y(value) + 4, "text-anchor": "end" }, value > 0 && low < 0 ? `+${text}` : text),
  ]);
  const below = svg("text", { class: "axis", x: LEFT, y: height - 6 }, names[0]);
  return walkable(picture(whole, height, names[1], ...grid, ...drawn, below));
}
