"""A chart says what its table says."""

import re
import xml.etree.ElementTree as ElementTree

from vjepa.evaluation.bar_chart import LEFT, RIGHT, WIDTH, Bar, BarRow, Chart, bar_charts

ROWS = [
    BarRow("pretrained", [Bar("kNN", 0.5, 0.4, 0.6), Bar("linear", 0.75, 0.7, 0.8)]),
    BarRow("raw <pixels>", [Bar("kNN", 0.25, 0.2, 0.3)]),
]


def test_bars_are_as_long_as_their_values():
    drawn = ElementTree.fromstring(bar_charts([Chart("5 labels", ROWS, chance=0.1)]))
    bars = [
        float(each.get("width"))
        for each in drawn.iter("{http://www.w3.org/2000/svg}rect")
        if each.get("height") == "12"
    ]
    whole = WIDTH - LEFT - RIGHT
    assert bars == [whole / 2, whole * 0.75, whole / 4]
    texts = [each.text for each in drawn.iter("{http://www.w3.org/2000/svg}text")]
    assert {"5 labels", "pretrained", "raw <pixels>", "kNN", "linear", "50.0", "75.0", "25.0", "chance"} <= set(texts)


def test_charts_are_below_each_other():
    one, two = (bar_charts([Chart("a", ROWS)] * number) for number in (1, 2))
    heights = [int(re.search(r'viewBox="0 0 \d+ (\d+)"', each)[1]) for each in (one, two)]
    assert heights[1] == 2 * heights[0]
