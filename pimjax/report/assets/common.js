"use strict";
/* Shared by the page's parts: the data, Plotly's common layout, small helpers. */
const REPORT = JSON.parse(document.getElementById("report-data").textContent);
const FONT = getComputedStyle(document.body).fontFamily;
const INK = "#1b2430", SOFT = "#5b6673", GRID = "#e8ebef";
const CONFIG = { responsive: true, displaylogo: false, modeBarButtonsToRemove: ["select2d", "lasso2d", "autoScale2d"] };

const byId = (id) => document.getElementById(id);
const make = (tag, attributes = {}, ...children) => {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name === "text") node.textContent = value;
    else if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else node.setAttribute(name, value);
  }
  node.append(...children);
  return node;
};
const shown = (value, digits = 4) => {
  if (value === null || value === undefined || value === "") return "–";
  if (typeof value !== "number") return String(value);
  if (!Number.isFinite(value)) return String(value);
  if (Number.isInteger(value) && Math.abs(value) < 1e9) return value.toLocaleString("en-US");
  const size = Math.abs(value);
  if (size !== 0 && (size >= 1e9 || size < 1e-3)) return value.toExponential(digits - 1);
  return Number(value.toPrecision(digits)).toLocaleString("en-US", { maximumSignificantDigits: digits });
};
const axis = (title, more = {}) => ({
  title: { text: title, standoff: 8, font: { size: 13, color: SOFT } }, gridcolor: GRID, zeroline: false, linecolor: "#b8c0ca",
  ticks: "outside", tickcolor: "#b8c0ca", ticklen: 4, tickfont: { size: 12 }, automargin: true, exponentformat: "power", ...more,
});
const layout = (more = {}) => ({
  font: { family: FONT, size: 13, color: INK }, paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
  margin: { l: 56, r: 14, t: 12, b: 44 }, modebar: { bgcolor: "rgba(0,0,0,0)", color: "#aab3be", activecolor: "#0072b2" }, hoverlabel: { bgcolor: "#fff", bordercolor: "#9aa4b0", align: "left",
    font: { family: FONT, size: 12.5, color: INK } }, showlegend: false, ...more,
});
const log2Ticks = (values) => ({ type: "log", tickvals: values, ticktext: values.map(String) });
