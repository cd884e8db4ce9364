import pytest
import torch

from lazytorch.data import balanced_subset

LABELS = torch.tensor([0] * 11 + [4] * 7 + [2] * 13)[torch.randperm(31, generator=torch.Generator().manual_seed(1))]


@pytest.mark.parametrize("size", [3, 4, 10, 20, 21])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_every_prefix_is_balanced(size, seed):
    indices = balanced_subset(LABELS, size, seed)
    assert len(set(indices.tolist())) == size and indices.dtype == torch.int64
    for length in range(1, size + 1):
        counts = LABELS[indices[:length]].bincount(minlength=5)[[0, 2, 4]]
        assert counts.max() - counts.min() <= 1


def test_seeds():
    assert torch.equal(balanced_subset(LABELS, 9, 5), balanced_subset(LABELS, 9, 5))
    assert not torch.equal(balanced_subset(LABELS, 9, 5), balanced_subset(LABELS, 9, 6))


def test_smaller_subsets_are_prefixes():
    assert torch.equal(balanced_subset(LABELS, 20, 5)[:8], balanced_subset(LABELS, 8, 5))


def test_the_global_generator_is_left_alone():
    before = torch.get_rng_state()
    balanced_subset(LABELS, 9, 5)
    assert torch.equal(torch.get_rng_state(), before)


def test_members_are_drawn_evenly():
    labels = torch.arange(8) % 2
    counts = torch.stack([balanced_subset(labels, 2, seed).bincount(minlength=8) for seed in range(2000)]).sum(0)
    assert ((counts - 500).abs() < 5 * (2000 * 3 / 16) ** 0.5).all()


def test_none_is_all_in_order():
    assert balanced_subset(LABELS, None, 3).tolist() == list(range(31))


@pytest.mark.parametrize("size", [0, -1, 1, 2, 24, 31, 9.5, "12"])
def test_impossible_sizes_are_refused(size):
    """Fewer than the classes too, which would leave some class without an image."""
    with pytest.raises(
        ValueError, match=r"class 4 has 7: ask for 3 \(one a class\) to 2[123], .*data.train_size"
    ) as caught:
        balanced_subset(LABELS, size, 0)
    assert "\n" not in str(caught.value)
