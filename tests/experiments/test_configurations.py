"""Every shipped configuration is its class, composes, and builds what it names."""

import pytest
import torch
from hydra import compose as compose_configuration
from hydra import initialize_config_dir
from omegaconf import OmegaConf

from lazytorch.cli import CONF
from lazytorch.data import load
from lazytorch.experiments.compose import compose, find_experiment, keys_of
from lazytorch.experiments.fields import flat, nested, plain
from lazytorch.experiments.problem import Data, build_network, describe
from lazytorch.experiments.training import Training

MODELS = sorted(path.stem for path in (CONF / "model").glob("*.yaml"))
DATA = sorted(path.stem for path in (CONF / "data").glob("*.yaml"))
EXPERIMENTS = sorted(path.stem for path in (CONF / "experiment").glob("*.yaml"))
REQUIRED = {"torchvision": ["model.name=shufflenet_v2_x0_5"], "custom": ["model._target_=torch.nn.Flatten"]}
REQUIRED |= {"vgg11_wide": ["+scale=smoke"], "resnet18_wide": ["+scale=smoke"]}  # the paper's take gigabytes
OF_BOTH = ("model", "data", "precision")  # which an experiment's file chooses


def composed(*overrides):
    with initialize_config_dir(str(CONF.resolve()), version_base="1.3"):
        return compose_configuration("config", list(overrides))


def dotted(values, prefix=""):
    """Dotted name -> value; a model is one value, whose keys are its own."""
    for name, value in values.items():
        if isinstance(value, dict) and prefix + name != "model":
            yield from dotted(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_the_keys_of_an_experiment_are_the_fields_of_its_class(name):
    root = ["data.root=somewhere"] if "data" in composed(f"experiment={name}") else []
    values = OmegaConf.to_container(composed(f"experiment={name}", *root), resolve=True)
    kind = find_experiment(values.pop("_target_"))
    without = {"scale"} - values.keys()  # of experiments that have none
    assert sorted(key for key, _ in dotted(values)) == sorted(set(keys_of(kind)) - without)
    compose(composed(f"experiment={name}", *root), name).check()


@pytest.mark.parametrize("name", ("training", "linear_dynamics", "kernel_spectrum"))
def test_the_values_are_the_defaults_of_the_class(name):
    experiment = compose(composed(f"experiment={name}"), name)
    usual = {key: plain(value) for key, value, _ in flat(type(experiment)())}
    differing = {key for key, value, _ in flat(experiment) if plain(value) != usual[key] and key != "name"}
    chosen = {key for key in differing if key.partition(".")[0] in ("model", "data")}
    assert differing == chosen and (name != "training" or chosen == {"model"})


@pytest.mark.parametrize("name", DATA)
def test_data(name):
    values = OmegaConf.to_container(composed(f"data={name}", "data.root=somewhere"))["data"]
    assert list(values) == list(nested(Data())) and values["name"] == name
    assert compose(composed(f"data={name}", "data.root=somewhere"), "x").data.name == name
    assert name != "digits" or values == nested(Data()) | {"root": "somewhere"}


@pytest.mark.parametrize("name", MODELS)
def test_models(name):
    experiment = compose(composed(f"model={name}", *REQUIRED.get(name, [])), "x")
    train, _ = load("digits", size=experiment.image_size)
    net = build_network(experiment.model, describe(train), seed=0)
    assert isinstance(net, torch.nn.Module)
    again = build_network(experiment.model, describe(train), seed=0)
    torch.testing.assert_close(dict(net.state_dict()), dict(again.state_dict()), rtol=0, atol=0)  # the seed decides
    if name != "custom":
        assert net.eval()(torch.zeros(2, *train.images.shape[1:])).shape == (2, 10)


def test_every_key_of_a_shipped_model_is_one_of_its_builder_and_says_what_it_means():
    for name in MODELS:
        text = (CONF / "model" / f"{name}.yaml").read_text()
        lines = [line for line in text.splitlines() if line and not line.startswith(("#", " ", "defaults"))]
        inherits = "defaults:" in text
        assert lines and (inherits or all("# " in line for line in lines)), name


def test_a_models_hint_is_the_learning_rate_unless_it_is_given():
    assert composed("model=mlp").optimizer.lr == 0.1 and composed("model=vgg11").optimizer.lr == 1.0
    assert composed("model=mlp", "optimizer.lr=3").optimizer.lr == 3


def test_figure3a_has_the_papers_settings():
    experiment = compose(composed("experiment=figure3a", "data.root=somewhere"), "figure3a")
    assert isinstance(experiment, Training) and experiment.fused
    assert experiment.model | {"width": 1.0, "gain": 1.0} == experiment.model
    assert (experiment.epochs, experiment.batch_size, experiment.seed, experiment.loss) == (70, 128, 58, "mse")
    assert nested(experiment.optimizer) == {"lr": 1.0, "momentum": 0.9}
    assert experiment.data.mean == [0.4914, 0.4822, 0.4465] and experiment.data.augment == "crop_flip"
