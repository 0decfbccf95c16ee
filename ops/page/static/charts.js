// Curves of the last minutes: one line for each series, as wide as the tile.

const SVG = "http://www.w3.org/2000/svg";
const WIDTH = 240;
const HEIGHT = 44;
const GAP_S = 30;
const SHORTEST_S = 60;

/** An empty curve; it repeats what the tile says, so it is nothing for screen readers. */
export function curve() {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("viewBox", `0 0 ${WIDTH} ${HEIGHT}`);
  svg.setAttribute("preserveAspectRatio", "none");
  svg.setAttribute("aria-hidden", "true");
  svg.classList.add("curve");
  return svg;
}

/** Draw `points` ({at, …}); `series` are names of their values, the first one with its area filled. */
export function draw(svg, points, series, longestS) {
  const end = points.at(-1)?.at ?? 0;
  const spanS = Math.min(longestS, Math.max(SHORTEST_S, end - (points[0]?.at ?? end)));
  const shown = points.filter((point) => point.at >= end - spanS);
  const highest = Math.max(1e-9, ...shown.flatMap((point) => series.map((name) => point[name] ?? 0)));
  const x = (point) => (WIDTH * (point.at - (end - spanS))) / spanS;
  const y = (value) => HEIGHT - 2 - ((HEIGHT - 6) * value) / highest;
  const paths = series.flatMap((name, index) => {
    const lines = runs(shown, name).map((run) => run.map((point) => [x(point), y(point[name])]));
    const line = lines.map(path).join("");
    const area = lines.map((run) => `${path(run)}L${run.at(-1)[0].toFixed(1)} ${HEIGHT}L${run[0][0].toFixed(1)} ${HEIGHT}Z`);
    return index ? [[line, "line second"]] : [[area.join(""), "area"], [line, "line"]];
  });
  while (svg.children.length > paths.length) svg.lastChild.remove();
  while (svg.children.length < paths.length) svg.append(document.createElementNS(SVG, "path"));
  paths.forEach(([d, kind], index) => {
    svg.children[index].setAttribute("d", d);
    svg.children[index].setAttribute("class", kind);
  });
}

const path = (run) => run.map(([x, y], index) => `${index ? "L" : "M"}${x.toFixed(1)} ${y.toFixed(1)}`).join("");

/** The points that have the value, cut where nobody looked for a while. */
function runs(points, name) {
  const found = [];
  let before = null;
  for (const point of points) {
    if (point[name] === null || point[name] === undefined) before = null;
    else {
      if (before === null || point.at - before > GAP_S) found.push([]);
      found.at(-1).push(point);
      before = point.at;
    }
  }
  return found;
}
