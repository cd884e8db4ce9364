"""The runs at the best learning rate, by a result that is not reported."""

import math

import pytest

from lazytorch.reports import Chosen, Report, Table, write_report
from lazytorch.reports.choice import with_choices
from lazytorch.reports.reading import read_runs
from lazytorch.reports.sections import sections
from lazytorch.reports.training import ACCURACY

RATES = (0.1, 1.0, 10.0)
SHORT = Report(Table(), Chosen("lr", "validation_accuracy", Table(), ACCURACY))


@pytest.fixture
def tune(train):
    """Writes a run of a learning rate, with its accuracies."""

    def make(alpha, rate, validation, test=0.5, **options):
        results = {"validation_accuracy": validation, "test_accuracy": test}
        return train(alpha, changed={"optimizer.lr": rate}, results=results, **options)

    return make


def chosen(folder):
    """(alpha, seed) -> the rate, in the section of the choice."""
    own, best = with_choices(sections(read_runs([folder])[0]))
    assert best.heading.endswith("by validation accuracy")
    assert "optimizer.lr" not in best.varying and len(own.runs) > len(best.runs)
    return {(run.fields["alpha"], run.seed): run.summary["lr"] for run in best.runs}


def test_rate_is_chosen_by_validation_and_never_by_test_accuracy(tune, tmp_path):
    for alpha, best in ((1.0, 10.0), (math.inf, 0.1)):
        for rate in RATES:
            tune(alpha, rate, validation=0.9 if rate == best else 0.8, test=0.1 if rate == best else 0.9)
    assert chosen(tmp_path) == {(1.0, 0): 10.0, (math.inf, 0): 0.1}


def test_mean_over_seeds_counts_and_diverged_rates_do_not(tune, tmp_path):
    for seed in (0, 1):
        tune(1.0, 0.1, validation=0.7, seed=seed)
        tune(1.0, 1.0, validation=(0.95, 0.3)[seed], seed=seed)
        tune(1.0, 10.0, validation=0.99, seed=seed, status=("finished", "diverged")[seed])
    assert chosen(tmp_path) == {(1.0, 0): 0.1, (1.0, 1): 0.1}


@pytest.mark.parametrize("rates", [(1.0,), RATES], ids=["one rate", "no validation"])
def test_nothing_is_chosen_where_there_is_no_choice(tune, rates, tmp_path):
    for rate in rates:
        tune(1.0, rate, validation=None if len(rates) > 1 else 0.9)
        tune(2.0, rate, validation=None if len(rates) > 1 else 0.9)
    assert len(with_choices(sections(read_runs([tmp_path])[0]))) == 1


def test_report_has_the_choice_in_a_section_of_its_own(tune, tmp_path):
    for alpha in (1.0, 100.0):
        for rate in RATES:
            tune(alpha, rate, validation=0.5 + rate / 100, report=SHORT)
    out = write_report([tmp_path / "runs"], tmp_path / "out")
    text = (out / "report.md").read_text()
    assert text.count("\n## ") == 2 and "best learning rate" in text and "by validation accuracy" in text
    assert (out / "Training-best-lr-accuracy.png").exists()
    assert len((out / "table.csv").read_text().splitlines()) == 1 + 2 * len(RATES)
