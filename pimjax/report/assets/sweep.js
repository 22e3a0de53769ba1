"use strict";
/* Pareto explorer: choose axes and colour, hover for the configuration, click to pin a point and read its YAML. */
function drawSweep(sweep) {
  const names = [...sweep.metrics, ...sweep.axes], columns = sweep.columns, rows = sweep.shown;
  const numeric = (name) => columns[name].some((value) => typeof value === "number");
  const better = (name) => (sweep.measures[name] && sweep.measures[name].larger ? -1 : 1);
  const title = (name) => titleOf(sweep, name);
  const state = { pinned: [] };
  const plot = byId("pareto");
  const range = (column) => { const real = column.filter((v) => typeof v === "number" && v > 0); return Math.max(...real.slice(0, 1e5)) /
    Math.min(...real.slice(0, 1e5)); };

  function option(select, list, chosen) {
    byId(select).replaceChildren(...list.map((name) => make("option", { value: name, text: title(name),
      ...(name === chosen ? { selected: "" } : {}) })));
  }
  const numbers = names.filter(numeric);
  const prefer = (...wanted) => wanted.find((name) => numbers.includes(name)) || numbers[0];
  option("pareto-x", numbers, prefer("area_mm2", "energy_nj"));
  option("pareto-y", numbers, prefer("latency_ns", "energy_nj"));
  const colours = [...sweep.axes, ...(new Set(columns.trace).size > 1 ? ["trace"] : []), ...sweep.metrics];
  option("pareto-colour", colours, sweep.axes.find((name) => !numeric(name)) || colours[0]);

  function front(x, y) {
    const sx = better(byId("pareto-x").value), sy = better(byId("pareto-y").value);
    const order = [...Array(rows).keys()].filter((i) => typeof x[i] === "number" && typeof y[i] === "number")
      .sort((a, b) => sx * (x[a] - x[b]) || sy * (y[a] - y[b]));
    const kept = [];
    let best = Infinity;
    for (const i of order) if (sy * y[i] < best) { best = sy * y[i]; kept.push(i); }
    return kept;
  }
  function hoverText(i) {
    const lines = [`<b>point ${columns.point[i]}</b>`, ...sweep.axes.map((name) => `${name}: ${shown(columns[name][i])}`)];
    if (colours.includes("trace")) lines.push(`request: ${columns.trace[i]}`);
    return [...lines, ...sweep.metrics.map((name) => `<i>${title(name)}</i>: ${shown(columns[name][i])}`)].join("<br>");
  }
  const texts = Array.from({ length: rows }, (_, i) => hoverText(i));

  function draw() {
    const [xName, yName, colour] = ["pareto-x", "pareto-y", "pareto-colour"].map((id) => byId(id).value);
    const x = columns[xName], y = columns[yName], type = rows > 5000 && webgl() ? "scattergl" : "scatter";
    const common = { type, mode: "markers", hovertemplate: "%{text}<extra></extra>" };
    const values = columns[colour], kinds = [...new Set(values)];
    let data;
    if (numeric(colour) && kinds.length > 8) {
      data = [{ ...common, x, y, text: texts, customdata: [...Array(rows).keys()], marker: { size: 7, opacity: 0.75, color: values,
        colorscale: "Cividis", showscale: true, colorbar: { title: { text: title(colour), side: "right", font: { size: 12 } },
          thickness: 12, outlinewidth: 0, tickfont: { size: 11 } } } }];
    } else {
      kinds.sort((a, b) => (typeof a === "number" ? a - b : String(a).localeCompare(String(b))));
      const symbols = ["circle", "square", "diamond", "triangle-up", "cross", "x", "triangle-down", "star"];
      data = kinds.map((kind, k) => {
        const mine = [...Array(rows).keys()].filter((i) => values[i] === kind);
        return { ...common, name: shown(kind), x: mine.map((i) => x[i]), y: mine.map((i) => y[i]), text: mine.map((i) => texts[i]),
          customdata: mine, marker: { size: 7, opacity: 0.75, color: sweep.palette[k % sweep.palette.length], symbol: symbols[k % 8] } };
      });
    }
    const best = front(x, y);
    data.unshift({ type: "scatter", mode: "lines", x: best.map((i) => x[i]), y: best.map((i) => y[i]), name: "Pareto front",
      line: { color: "#14213d", width: 1.6, shape: "hv", dash: "dot" }, hoverinfo: "skip" });
    data.push({ type: "scatter", mode: "markers+text", name: "pinned", x: state.pinned.map((i) => x[i]), y: state.pinned.map((i) => y[i]),
      text: state.pinned.map((_, n) => String(n + 1)), textposition: "top center", textfont: { size: 13, color: INK }, hoverinfo: "skip",
      showlegend: false, marker: { size: 15, symbol: "circle-open", color: INK, line: { width: 2.5 } } });
    const scale = (id) => (byId(id).checked ? { type: "log" } : {});
    Plotly.react(plot, data, layout({
      height: 560, margin: { l: 66, r: 10, t: 36, b: 50 }, showlegend: true, hovermode: "closest", uirevision: `${xName} ${yName}`,
      legend: { orientation: "h", x: 0, y: 1.0, yanchor: "bottom", font: { size: 12.5 } },
      xaxis: axis(title(xName) + arrow(xName, "→"), scale("pareto-log-x")), yaxis: axis(title(yName) + arrow(yName, "↑"), scale("pareto-log-y")),
    }), CONFIG);
    byId("pareto-count").textContent = `${shown(best.length)} points on the front of these two axes`;
  }
  const arrow = (name, sign) => (sweep.measures[name] ? (better(name) < 0 ? `  (${sign} better)` : `  (${sign === "→" ? "←" : "↓"} better)`) : "");

  function pins() {
    const cards = state.pinned.map((i, n) => {
      const yaml = pointYaml(sweep, i);
      const copy = make("button", { text: "Copy YAML", onclick: (event) => {
        navigator.clipboard.writeText(yaml).then(() => { event.target.textContent = "Copied"; }, () => { event.target.textContent = "Select and copy"; });
      } });
      const drop = make("button", { text: "Unpin", onclick: () => { state.pinned.splice(n, 1); refresh(); } });
      return make("div", { class: "card pin" }, make("div", { class: "panel-head" }, make("b", { text: `${n + 1}: point ${columns.point[i]}` }),
        make("span", {}, copy, " ", drop)),
        make("table", {}, ...sweep.metrics.map((name) => make("tr", {}, make("td", { text: title(name) }),
          make("td", { class: "number", text: shown(columns[name][i]) })))),
        make("pre", { text: yaml }));
    });
    byId("pins").replaceChildren(...(cards.length ? cards : [make("div", { class: "card empty",
      text: "Click a point to pin it here, with its numbers and the YAML that makes it." })]));
  }
  function refresh() { draw(); pins(); }
  for (const name of ["x", "y"]) {
    const column = () => columns[byId(`pareto-${name}`).value];
    const adapt = () => { byId(`pareto-log-${name}`).checked = range(column()) > 30; };
    adapt();
    byId(`pareto-${name}`).onchange = () => { adapt(); draw(); };
    byId(`pareto-log-${name}`).onchange = draw;
  }
  byId("pareto-colour").onchange = draw;
  refresh();
  plot.on("plotly_click", (event) => {
    const row = event.points.map((point) => point.customdata).find((index) => Number.isInteger(index));
    if (row === undefined) return;
    const at = state.pinned.indexOf(row);
    if (at >= 0) state.pinned.splice(at, 1); else state.pinned.push(row);
    refresh();
  });
}

