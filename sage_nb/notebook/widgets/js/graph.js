/** Boxes and arrows as `records/drawing.drawn` has laid them out; whole titles where the pointer rests. */
function graph(laid, title) {
  const tip = svg("marker", { id: "sage-tip", viewBox: "0 0 8 8", refX: 7, refY: 4, markerWidth: 7, markerHeight: 7, orient: "auto-start-reverse" },
    svg("path", { d: "M0 0L8 4L0 8z" }));
  const lines = laid.arrows.flatMap((arrow) => [
    svg("path", { class: arrow.back ? "back" : null, d: arrow.path, "marker-end": "url(#sage-tip)" }),
    arrow.label && !arrow.back ? svg("text", { class: "quiet", x: arrow.x, y: arrow.y }, arrow.label) : null,
  ]);
  const boxes = laid.boxes.map((box) => {
    const middle = box.x + box.wide / 2, half = box.y + box.high / 2;
    return svg("g", {}, svg("title", {}, box.title),
      svg("rect", { x: box.x, y: box.y, width: box.wide, height: box.high, rx: 4 }),
      svg("text", { x: middle, y: half + (box.below ? -3 : 4) }, box.shown),
      box.below ? svg("text", { class: "quiet", x: middle, y: half + 14 }, box.below) : null);
  });
  return svg("svg", { class: "sage-graph", role: "img", width: laid.width, height: laid.height, viewBox: `0 0 ${laid.width} ${laid.height}` },
    svg("title", {}, title), svg("defs", {}, tip), ...lines, ...boxes);
}
