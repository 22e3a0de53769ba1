"use strict";
/* Breakdown bars of one run. */
function drawBreakdowns(run) {
  const places = Math.min(10, Math.max(...run.breakdowns.map((chart) => chart.parts.length)));
  run.breakdowns.forEach((chart, index) => {
    const parts = [...chart.parts].reverse();
    Plotly.newPlot(`breakdown-${index}`, [{
      type: "bar", orientation: "h", y: parts.map((part) => part.name), x: parts.map((part) => part.value),
      marker: { color: parts.map((part) => part.colour) }, cliponaxis: false,
      text: parts.map((part) => (part.share >= 0.0995 ? Math.round(100 * part.share) : (100 * part.share).toFixed(1)) + " %"),
      textposition: "outside", textfont: { size: 12, color: SOFT },
      hovertemplate: `%{y}<br><b>%{x:.4s} ${chart.unit}</b> (%{text})<extra></extra>`,
    }], layout({
      height: 60 + 27 * places, margin: { l: 10, r: 12, t: 4, b: 42 }, bargap: 0.28,
      xaxis: axis(chart.unit, { range: [0, 1.2 * Math.max(...parts.map((part) => part.value))], nticks: 5 }),
      yaxis: axis("", { ticks: "", showline: false, gridcolor: "rgba(0,0,0,0)", range: [Math.min(-0.5, parts.length - places - 0.5), parts.length - 0.5] }),
    }), { ...CONFIG, displayModeBar: false });
  });
}
