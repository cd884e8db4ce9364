"""Every shipped configuration composes to an experiment, and what the classes declare is what the files hold."""

from dataclasses import dataclass

import pytest
import torch
from hydra import compose as compose_configuration
from hydra import initialize_config_dir

from lazytorch.cli import CONF
from lazytorch.data import load
from lazytorch.experiments import Experiment, Training, key
from lazytorch.experiments.compose import compose
from lazytorch.experiments.fields import default_of, flat, plain
from lazytorch.experiments.problem import build_network, describe
from lazytorch.runs import identity

MODELS = sorted(path.stem for path in (CONF / "model").glob("*.yaml"))
DATA = sorted(path.stem for path in (CONF / "data").glob("*.yaml"))
EXPERIMENTS = sorted(path.stem for path in (CONF / "experiment").glob("*.yaml"))
REQUIRED = {"torchvision": ["model.name=shufflenet_v2_x0_5"], "custom": ["model._target_=torch.nn.Flatten"]}


def configuration(*overrides):
    with initialize_config_dir(str(CONF.resolve()), version_base="1.3"):
        return compose_configuration("config", list(overrides))


def composed(*overrides):
    return compose(configuration(*overrides), "name")


@pytest.mark.parametrize("model", MODELS)
def test_models(model):
    experiment = composed(f"model={model}", *REQUIRED.get(model, []))
    images = describe(load("digits", size=experiment.image_size)[0])
    first, again = (build_network(experiment.model, images, 3).state_dict() for _ in range(2))
    torch.testing.assert_close(first, again, rtol=0, atol=0)  # the seed decides the weights


@pytest.mark.parametrize("data", DATA)
def test_data(data):
    experiment = composed(f"data={data}", "data.root=somewhere")
    assert experiment.data.name == data and experiment.data.root == "somewhere"


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_experiments_are_valid_and_have_all_their_keys(experiment):
    overrides = (f"experiment={experiment}", "data.root=somewhere")
    made = composed(*overrides)
    made.check()
    keys = {name.split(".")[0] for name, _, _ in flat(made)}
    assert {str(name) for name in configuration(*overrides)} - {"_target_"} == keys


def test_the_default_configuration_is_the_classs():
    made = composed()
    assert isinstance(made, Training)
    for name, value, field in flat(made):
        if name not in ("name", "model"):
            assert plain(value) == plain(default_of(field)), name


def test_figure3a_has_the_papers_settings():
    made = composed("experiment=figure3a", "data.root=somewhere")
    assert made.model["width"] == made.model["gain"] == 1.0
    assert (made.epochs, made.batch_size, made.seed, made.loss) == (70, 128, 58, "mse")
    assert (made.optimizer.lr, made.optimizer.momentum, made.schedule.beta) == (1.0, 0.9, 1 / 3)
    assert made.data.mean == [0.4914, 0.4822, 0.4465] and made.data.augment == "crop_flip"


def hash_of(experiment):
    return identity("name", experiment.changed())


def test_a_new_field_with_a_default_leaves_the_identity_alone():
    @dataclass(frozen=True)
    class Before(Experiment):
        steps: int = key(3, "steps")

    @dataclass(frozen=True)
    class After(Before):
        momentum: float = key(0.9, "new")

    assert hash_of(Before(steps=5)) == hash_of(After(steps=5))
    assert hash_of(After(steps=5)) != hash_of(After(steps=5, momentum=0.8))
    assert hash_of(Before(steps=5)) != hash_of(Before(steps=6))


@pytest.mark.parametrize(
    ("override", "counts"),
    [
        ("epochs=3", False),
        ("device=cpu", False),
        ("runs_dir=elsewhere", False),
        ("name=other", False),
        ("resume=false", False),
        ("data.root=elsewhere", False),
        ("sweep.fused=true", False),
        ("+model.gain=1.0", False),  # as the network has it without
        ("model.width=0.25", True),
        ("alpha=10", True),
        ("seed=1", True),
        ("probes=[ntk]", True),
        ("optimizer.momentum=0.5", True),
        ("data.train_size=100", True),
    ],
)
def test_what_counts_in_the_identity(override, counts):
    override = override.lstrip("+") if "gain" in override else override
    assert (hash_of(composed(override)) != hash_of(composed())) is counts
