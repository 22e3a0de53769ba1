"use strict";
/* A server over time, distributions of times, and times over the rate of requests. */
function drawServing(serving) {
  const small = { ...CONFIG, displayModeBar: false };
  for (const line of serving.lines) {
    const limit = line.key === "kv_tokens" && serving.kv_limit
      ? [{ type: "line", x0: 0, x1: 1, xref: "paper", y0: serving.kv_limit, y1: serving.kv_limit, line: { color: SOFT, dash: "dot", width: 1.5 } }] : [];
    Plotly.newPlot(`serving-${line.key}`, [{
      type: "scatter", mode: "lines", x: serving.time_s, y: line.values, fill: "tozeroy", line: { color: line.colour, width: 1.8, shape: "hv" },
      hovertemplate: `%{x:.4s} s: <b>%{y:.4s}</b> ${line.name}<extra></extra>`,
    }], layout({ height: 210, margin: { l: 58, r: 10, t: 8, b: 42 }, shapes: limit, xaxis: axis("time [s]"), yaxis: axis(line.name, { rangemode: "tozero" }) }), small);
  }
  const drawn = serving.times.filter((one) => one.values.length);
  Plotly.newPlot("serving-times", drawn.map((one, index) => ({
    type: "scatter", mode: "lines", name: one.name, x: one.values.map((value) => Math.max(value, 1e-6)), y: serving.quantiles,
    line: { color: serving.colours[index % 4], width: 2.2, dash: ["solid", "dot", "dash", "dashdot"][index % 4] },
    hovertemplate: `${one.name}: %{y:.0%} within <b>%{x:.4s} ms</b><extra></extra>`,
  })), layout({
    height: 320, showlegend: true, legend: { orientation: "h", y: 1.14 }, margin: { l: 58, r: 10, t: 34, b: 46 },
    shapes: drawn.flatMap((one, index) => one.limit ? [{ type: "line", x0: one.limit, x1: one.limit, y0: 0, y1: 1, line: { color: serving.colours[index % 4], dash: "dot", width: 1.2 } }] : []),
    xaxis: axis("time [ms]", { type: "log" }), yaxis: axis("part of the requests", { range: [0, 1.01], tickformat: ".0%" }),
  }), small);
  if (!serving.slo) return;
  const curves = [["ttft_ms", "p99 of the time to first token", 0], ["tpot_ms", "p99 of the time per further token", 1]];
  Plotly.newPlot("serving-slo", curves.map(([key, name, index]) => ({
    type: "scatter", mode: "lines+markers", name, x: serving.slo.rate, y: serving.slo[key].map((value) => value || null),
    line: { color: serving.colours[index], width: 2.2, dash: ["solid", "dot"][index] }, marker: { size: 6 },
    hovertemplate: `%{x:.4s} requests/s: <b>%{y:.4s} ms</b> ${name}<extra></extra>`,
  })), layout({
    height: 320, showlegend: true, legend: { orientation: "h", y: 1.14 }, margin: { l: 58, r: 10, t: 34, b: 46 },
    shapes: serving.slo.limits.map((limit, index) => ({ type: "line", x0: 0, x1: 1, xref: "paper", y0: limit, y1: limit, line: { color: serving.colours[index], dash: "dot", width: 1.2 } })),
    xaxis: axis("requests per second", { type: "log" }), yaxis: axis("time [ms]", { type: "log" }),
  }), small);
}
