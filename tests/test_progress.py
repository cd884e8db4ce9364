import io
import sys

import pytest

from lazytorch import progress
from lazytorch.progress import bar


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def clock(monkeypatch):
    """The time that bars see, to be set; no thread of tqdm's looks at them meanwhile."""
    import tqdm.std

    now = [1000.0]
    monkeypatch.setattr(tqdm.std, "time", lambda: now[0])
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(tqdm.std.tqdm, "monitor_interval", 0)
    return now


def run(monkeypatch, clock, stream, seconds, **options):
    """What a bar of one step a second writes on ``stream``, renamed at every step."""
    monkeypatch.setattr(sys, "stderr", stream)
    with bar(total=seconds, desc="training", **options) as steps:
        for second in range(seconds):
            clock[0] += 1
            steps.set_description(f"epoch {second}")
            steps.update()
    return stream.getvalue()


def test_a_log_gets_a_line_now_and_then(monkeypatch, clock):
    written = run(monkeypatch, clock, io.StringIO(), 100)
    lines = written.splitlines()
    assert "\r" not in written and written.endswith("\n")
    assert 4 <= len(lines) <= 6 and all(line.startswith(("training", "epoch")) for line in lines)
    assert "0/100" in lines[0] and "100/100" in lines[-1]


def test_a_log_of_a_slow_loop_gets_every_state(monkeypatch, clock):
    monkeypatch.setattr(sys, "stderr", stream := io.StringIO())
    for _ in bar(range(4)):
        clock[0] += 30
    *lines, last = stream.getvalue().splitlines()
    assert [f"{n}/4" in line for n, line in enumerate(lines)] == [True] * 5 and "4/4" in last


def test_a_terminal_is_redrawn(monkeypatch, clock):
    monkeypatch.setenv("TERM", "xterm")
    written = run(monkeypatch, clock, Terminal(), 100)
    assert written.count("\r") > 100 and written.count("\n") == 1
    steps = bar(total=3)
    assert steps.mininterval == 0.2 and steps.dynamic_ncols
    steps.close()


@pytest.mark.parametrize(("name", "value"), (("TERM", "dumb"), ("LAZYTORCH_PROGRESS", "lines")))
def test_a_terminal_that_is_not_to_be_redrawn_gets_lines(monkeypatch, clock, name, value):
    monkeypatch.setenv(name, value)
    written = run(monkeypatch, clock, Terminal(), 100)
    assert "\r" not in written and 4 <= len(written.splitlines()) <= 6


@pytest.mark.parametrize("stream", [io.StringIO, Terminal])
def test_the_switch(monkeypatch, clock, stream):
    monkeypatch.setenv("LAZYTORCH_PROGRESS", "0")
    assert run(monkeypatch, clock, stream(), 100) == ""
    assert run(monkeypatch, clock, stream(), 100, disable=False) == ""
    monkeypatch.setenv("LAZYTORCH_PROGRESS", "1")
    assert run(monkeypatch, clock, stream(), 100) != ""
    assert run(monkeypatch, clock, stream(), 100, disable=True) == ""


def test_a_late_bar_is_made_when_it_is_due(monkeypatch, clock):
    made = []
    monkeypatch.setattr(progress, "bar", lambda **options: made.append(options) or bar(**options))
    monkeypatch.setattr(sys, "stderr", stream := io.StringIO())
    for seconds in (9, 11):
        with progress.LateBar(total=seconds) as late:
            for _ in range(seconds):
                clock[0] += 1
                late.update()
            assert late.n == seconds
    assert made == [{"initial": 10, "total": 11}]  # of the second, after ten seconds
    assert "11/11" in stream.getvalue().splitlines()[-1]


def test_few_items_have_no_bar(capsys):
    assert list(progress.progress(range(10), "numbers")) == list(range(10))
    assert capsys.readouterr().err == ""
