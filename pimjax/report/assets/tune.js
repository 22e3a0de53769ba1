"use strict";
/* Tuning path: the relaxed objective of every start over gradient steps, and the finished legal chip. */
function drawTune(tune) {
  const variants = [...new Set(tune.starts.map((start) => start.variant))].sort((a, b) => a - b);
  const colour = (variant) => tune.colours[variants.indexOf(variant) % tune.colours.length];
  const last = (start) => start.objective[start.objective.length - 1];
  const kept = tune.starts.filter((start) => start.feasible[start.feasible.length - 1]);
  const best = (kept.length ? kept : tune.starts).reduce((a, b) => (last(b) < last(a) ? b : a));
  const seen = new Set();
  const data = tune.starts.map((start) => {
    const first = !seen.has(start.variant);
    seen.add(start.variant);
    return { type: "scatter", mode: "lines", x: start.steps, y: start.objective, legendgroup: String(start.variant), showlegend: first,
      name: variants.length > 1 ? `choices ${start.variant}` : "starts", opacity: start === best ? 1 : 0.5,
      line: { color: colour(start.variant), width: start === best ? 3.5 : 1.4 },
      text: start.feasible.map((ok) => (ok ? "limits kept" : "a limit is broken")),
      hovertemplate: `start ${start.start}, step %{x}<br><b>%{y:.5g}</b>, %{text}<extra></extra>` };
  });
  const broken = { x: [], y: [] };
  tune.starts.forEach((start) => start.feasible.forEach((ok, i) => { if (!ok) { broken.x.push(start.steps[i]); broken.y.push(start.objective[i]); } }));
  data.push({ type: "scatter", mode: "markers", name: "a limit is broken", ...broken, hoverinfo: "skip",
    marker: { symbol: "x-thin", size: 6, color: "#7a828c", line: { width: 1.2, color: "#7a828c" } } });
  const steps = Math.max(...tune.starts.map((start) => start.steps[start.steps.length - 1])) + 1;
  data.push({ type: "scatter", mode: "markers", name: "finished: legal hardware", x: tune.finished.map(() => steps + 0.5), y: tune.finished.map((p) => p.objective),
    marker: { symbol: "star", size: 17, color: "#D55E00", line: { width: 1, color: "#fff" } },
    hovertemplate: "finished, legal hardware<br><b>%{y:.5g}</b><extra></extra>" });
  Plotly.newPlot("tune-path", data, layout({
    height: 430, margin: { l: 70, r: 14, t: 40, b: 48 }, showlegend: true, legend: { orientation: "h", x: 0, y: 1.0, yanchor: "bottom" },
    xaxis: axis("gradient step"), yaxis: axis("objective (lower is better)", { type: "log" }),
  }), CONFIG);
}
