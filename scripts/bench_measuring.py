#!/usr/bin/env python3
"""What measuring costs: scripts/bench_measuring.py [hydra overrides].

Trains the sweep of ``experiment=quickstart`` in a temporary folder and prints the shares of its wall time, from the
first reading of data to the last summary: training steps, evaluations, each probe, checkpoints, and the rest (reading,
tracing, TensorBoard). On a CPU, where work is done when a call returns.
"""

import functools
import sys
import tempfile
import time
from collections import Counter
from contextlib import suppress

import lazytorch.training.loop as loop
from lazytorch import cli
from lazytorch.training.loop import Loop
from lazytorch.training.sinks import RunSink

GOAL = 0.20


class Stopwatch:
    """Seconds by name; what is timed inside something else counts there alone."""

    def __init__(self):
        self.seconds: Counter = Counter()
        self.inner = [0.0]

    def timed(self, function, name):
        """``function``, whose calls are timed under ``name``, a string or a function of its arguments."""

        @functools.wraps(function)
        def call(*args, **kwargs):
            started = time.perf_counter()
            self.inner.append(0.0)
            try:
                return function(*args, **kwargs)
            finally:
                elapsed = time.perf_counter() - started
                inside = self.inner.pop()
                self.seconds[name(*args) if callable(name) else name] += elapsed - inside
                self.inner[-1] += elapsed

        return call


def main() -> None:
    watch = Stopwatch()
    loop.evaluate = watch.timed(loop.evaluate, "evaluations")
    loop.measured = watch.timed(loop.measured, lambda probe, *_: f"probe {loop.name_of(probe)}")
    Loop._epoch = watch.timed(Loop._epoch, "training steps")
    Loop._measure = watch.timed(Loop._measure, "rest of measuring")
    RunSink.save = watch.timed(RunSink.save, "checkpoints")
    with tempfile.TemporaryDirectory() as folder:
        sys.argv[1:] = ["experiment=quickstart", f"runs_dir={folder}", *sys.argv[1:]]
        started = time.perf_counter()
        with suppress(SystemExit):
            cli.main()
        total = time.perf_counter() - started
    measuring = sum(s for name, s in watch.seconds.items() if name not in ("training steps", "checkpoints"))
    print(f"\nall in all {total:.1f} s, of which")
    rest = {"reading, tracing and the rest": total - sum(watch.seconds.values())}
    for name, seconds in sorted((watch.seconds | rest).items(), key=lambda item: -item[1]):
        print(f"  {seconds / total:6.1%}  {seconds:7.2f} s  {name}")
    print(f"evaluations and probes together: {measuring / total:.1%} (goal: at most {GOAL:.0%})")


if __name__ == "__main__":
    main()
