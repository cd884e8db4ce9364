"""What a person sees of a sweep, on a pseudo-terminal of 80 columns, on one that cannot redraw, and in a log."""

import fcntl
import os
import re
import struct
import termios
import threading

import pytest

pty = pytest.importorskip("pty")  # Windows has none

COLUMNS = 80
BAR = re.compile(r"alpha=(\S+) epoch (\d+), train (\S+)%, test (\S+)%: +(\d+)%\|(.*)\| \[(\d\d:\d\d)<(\d\d:\d\d|\?)\]")
ACCURACIES = r"train \d+\.\d%, test \d+\.\d%"


class Terminal:
    """A pseudo-terminal; ``written`` is all that came, its line breaks as they were written."""

    def __init__(self):
        self.written = b""
        self.ours, self.theirs = pty.openpty()
        fcntl.ioctl(self.theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, COLUMNS, 0, 0))
        attributes = termios.tcgetattr(self.theirs)
        attributes[1] &= ~termios.OPOST
        termios.tcsetattr(self.theirs, termios.TCSANOW, attributes)
        self.reader = threading.Thread(target=self._read)
        self.reader.start()

    def _read(self):
        try:
            while chunk := os.read(self.ours, 65536):
                self.written += chunk
        except OSError:  # of Linux, once nobody has the other side open
            pass

    def close(self):
        os.close(self.theirs)
        self.reader.join()
        os.close(self.ours)
        return self.written.decode()


def seen(written):
    """The lines that are left when each part after a carriage return has been written over what was there."""
    assert "\x1b" not in written
    lines = []
    for line in written.split("\n"):
        shown = ""
        for part in line.split("\r"):
            shown = part + shown[len(part) :]
        lines.append(shown.rstrip())
    return lines


@pytest.fixture
def on_terminal(server, folder):
    """on_terminal(*arguments, **environment) -> what lazytorch wrote on a terminal, which ends well."""

    def run(*arguments, **environment):
        terminal = Terminal()
        name = os.ttyname(terminal.theirs)
        environment = {"LAZYTORCH_PROGRESS": "1", "TERM": "xterm"} | environment
        request = {"directory": str(folder), "arguments": list(arguments), "environment": environment}
        code = server(wait=server(**request, kill_at_write=None, out=name, err=name))
        written = terminal.close()
        assert code == 0, written
        return written

    return run


def said(lines):
    return [line for line in lines if line.startswith("lazytorch: [")]


def bars(written):
    """alpha and percent of the bars that are left."""
    return [bar.group(1, 5) for line in seen(written) if (bar := BAR.fullmatch(line))]


def tables(lines):
    """The tables at the end, as lists of rows, and the line behind them."""
    *rest, folder, last = lines
    assert last == "" and folder == "runs/mlp-digits"
    start = next(number for number, line in enumerate(rest) if line.split()[:2] == ["run", "status"])
    return [[line.split() for line in table.split("\n")] for table in "\n".join(rest[start:]).split("\n\n")]


def test_a_sweep_one_after_another(on_terminal, tiny):
    """A bar and a line of each member, and tables, all within the columns; of the table every column is there once."""
    written = on_terminal("-m", *tiny, "alpha=1,1e7")
    lines = seen(written)
    assert all(len(line) <= COLUMNS for line in lines if "plan: " not in line)
    first, second = said(lines)
    assert re.fullmatch(rf"lazytorch: \[1/2, .* left\] alpha=1 finished: {ACCURACIES}, (not lazy|between)", first)
    assert re.fullmatch(rf"lazytorch: \[2/2\] alpha=1e7 finished: {ACCURACIES}, lazy", second)
    assert bars(written) == [("1", "100"), ("1e7", "100")]
    assert written.count("epoch 0, ") >= 2 and "epoch 0, " not in "".join(lines)  # what was redrawn
    found = tables(lines)
    assert len(found) == 2 and all([row[0] for row in table[1:]] == ["alpha=1", "alpha=1e7"] for table in found)
    heads = [name for table in found for name in table[0][1:]]
    assert len(heads) == len({*heads}) and {"status", "test_accuracy", "linearization_error", "seconds"} <= {*heads}


def test_a_sweep_side_by_side_has_one_bar(on_terminal, tiny):
    lines = seen(on_terminal("-m", *tiny, "probes=[]", "sweep.fused=true", "alpha=1,1e7"))
    (bar,) = [bar for line in lines if (bar := BAR.fullmatch(line))]
    assert bar[1] == "1–1e7" and len(bar[0]) <= COLUMNS and len(bar[6]) > 5
    assert ["alpha=1 finished" in line for line in said(lines)] == [True, False]


def test_a_terminal_that_cannot_redraw_gets_lines(on_terminal, tiny):
    written = on_terminal(*tiny, "probes=[]", TERM="dumb")
    assert "\r" not in written and bars(written) == [("1", "0"), ("1", "100")]


def test_a_log_gets_lines(start, tiny):
    code, _, err = start(*tiny, "probes=[]", environment={"LAZYTORCH_PROGRESS": "1"}).wait()
    assert code == 0 and "\r" not in err and "\x1b" not in err and bars(err) == [("1", "0"), ("1", "100")]


@pytest.mark.slow
def test_processes_of_a_launcher_do_not_overwrite_each_others_bars(on_terminal, tiny):
    pytest.importorskip("hydra_plugins.hydra_joblib_launcher")
    launcher = ("hydra/launcher=joblib", "hydra.launcher.n_jobs=2")
    written = on_terminal("-m", *launcher, *tiny, "alpha=1,inf", "epochs=3")
    assert "\r" not in written and len(said(seen(written))) == 2
    assert sorted(bars(written)) == [("1", "0"), ("1", "100"), ("inf", "0"), ("inf", "100")]