const titleOf = (sweep, name) => (sweep.measures[name] ? sweep.measures[name].title : name);

function webgl() {
  try { return Boolean(document.createElement("canvas").getContext("webgl")); } catch (error) { return false; }
}

/* A configuration file for `pimjax estimate`: the sweep's base with the point's values set. */
function pointYaml(sweep, row) {
  const content = JSON.parse(JSON.stringify(sweep.base)), point = sweep.columns.point[row];
  content.name = `${sweep.name}_point_${point}`;
  for (const dotted of sweep.axes) {
    const parts = dotted.split("."), leaf = parts.pop();
    let place = content;
    for (const part of parts) place = place[part] = place[part] || {};
    const value = sweep.columns[dotted][row];
    place[leaf] = value === "" ? null : value;
  }
  const lines = [`# point ${point} of the sweep ${sweep.name}`,
    ...sweep.metrics.map((name) => `# ${titleOf(sweep, name)}: ${shown(sweep.columns[name][row], 6)}`)];
  if (new Set(sweep.columns.trace).size > 1) lines.push(`# routing: ${sweep.columns.trace[row]} (give it with --trace)`);
  const scalar = (value) => (typeof value === "string" && value.startsWith("[") ? value : JSON.stringify(value));
  const write = (mapping, indent) => {
    for (const [key, value] of Object.entries(mapping)) {
      if (value !== null && typeof value === "object" && !Array.isArray(value)) {
        lines.push(`${indent}${key}:`);
        write(value, indent + "  ");
      } else lines.push(`${indent}${key}: ${scalar(value)}`);
    }
  };
  write(content, "");
  return lines.join("\n") + "\n";
}
