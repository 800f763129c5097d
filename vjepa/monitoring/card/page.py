"""The card of one run, or of several side by side: an HTML page that needs no network, no other file and no script."""

import csv
from collections.abc import Callable, Mapping, Sequence
from html import escape
from pathlib import Path

import numpy as np
import yaml

import vjepa
from vjepa.evaluation.bar_chart import COLOURS, Chart, bar_charts
from vjepa.monitoring.card.curve_panels import Band, Line, panel
from vjepa.monitoring.card.media import Medium, logged_pictures, written_media
from vjepa.monitoring.card.origin import fingerprint
from vjepa.monitoring.card.result_tables import ResultTable, result_tables
from vjepa.monitoring.card.run import Run
from vjepa.monitoring.health.collapse_watch import WATCHED

LOSSES = ("train/loss", "val/loss")
# What a quantity is, by the end of its name; docs/loss-curves.md and docs/world-models.md say more.
MEANINGS = {
    **{f"health/{name}": words for name, words in WATCHED.items()},
    "health/predicted_rank": "the effective rank of predicted tokens",
    "health/loss_over_variance": "the loss over the variance of targets; healthy: about 1, flat",
    "health/loss_over_mean_token": "below 1: better than the mean token of other clips",
    "health/loss_over_nearest_visible": "below 1: better than a copy of the nearest visible token",
    "health/loss_over_previous_frame": "below 1: better than a copy of the token one step earlier",
    "health/outside_bands": "fraction of curves outside the bands of healthy runs",
    "health/gradient_norm": "L2 norm of the gradient before clipping",
    "health/std": "the std of latents",
    "health/rank": "the effective rank of latents, centred",
    "health/error_over_change": "error of an imagined step over the true change; 1: as if nothing moved",
    "health/error_over_change_last": "the same at the end of a window",
    "health/action_sensitivity": "error with other actions over that with the true ones; 1: actions do not matter",
    "health/inverse_error": "error of actions read from latents over their variance; 1: not there",
    "health/state_error": "mean distance between states and their linear read-out from latents",
    "health/straightness": "cosine of successive changes of latents",
    "speed/clips_per_second": "clips per second",
    "speed/data_wait": "fraction of the time spent waiting for data",
}
PICTURES = {
    "mask": "below each clip: what the context encoder sees; grey is hidden, to be predicted; dark is neither",
    "features": "below each clip: its tokens, coloured by their first three principal components",
    "error": "the predictor's loss on hidden tokens: blue none, white half, red the largest of the picture",
    "neighbours": "a clip (first and middle frame), then the three clips whose embeddings are nearest",
    "imagined": "real frames, and below what the world model imagines, as the nearest real frame of other episodes",
}
EVALUATIONS = {
    "probe": "Probes",
    "finetune": "Fine-tuning",
    "anticipation": "Anticipation",
    "surprise": "Surprise",
    "segment": "Objects in features",
    "plan": "Planning",
}
STYLE = """
body{font:15px/1.5 system-ui,-apple-system,"Segoe UI",sans-serif;color:#222;background:#f5f6f8;margin:0}
main{max-width:1180px;margin:0 auto;padding:0 20px 60px}
header{background:#fff;border-bottom:1px solid #ddd;padding:18px 0;margin-bottom:20px}
header>div{max-width:1180px;margin:0 auto;padding:0 20px}
h1{font-size:24px;margin:0 0 4px}h2{font-size:19px;margin:0 0 10px}h3{font-size:15px;margin:18px 0 6px}
nav a{margin-right:14px;color:#1f6fb4;text-decoration:none}
section{background:#fff;border:1px solid #e1e3e6;border-radius:8px;padding:16px 20px;margin-bottom:18px}
table{border-collapse:collapse;font-variant-numeric:tabular-nums}
th,td{padding:3px 14px 3px 0;text-align:left;vertical-align:top;border-bottom:1px solid #eee}
td.n,th.n{text-align:right}tr.differs td{background:#fff6dd}
code,td.v{font-family:ui-monospace,monospace;font-size:12.5px;overflow-wrap:anywhere}
figure{margin:0}figcaption{font-size:12.5px;color:#555}figcaption b{color:#222}.last{float:right;color:#222}
.panels{display:grid;grid-template-columns:repeat(auto-fill,minmax(300px,1fr));gap:16px 22px}
.media{display:flex;flex-wrap:wrap;gap:14px;align-items:flex-start}.media figure{max-width:100%}
.media img,.media video{max-width:100%;display:block;border:1px solid #ddd;background:#fff}
.media video{max-height:520px}.wide{overflow-x:auto}svg{width:100%;height:auto;display:block}.bars svg{max-width:760px}
svg text{font-size:10.5px;fill:#666}.grid{stroke:#e7e7e7}.band{fill:#bfe3c8;opacity:.75}
.median{fill:none;stroke:#4b9c62;stroke-width:1;stroke-dasharray:2 2}
.badge{border-radius:12px;padding:1px 10px;font-weight:600}.good{background:#d8f0de;color:#17642c}
.bad{background:#fbdcd5;color:#8e2413}.none{color:#777}.key{margin-right:16px;white-space:nowrap}
.key i{display:inline-block;width:12px;height:12px;border-radius:2px;margin-right:5px;vertical-align:-1px}
details{margin-top:12px}summary{cursor:pointer;color:#1f6fb4}pre{font-size:12px;overflow-x:auto}
"""
# Nothing is fetched and nothing is run, whatever a file of a run holds.
POLICY = "default-src 'none'; img-src data:; media-src data:; style-src 'unsafe-inline'"


