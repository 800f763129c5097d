"""Progress in a log file: what is counted, then a line per quarter."""

from vjepa.data.progress import report_progress


def test_percents_read_as_percents(capsys):
    list(report_progress([30, 70], 100, "features of 14 videos", size_of=int, percent=True))
    assert capsys.readouterr().out == "features of 14 videos\n30 % after 0 s\n100 % after 0 s\n"


def test_things_are_counted(capsys):
    list(report_progress("ab", 2, "files"))
    assert capsys.readouterr().out == "files: 2\n1 of 2 after 0 s\n2 of 2 after 0 s\n"
