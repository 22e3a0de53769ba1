"""The page's sections: headings, tables and the empty places that the scripts draw into."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from html import escape
from typing import Any

from pimjax.report.measures import number

Contents = dict[str, Any]


def run_section(contents: Contents) -> str:
    """Headline numbers, breakdown bars, what bounds the run, what is assumed."""
    run = contents["run"]
    cards = "".join(
        f'<div class="card"><div class="label">{escape(card["label"])}</div>'
        f'<div class="value">{escape(card["value"])}<small>{escape(card["unit"])}</small></div>'
        f'<div class="note">{escape(card["note"])}</div></div>'
        for card in run["cards"]
    )
    charts = "".join(
        f'<div class="card"><div class="panel-head"><h3>{escape(chart["title"])}</h3><b>{escape(chart["total"])}</b></div>'
        f'<div id="breakdown-{index}"></div></div>'
        for index, chart in enumerate(run["breakdowns"])
    )
    bounds = "".join(
        f"<p><b>{row['share']:.1%}</b> of the latency: {escape(row['name'])}. {escape(_sentence(row['meaning']))}</p>"
        for row in run["bounds"]
    )
    notes = "".join(f"<p>{escape(_sentence(note))}</p>" for note in (*run["notes"], *run["not_modelled"]))
    rows = [
        (row["key"], row["meaning"].rpartition(" [")[0], number(row["value"]), row["unit"], _range(row["range"]))
        for row in run["assumptions"]
    ]
    assumed = f"{len(rows)} numbers without a published source, each with the range that studies sweep"
    return (
        f'<div class="cards">{cards}</div><p></p><div class="grid3">{charts}</div>'
        f'<div class="card" style="margin-top:12px"><h3>What bounds the run</h3>{bounds}</div>'
        f'<div class="notes">{notes}</div><details><summary>{assumed}</summary><div class="card scroll">'
        f"{table(('key', 'meaning', 'value', 'unit', 'range'), rows, numbers=(2,))}</div></details>"
    )


def schedule_section(contents: Contents) -> str:
    """One Gantt chart a policy, a table that compares them."""
    schedule = contents["schedule"]
    shown, whole = schedule["shown_tokens"], schedule["prompt_tokens"]
    part = f"the first {shown} of {whole} tokens" if shown < whole else f"all {whole} tokens"
    lead = (
        f"Groups of {schedule['group_size']} experts share peripherals and take one pass per slot; {part} of the prompt. "
        "A colour is a token; a token is loaded once for all groups that work on it in a slot."
    )
    if not schedule["simulated"]:
        lead += " The reference chip does not simulate schedules: these are what this routing would give."
    panels = "".join(
        f'<div class="card"><div class="panel-head"><span><span class="swatch" style="background:{schedule["policy_colours"][name]}">'
        f'</span><b>{escape(label)}</b></span><span id="gantt-head-{name}"></span></div><div id="gantt-{name}"></div></div>'
        for name, label in schedule["policy_names"].items()
    )
    layers = "".join(f'<option value="{index}">MoE layer {index}</option>' for index in range(len(schedule["layers"])))
    hidden = ' style="display:none"' if len(schedule["layers"]) == 1 else ""
    return (
        f'<p class="lead">{escape(lead)}</p><div class="controls"><label{hidden}>layer <select id="schedule-layer">{layers}</select>'
        '</label><span><button id="schedule-first"></button> <button id="schedule-all">All slots</button></span>'
        f'<span id="schedule-token"></span></div><div class="grid2">{panels}</div>'
        '<div class="card" style="margin-top:12px"><div class="scroll"><table id="schedule-table"></table></div>'
        '<p class="lead" style="margin:8px 0 0" id="schedule-bound"></p></div>'
    )


def cache_section(contents: Contents) -> str:
    """Three charts over generated tokens."""
    cache = contents["cache"]
    lead = (
        f"The run with a prompt of {cache['prompt_tokens']} tokens, {cache['routing'].replace('_', ' ')} routing, prefill "
        "included, by the closed model; one setting of the caches a line."
    )
    if not cache["has_outputs"]:
        lead += " The gate-output cache exists under expert choice only (model.routing)."
    legend = "".join(
        f'<span><span class="swatch" style="background:{series["colour"]}"></span>{escape(series["name"])}</span>'
        for series in cache["series"]
    )
    charts = "".join(
        f'<div class="card"><div id="cache-{name}"></div></div>'
        for name in ("latency_ns", "energy_nj", "resident_bytes")
    )
    return f'<p class="lead">{escape(lead)}</p><div class="controls">{legend}</div><div class="grid3">{charts}</div>'


def sweep_section(contents: Contents) -> str:
    """The Pareto explorer."""
    sweep = contents["sweep"]
    thinned = "" if sweep["shown"] == sweep["on_disk"] else f", {sweep['shown']:,} of them shown (selected ones all)"
    state = "" if sweep["complete"] else " The sweep is not complete: run the same command again."
    lead = (
        f"{sweep['points']:,} points swept, {sweep['on_disk']:,} kept on disk{thinned}.{state} {sweep['description']}"
    )
    pickers = "".join(
        f'<label>{label} <select id="pareto-{key}"></select></label>'
        + (f'<label><input type="checkbox" id="pareto-log-{key}"> log</label>' if key != "colour" else "")
        for key, label in (("x", "x axis"), ("y", "y axis"), ("colour", "colour"))
    )
    return (
        f'<p class="lead">{escape(lead)}</p><div class="controls">{pickers}<span id="pareto-count"></span></div>'
        '<div class="explorer"><div class="card"><div id="pareto"></div></div><div class="pins" id="pins"></div></div>'
    )


def tune_section(contents: Contents) -> str:
    """The path of every start, parameters and measures before and after."""
    tune = contents["tune"]
    lead = (
        f"{len(tune['starts'])} starts descended the relaxed objective; the best were rounded to legal hardware and polished. "
        f"{tune['evaluations']:,} evaluations, a gradient counted as four."
    )
    parts = [f'<p class="lead">{escape(lead)}</p><div class="card"><div id="tune-path"></div></div>']
    if tune["result"] and not tune["result"]["feasible"]:
        parts.append(
            '<div class="notes"><p>No start keeps every limit: the closest chip is shown; loosen a limit or a bound.</p></div>'
        )
    if tune["rows"]:
        titles = {
            "settings": ("Parameters", "parameter"),
            "measures": ("Measures, in the fidelity that was tuned", "measure"),
        }
        tables = "".join(
            f'<div class="card scroll"><h3>{title}</h3>'
            + table((head, "base", "tuned"), [(key, _cell(before), _cell(after)) for key, before, after in tune["rows"][name]], numbers=(1, 2))
            + "</div>"
            for name, (title, head) in titles.items()
        )  # fmt: skip
        parts.append(f'<p></p><div class="grid2">{tables}</div>')
    elif tune["finished"]:
        rows = [(key, _cell(value)) for key, value in tune["finished"][0]["settings"].items()]
        parts.append(
            f'<p></p><div class="card scroll"><h3>Tuned parameters</h3>{table(("parameter", "tuned"), rows, numbers=(1,))}</div>'
        )
    return "".join(parts)


def serving_section(contents: Contents) -> str:
    """Figures of the run, what the server did over time, distributions of times, capacity."""
    serving = contents["serving"]
    figures = serving["figures"]
    offered = figures["offered_per_s"]
    lead = (
        f"{figures['requests']:,} requests, {'all at once' if offered is None else f'{offered:.4g} per second'}; "
        f"{figures['goodput_per_s']:.4g} per second within both limits ({figures['met_slo']:.1%}), dotted where they are drawn. "
        "Energy is that of the steps and of the power between them."
    )
    names = {
        "output_tokens_per_s": "tokens per second", "requests_per_s": "requests per second", "goodput_per_s": "goodput [1/s]",
        "goodput_per_w": "goodput per watt", "goodput_per_mm2": "goodput per mm2", "energy_per_request_nj": "energy a request [nJ]",
        "mean_power_w": "mean power [W]", "busy": "part of the time that a step runs", "mean_running": "running on average",
        "mean_waiting": "waiting on average", "preemptions": "preemptions", "steps": "steps",
    }  # fmt: skip
    rows = [(plain, _cell(figures[key])) for key, plain in names.items() if figures.get(key) is not None]
    over_time = "".join(f'<div class="card"><div id="serving-{line["key"]}"></div></div>' for line in serving["lines"])
    curve = '<div class="card"><div id="serving-slo"></div></div>' if serving["slo"] else ""
    return (
        f'<p class="lead">{escape(lead)}</p><div class="grid2">{over_time}</div><p></p>'
        f'<div class="grid2"><div class="card"><div id="serving-times"></div></div>{curve}'
        f'<div class="card scroll">{table(("", ""), rows, numbers=(1,))}</div></div>'
    )


def provenance_section(contents: Contents) -> str:
    """What made the page, and the whole configuration."""
    rows = table(("", ""), contents["provenance"])
    yaml = contents.get("yaml")
    whole = f"<details><summary>The whole configuration</summary><pre>{escape(yaml)}</pre></details>" if yaml else ""
    return f'<div class="card scroll">{rows}</div>{whole}'


def table(heads: Sequence[str], rows: Iterable[Sequence[str]], numbers: Sequence[int] = ()) -> str:
    """An HTML table; the columns named by `numbers` are right-aligned.

    >>> table(("key",), [("a<b",)])
    '<table><tr><th>key</th></tr><tr><td>a&lt;b</td></tr></table>'
    """

    def line(tag: str, cells: Sequence[str]) -> str:
        inside = "".join(
            f"<{tag}{' class=number' if column in numbers else ''}>{escape(str(cell))}</{tag}>"
            for column, cell in enumerate(cells)
        )
        return f"<tr>{inside}</tr>"

    head = line("th", heads) if any(heads) else ""
    return f"<table>{head}{''.join(line('td', row) for row in rows)}</table>"


def _cell(value: Any) -> str:
    return number(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else str(value)


def _range(bounds: Any) -> str:
    return f"{bounds[0]:g} to {bounds[1]:g}" if bounds else "-"


def _sentence(text: str) -> str:
    text = text[:1].upper() + text[1:]
    return text if text.endswith(".") else text + "."


#: key of the contents, title, what makes its HTML; in the order of the page
SECTIONS: tuple[tuple[str, str, Callable[[Contents], str]], ...] = (
    ("run", "The run", run_section),
    ("sweep", "Pareto explorer", sweep_section),
    ("tune", "Tuning path", tune_section),
    ("serving", "Under load", serving_section),
    ("schedule", "Schedule", schedule_section),
    ("cache", "Caches", cache_section),
    ("provenance", "Provenance", provenance_section),
)
