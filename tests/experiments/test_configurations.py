"""Every shipped configuration composes, and builds what it names."""

import pytest
import torch
from hydra import compose, initialize_config_dir
from lazytorch.experiments.build import build_network, describe
from omegaconf import OmegaConf

from lazytorch.cli import CONF
from lazytorch.data import load
from lazytorch.runs import identity

MODELS = sorted(path.stem for path in (CONF / "model").glob("*.yaml"))
DATA = sorted(path.stem for path in (CONF / "data").glob("*.yaml"))
EXPERIMENTS = sorted(path.stem for path in (CONF / "experiment").glob("*.yaml"))
REQUIRED = {"torchvision": ["model.name=shufflenet_v2_x0_5"], "custom": ["model._target_=torch.nn.Flatten"]}


def composed(*overrides):
    with initialize_config_dir(str(CONF.resolve()), version_base="1.3"):
        return OmegaConf.to_container(compose("config", list(overrides)), resolve=True)


@pytest.mark.parametrize("model", MODELS)
def test_models(model):
    config = composed(f"model={model}", *REQUIRED.get(model, []))
    train, _ = load("digits", size=config["model"].get("image_size"))
    net = build_network(config, describe(train))
    assert isinstance(net, torch.nn.Module)
    first, again = net.state_dict(), build_network(config, describe(train)).state_dict()
    torch.testing.assert_close(first, again, rtol=0, atol=0)  # the seed decides the weights


@pytest.mark.parametrize("data", DATA)
def test_data(data):
    config = composed(f"data={data}", "data.root=somewhere")
    keys = {"name", "root", "train_size", "test_size", "augment", "mean", "std", "size"}
    assert set(config["data"]) == keys and config["data"]["name"] == data


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_experiments(experiment):
    config = composed(f"experiment={experiment}", "data.root=somewhere")
    assert len(identity(config)) == 12


def test_figure3a_has_the_papers_settings():
    config = composed("experiment=figure3a", "data.root=somewhere")
    assert config["model"] | {"width": 1.0, "gain": 1.0} == config["model"]
    assert (config["epochs"], config["batch_size"], config["seed"], config["loss"]) == (70, 128, 58, "mse")
    assert config["optimizer"] == {"lr": 1.0, "momentum": 0.9}
    assert config["data"]["mean"] == [0.4914, 0.4822, 0.4465] and config["data"]["augment"] == "crop_flip"