def run_card(runs: Sequence[Run], changed: Callable[[Mapping[str, object]], Mapping[str, str]]) -> str:
    """The text of the page.

    Args:
        runs: one or several, side by side.
        changed: settings of a run -> those that differ from the defaults, by dotted key.
    """
    names = ", ".join(run.title for run in runs)
    tables = [result_tables(run.folder) for run in runs]
    sections = {
        "Overview": _overview(runs, tables),
        "Curves": _curves(runs),
        **_evaluations(runs, tables),
        "Pictures": _pictures(runs),
        "Settings": _settings(runs, changed),
        "Data": _data(runs),
        "Origin": _origin(runs),
    }
    shown = {title: content for title, content in sections.items() if content}
    links = "".join(f'<a href="#{_anchor(title)}">{escape(title)}</a>' for title in shown)
    body = "".join(
        f'<section id="{_anchor(title)}"><h2>{escape(title)}</h2>{text}</section>' for title, text in shown.items()
    )
    return (
        f'<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"><title>{escape(names)}</title>'
        f'<meta name="viewport" content="width=device-width,initial-scale=1">'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">'
        f'<link rel="icon" href="data:,"><style>{STYLE}</style></head>'
        f"<body><header><div><h1>{escape(names)}</h1><nav>{links}</nav></div></header><main>{body}"
        f'<p class="none">Run card of vjepa {escape(vjepa.__version__)}: all of it is in this file.</p>'
        f"</main></body></html>\n"
    )


def _overview(runs: Sequence[Run], tables: Sequence[Sequence[ResultTable]]) -> str:
    """A row for each fact, a column for each run."""
    rows: dict[str, list[str]] = {}
    for number, run in enumerate(runs):
        facts = {"model": escape(run.kind), "health": _badge(run.verdict), "steps": _steps(run)}
        for name in LOSSES:
            if curve := run.curves.get(name):
                facts[name] = f"{curve[min(curve)]:.4g} → {curve[max(curve)]:.4g}"
        if curve := run.curves.get("speed/clips_per_second"):
            facts["speed"] = f"{np.median(list(curve.values())):.3g} clips per second (median)"
        for table in tables[number]:
            if said := table.headline:
                facts[f"{table.evaluation}: {table.title}"] = escape(said)
        facts["started"] = escape(str(run.starts[0]["started"])) if run.starts else "not recorded"
        checkpoint = run.folder / "checkpoints" / "last.ckpt"
        facts["checkpoint"] = "none"
        if checkpoint.exists():
            facts["checkpoint"] = f"<code>{escape(str(checkpoint))}</code>, {checkpoint.stat().st_size / 1e6:.1f} MB"
        for name, fact in facts.items():
            rows.setdefault(name, [""] * len(runs))[number] = fact
    return _run_table(runs, rows)


def _curves(runs: Sequence[Run]) -> str:
    names = list(dict.fromkeys(name for run in runs for name in run.curves))
    if not names:
        return '<p class="none">The run has logged no curves.</p>'
    judged = [name for name in names if name.startswith("health/") and name in MEANINGS]
    rest = [
        name for name in names if name not in judged and name not in LOSSES and name not in ("epoch", "health/verdict")
    ]
    loss = [
        Line(f"{run.title}, {name}", run.curves[name], _colour(number), dashed=name.startswith("val"))
        for number, run in enumerate(runs)
        for name in LOSSES
        if name in run.curves
    ]
    first = (
        [panel("loss", "training (line) and validation (dashes)", loss, _steps_of(runs), _band(runs, "train/loss"))]
        if loss
        else []
    )
    main = "".join(first + [_panel(runs, name) for name in judged])
    others = "".join(_panel(runs, name) for name in rest)
    more = (
        f'<details><summary>{len(rest)} more curves</summary><div class="panels">{others}</div></details>'
        if rest
        else ""
    )
    banded = next((run for run in runs if run.bands is not None), None)
    note = ""
    if banded is not None and banded.bands is not None:
        count = banded.bands.num_runs
        note = f'<p class="none">Green: 10 to 90 % and median of {count} healthy runs of the recipe.</p>'
    return f'{_keys(runs)}{note}<div class="panels">{main}</div>{more}'


