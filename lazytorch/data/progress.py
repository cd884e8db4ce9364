"""The progress bar of the slow readers."""

from collections.abc import Sequence

from tqdm import tqdm

MANY = 5000


def progress(items: Sequence, what: str) -> tqdm:
    """The items, with a bar on stderr that counts them if they are ``MANY`` or more."""
    return tqdm(items, desc=f"reading {what}", disable=len(items) < MANY)
