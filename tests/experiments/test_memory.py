"""What the members of a sweep hold in common."""

from lazytorch.experiments import Data, Training, perform
from lazytorch.experiments.perform import directory_of
from lazytorch.experiments.run import Run


def members(folder, *alphas):
    """Prepared to be run together."""
    model = {"_target_": "lazytorch.models.mlp", "width": 8, "depth": 1}
    fields = {"model": model, "epochs": 2, "probes": ("displacement", "ntk"), "data": Data(train_size=50, test_size=20)}
    experiments = [Training(str(folder), alpha=alpha, probe_size=4, **fields) for alpha in alphas]
    problem = experiments[0].problem()
    runs = [Run(directory_of(experiment), problem) for experiment in experiments]
    for experiment, run in zip(experiments, runs, strict=True):
        run.directory.create(experiment.config(), {}, {}, {})
        run.prepared = experiment.prepare(run)
    return list(zip(experiments, runs, strict=True))


def test_w_0_is_in_memory_once_whatever_is_trained_from_it(tmp_path):
    together = members(tmp_path, 1.0, 100.0, 1e7)
    problem = together[0][1].problem
    before = {name: p.detach().clone() for name, p in problem.net.named_parameters()}
    Training.run_together(together)
    for _, run in together:
        model = run.prepared.model
        assert model.theta_norm() > 0
        for name, start in model.initial_weights().items():
            assert start.data_ptr() == problem.net.get_parameter(name).data_ptr() and start.equal(before[name])


def test_what_is_held_in_common_is_trained_as_alone(tmp_path):
    together = members(tmp_path / "together", 1.0, 1e7)
    summaries = Training.run_together(together)
    for (experiment, _), summary in zip(together, summaries, strict=True):
        alone = perform(Training(**{**vars(experiment), "runs_dir": str(tmp_path / "alone")})).summary
        assert {**summary, "seconds": 0} == {**alone, "seconds": 0}