def _panel(runs: Sequence[Run], name: str) -> str:
    lines = [Line(run.title, run.curves[name], _colour(k)) for k, run in enumerate(runs) if name in run.curves]
    return panel(name.removeprefix("health/"), MEANINGS.get(name, ""), lines, _steps_of(runs), _band(runs, name))


def _band(runs: Sequence[Run], name: str) -> Band | None:
    """That of the first run which has one, over the steps of that run."""
    for run in runs:
        if run.bands is not None and name in run.bands.bands:
            band = run.bands.bands[name]
            steps = np.array(run.bands.places) * (run.max_steps or run.last_step)
            return Band(steps, *(np.array(part) for part in (band.median, band.low, band.high)))
    return None


def _evaluations(runs: Sequence[Run], tables: Sequence[Sequence[ResultTable]]) -> dict[str, str]:
    """A section for each kind of evaluation that any of the runs has."""
    sections: dict[str, str] = {}
    for run, of_run in zip(runs, tables, strict=True):
        name = f"<h3>{escape(run.title)}</h3>" if len(runs) > 1 else ""
        found: dict[str, list[ResultTable]] = {}
        for table in of_run:
            found.setdefault(table.evaluation, []).append(table)
        for evaluation, of_evaluation in found.items():
            title = EVALUATIONS[evaluation]
            sections[title] = sections.get(title, "") + name + "".join(map(_result_table, of_evaluation))
    return sections


def _result_table(table: ResultTable) -> str:
    head = "".join(f'<th class="n">{escape(column)}</th>' for column in table.columns)
    rows = "".join(
        f"<tr><td>{escape(name)}</td>{''.join(f'<td class=n>{escape(cell)}</td>' for cell in cells)}</tr>"
        for name, cells in table.rows
    )
    chart = f'<div class="bars">{bar_charts([Chart("", table.bars, table.chance)])}</div>' if table.bars else ""
    note = f'<p class="none">{escape(table.note)}</p>' if table.note else ""
    if not table.rows:
        return f"<h3>{escape(table.title)}</h3>{note}"
    return (
        f'<h3>{escape(table.title)}</h3><div class="wide"><table><tr><th></th>{head}</tr>{rows}</table></div>'
        f"{note}{chart}"
    )


def _pictures(runs: Sequence[Run]) -> str:
    """What each run logged, by name; then what evaluations wrote."""
    logged = [logged_pictures(run.folder) for run in runs]
    parts = []
    for name in dict.fromkeys(name for pictures in logged for name in pictures):
        meaning = next((words for start, words in PICTURES.items() if name.startswith(start)), "")
        figures = "".join(
            _figure(picture, f"{run.title}, {picture.caption}" if len(runs) > 1 else picture.caption)
            for run, pictures in zip(runs, logged, strict=True)
            for picture in pictures.get(name, [])[-1 if name.startswith("mask") else 0 :]  # masks do not develop
        )
        parts.append(f'<h3>{escape(name)}</h3><p class="none">{escape(meaning)}</p><div class="media">{figures}</div>')
    for run in runs:
        media, left_out = written_media(run.folder)
        if media:
            figures = "".join(_figure(each, each.name) for each in media)
            title = f"of evaluations, {run.title}" if len(runs) > 1 else "of evaluations"
            parts.append(f'<h3>{escape(title)}</h3><div class="media">{figures}</div>')
        if left_out:
            parts.append(f'<p class="none">Left out, too large or too many: {escape(", ".join(left_out))}</p>')
    return "".join(parts)


def _figure(medium: Medium, caption: str) -> str:
    shown = (
        f'<video src="{medium.uri}" controls loop muted autoplay playsinline></video>'
        if medium.is_film
        else f'<img src="{medium.uri}" alt="{escape(medium.name)}">'
    )
    return f"<figure>{shown}<figcaption>{escape(caption)}</figcaption></figure>"


