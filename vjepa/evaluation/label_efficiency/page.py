"""The page of label efficiency, in Markdown."""

import datetime
from pathlib import Path

import torch

from vjepa.evaluation.label_efficiency.label_efficiency import SUPERVISED, LabelEfficiency
from vjepa.evaluation.results import spread
from vjepa.processors import count_processors


def page(
    result: LabelEfficiency,
    headline: int,  # number of the amount of labels
    command: str,
    recipe: Path,
    steps: int,
    picture: Path,  # relative to the page
) -> str:
    """The number, the picture, the table, and how they were made."""
    best, amount = result.pretrained[-1], round(result.labels[headline])
    return f"""# Labels saved by pretraining

**With {amount} labels of each class, the encoder that was {best.name} is as accurate as the better way \
without pretraining with {result.saved(best, headline).words} as many (smallest and largest of the seeds in brackets).**

![accuracy by labelled clips, a curve for each number of unlabelled clips]({picture})

Accuracy in % on test clips, mean ± standard deviation over seeds ({", ".join(map(str, result.seeds))}); chance is \
{100 * result.chance:.1f}.

{accuracies(result)}

How many times more labels it takes for the same accuracy without pretraining, by labels alone or by probes on random \
weights, whichever is better on validation clips (smallest and largest of the seeds):

{factors(result)}

* Written by `{command}` on {datetime.date.today()}, {count_processors()} processors, torch {torch.__version__}.
* Pretraining: `{recipe}`, {steps} steps whatever the number of clips, which are a random subset of its training \
clips, without labels; weights, clips and labels are drawn anew by each seed.
* Probes: kNN and heads on the frozen encoder; the best on validation clips is scored once on test clips. Random \
weights have the same probes.
* {SUPERVISED.capitalize()}: the same encoder and an attentive head, both trained from random weights with the same \
labels; learning rates are chosen on validation clips.
* Labels are interpolated linearly in their logarithm, seed by seed, and averaged by the geometric mean. "More than": \
with all labels the accuracy is not reached without pretraining. "Less than": it is with the fewest.
"""


def accuracies(result: LabelEfficiency) -> str:
    """A row for each curve, a column for each amount of labels; the best mean of each is bold."""
    lines = [_heading("accuracy, %", result)]
    columns = range(len(result.amounts))
    best = {number: max(sum(curve.at(number)) for curve in result.curves) for number in columns}
    for curve in result.curves:
        cells = []
        for number in columns:
            text = spread([100 * value for value in curve.at(number)])
            cells.append(f"**{text}**" if sum(curve.at(number)) == best[number] else text)
        lines.append(f"| {curve.name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def factors(result: LabelEfficiency) -> str:
    """A row for each number of unlabelled clips, a column for each amount of labels."""
    lines = [_heading("labels saved", result)]
    for curve in result.pretrained:
        cells = [result.saved(curve, number).words for number in range(len(result.amounts))]
        lines.append(f"| {curve.name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _heading(title: str, result: LabelEfficiency) -> str:
    columns = [f"{round(count)} labels per class" for count in result.labels]
    return f"| {title} | {' | '.join(columns)} |\n|{'---|' * (len(columns) + 1)}"
