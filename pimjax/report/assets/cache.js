"use strict";
/* Latency, energy and memory over generated tokens, one line a cache setting. */
function drawCache(cache) {
  const scales = { latency_ns: [1e3, "us"], energy_nj: [1e3, "uJ"], resident_bytes: [1e3, "kB"] };
  const largest = { latency_ns: [1e6, "ms"], energy_nj: [1e6, "mJ"], resident_bytes: [1e6, "MB"] };
  const titles = { latency_ns: "latency of the run", energy_nj: "energy of the run", resident_bytes: "held in caches at the end" };
  for (const [name, title] of Object.entries(titles)) {
    const most = Math.max(...cache.series.flatMap((series) => series[name]));
    const [scale, unit] = most >= largest[name][0] ? largest[name] : scales[name];
    const data = cache.series.map((series, index) => ({
      type: "scatter", mode: "lines+markers", name: series.name, x: cache.generated, y: series[name].map((value) => value / scale),
      line: { color: series.colour, width: 2.5, dash: ["solid", "dot", "dash", "solid"][index % 4] },
      marker: { size: 7, symbol: ["circle", "square", "diamond", "triangle-up"][index % 4] },
      customdata: series[name].map((value, step) => value ? (cache.series[0][name][step] / value).toFixed(2) : "–"),
      hovertemplate: `<b>${series.name}</b>: %{y:.4s} ${unit}` + (name === "resident_bytes" ? "" : " (no cache / this: %{customdata})") +
        "<extra></extra>",
    }));
    Plotly.newPlot(`cache-${name}`, data, layout({
      height: 300, hovermode: "x unified", margin: { l: 54, r: 12, t: 10, b: 46 },
      xaxis: axis("generated tokens", log2Ticks(cache.generated)),
      yaxis: axis(`${title} [${unit}]`, { rangemode: "tozero" }),
    }), { ...CONFIG, displayModeBar: false });
  }
}
