"use strict";
/* The schedule as a Gantt chart: groups x slots coloured by token, loads per slot below, one panel a policy. */
function drawSchedule(schedule) {
  const POLICIES = Object.keys(schedule.policy_names);
  const FIRST = 32;
  const state = { layer: 0, token: null, all: false, syncing: false };
  const panel = (policy) => byId(`gantt-${policy}`);
  const longest = () => Math.max(...POLICIES.map((policy) => current().policies[policy].loads.length));
  const current = () => schedule.layers[state.layer];

  function colourscale() {
    const count = schedule.colours.length, scale = [];
    schedule.colours.forEach((colour, token) => {
      const used = state.token === null || state.token === token ? colour : "#e4e7eb";
      scale.push([token / count, used], [(token + 1) / count, used]);
    });
    return scale;
  }
  function traces(policy) {
    const layer = current(), { slots, loads } = layer.policies[policy];
    const experts = layer.groups.map((members) => new Set(members));
    const hover = slots.map((row, group) => row.map((token) => token === null ? "waits" :
      `token ${token}, expert ${layer.tokens[token].filter((expert) => experts[group].has(expert)).join(" and ")} of this group`));
    const tokensOf = loads.map((_, slot) => [...new Set(slots.map((row) => row[slot]))].filter((token) => token !== null));
    return [{
      type: "heatmap", z: slots, text: slots.map((row) => row.map((token) => (token === null ? "" : String(token)))), customdata: hover,
      zmin: -0.5, zmax: schedule.colours.length - 0.5, colorscale: colourscale(), showscale: false, xgap: 1, ygap: 2,
      hovertemplate: "slot %{x}, group %{y}<br><b>%{customdata}</b><extra></extra>", hoverongaps: false, textfont: { size: schedule.colours.length > 100 ? 8 : 9, color: "#10151c" },
    }, {
      type: "bar", x: loads.map((_, slot) => slot), y: loads, yaxis: "y2", marker: { color: schedule.policy_colours[policy] },
      customdata: tokensOf.map((tokens) => tokens.join(", ")), width: 0.86,
      hovertemplate: "slot %{x}: <b>%{y} loads</b><br>tokens %{customdata}<extra></extra>",
    }];
  }
  function draw() {
    const layer = current(), groups = layer.groups.length;
    const end = state.all ? longest() : Math.min(FIRST, longest());
    const most = Math.max(...POLICIES.map((policy) => Math.max(...layer.policies[policy].loads)));
    for (const policy of POLICIES) {
      const data = traces(policy);
      data[0].texttemplate = end <= FIRST && groups <= 16 ? "%{text}" : "";
      Plotly.react(panel(policy), data, layout({
        height: 130 + 15 * Math.min(groups, 32) + 90, margin: { l: 50, r: 8, t: 6, b: 40 }, bargap: 0.1, dragmode: "pan",
        xaxis: axis("slot", { range: [-0.5, end - 0.5], anchor: "y2", gridcolor: "rgba(0,0,0,0)" }),
        yaxis: axis("group", { domain: [0.36, 1], autorange: "reversed", gridcolor: "rgba(0,0,0,0)", ticks: "",
          dtick: groups <= 8 ? 1 : groups <= 16 ? 2 : 8 }),
        yaxis2: axis("loads", { domain: [0, 0.28], range: [0, most * 1.08], nticks: 4 }),
      }), { ...CONFIG, displayModeBar: false, scrollZoom: false });
    }
    table(layer);
    byId("schedule-all").setAttribute("aria-pressed", String(state.all));
    byId("schedule-first").setAttribute("aria-pressed", String(!state.all));
    byId("schedule-token").textContent = state.token === null ? "Click a token to follow it through all policies." :
      `Token ${state.token} is highlighted; click it again to see all.`;
  }
  function table(layer) {
    const head = make("tr", {}, ...["policy", "slots", "loads", "loads / bound", "most loads in a slot"].map((text, column) =>
      make("th", { text, ...(column ? { class: "number" } : {}) })));
    const rows = POLICIES.map((policy) => {
      const { loads } = layer.policies[policy], sum = loads.reduce((a, b) => a + b, 0);
      const name = make("td", policy === schedule.policy ? { class: "chosen" } : {}, make("span",
        { class: "swatch", style: `background:${schedule.policy_colours[policy]}` }),
        schedule.policy_names[policy] + (policy === schedule.policy ? " (this run)" : ""));
      const cells = [loads.length, sum, (sum / layer.bound).toFixed(3), Math.max(...loads)];
      byId(`gantt-head-${policy}`).textContent = `${shown(loads.length)} slots, ${shown(sum)} loads`;
      return make("tr", {}, name, ...cells.map((value) => make("td", { class: "number", text: shown(value) })));
    });
    byId("schedule-table").replaceChildren(head, ...rows);
    byId("schedule-bound").textContent = `No schedule of these tokens can have fewer than ${shown(layer.bound)} loads.`;
  }
  draw();
  for (const policy of POLICIES) {
    panel(policy).on("plotly_click", (event) => {
      const token = event.points[0].z;
      if (token === undefined || token === null) return;
      state.token = state.token === token ? null : token;
      draw();
    });
    panel(policy).on("plotly_relayout", (change) => {
      if (state.syncing || change["xaxis.range[0]"] === undefined) return;
      state.syncing = true;
      const range = [change["xaxis.range[0]"], change["xaxis.range[1]"]];
      Promise.all(POLICIES.filter((other) => other !== policy).map((other) => Plotly.relayout(panel(other), { "xaxis.range": range })))
        .then(() => { state.syncing = false; });
    });
  }
  byId("schedule-first").textContent = `First ${Math.min(FIRST, longest())} slots`;
  byId("schedule-first").onclick = () => { state.all = false; draw(); };
  byId("schedule-all").onclick = () => { state.all = true; draw(); };
  byId("schedule-layer").onchange = (event) => { state.layer = Number(event.target.value); draw(); };
}