def _settings(runs: Sequence[Run], changed: Callable[[Mapping[str, object]], Mapping[str, str]]) -> str:
    found = [changed(run.settings) for run in runs]
    keys = dict.fromkeys(key for settings in found for key in settings)
    rows = {key: [escape(settings.get(key, "default")) for settings in found] for key in keys}
    whole = "".join(
        f"<details><summary>All settings of {escape(run.title)}</summary>"
        f"<pre>{escape(yaml.safe_dump(run.settings, sort_keys=False))}</pre></details>"
        for run in runs
    )
    marked = " Where runs differ, a row is marked." if len(runs) > 1 else ""
    return f'<p class="none">Values that are not defaults.{marked}</p>{_run_table(runs, rows, "v")}{whole}'


def _data(runs: Sequence[Run]) -> str:
    """Each source with its hash, then and now, and the files that could not be read."""
    rows: dict[str, list[str]] = {}
    for number, run in enumerate(runs):
        sources = run.starts[-1]["data"] if run.starts else []
        facts = {source["name"]: _source(source) for source in sources}
        if not sources:
            facts["data"] = "not recorded: the run is of an earlier version; paths are among its settings"
        facts["unreadable"] = _unreadable(run.folder / "quarantine.csv")
        for name, fact in facts.items():
            rows.setdefault(name, [""] * len(runs))[number] = fact
    return _run_table(runs, rows)


def _source(source: Mapping[str, str | None]) -> str:
    then, path = source["sha256"], str(source["path"])
    text = f"<code>{escape(path)}</code>"
    if then is None:
        return f"{text}, no hash (remote or missing)"
    now = fingerprint(path)
    state = "not here now" if now is None else "unchanged since" if now == then else "<b>changed since</b>"
    return f"{text}<br>SHA-256 <code>{escape(then)}</code>, {state}"


def _unreadable(file: Path) -> str:
    if not file.exists():
        return "no files"
    with file.open(newline="", encoding="utf-8", errors="replace") as lines:
        return f"{sum(1 for _ in csv.DictReader(lines))} files, replaced by others: <code>{escape(str(file))}</code>"


def _origin(runs: Sequence[Run]) -> str:
    rows: dict[str, list[str]] = {}
    for number, run in enumerate(runs):
        facts = {"folder": f"<code>{escape(str(run.folder))}</code>"}
        for count, start in enumerate(run.starts):
            title = "command" if count == 0 else f"resumed {start['started']}"
            facts[title] = f"<code>{escape(start['command'])}</code>"
        if run.starts:
            last = run.starts[-1]
            facts["commit"] = escape(last["commit"] or "none: installed as a package")
            packages = ", ".join(f"{name} {version}" for name, version in last["packages"].items())
            facts["versions"] = escape(f"vjepa {last['vjepa']}, Python {last['python']}, {packages}")
            facts["device"] = escape(last["device"])
        else:
            facts["commit"] = "not recorded: the run is of an earlier version"
        for name, fact in facts.items():
            rows.setdefault(name, [""] * len(runs))[number] = fact
    return _run_table(runs, rows)


def _run_table(runs: Sequence[Run], rows: Mapping[str, Sequence[str]], kind: str = "") -> str:
    """A row for each name, a column of HTML cells for each run; rows in which runs differ are marked."""
    head = ""
    if len(runs) > 1:
        head = "<tr><th></th>" + "".join(f"<th>{_key(run, k)}</th>" for k, run in enumerate(runs)) + "</tr>"
    body = "".join(
        f"<tr{' class=differs' if kind and len(set(cells)) > 1 else ''}><td>{escape(name)}</td>"
        f"{''.join(f'<td class={kind or chr(34) * 2}>{cell}</td>' for cell in cells)}</tr>"
        for name, cells in rows.items()
    )
    return f'<div class="wide"><table>{head}{body}</table></div>'


def _steps_of(runs: Sequence[Run]) -> int:
    return max(run.last_step for run in runs)


def _steps(run: Run) -> str:
    of = f" of {run.max_steps:,}" if run.max_steps else ""
    return f"{run.last_step:,}{of}"


def _badge(words: str | None) -> str:
    if words is None:
        return '<span class="none">no verdict: too few readings</span>'
    return f'<span class="badge {"good" if words == "healthy" else "bad"}">{escape(words)}</span>'


def _keys(runs: Sequence[Run]) -> str:
    return f"<p>{''.join(_key(run, number) for number, run in enumerate(runs))}</p>" if len(runs) > 1 else ""


def _key(run: Run, number: int) -> str:
    return f'<span class="key"><i style="background:{_colour(number)}"></i>{escape(run.title)}</span>'


def _colour(number: int) -> str:
    return COLOURS[number % len(COLOURS)]


def _anchor(title: str) -> str:
    return title.lower().replace(" ", "-")
