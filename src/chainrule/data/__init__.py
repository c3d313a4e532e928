"""Data sets and loaders: NumPy arrays, read from files that are checked and never executed."""

from chainrule.data.augment import AUGMENTATIONS, Augment
from chainrule.data.batches import Batches
from chainrule.data.datasets import NAMES, Dataset, Samples, find, load, split
from chainrule.data.formats import read_images
from chainrule.data.preprocess import PREPROCESSING, Preprocess
from chainrule.data.resize import ResizedImages
from chainrule.data.synthetic import circles, moons, quadratic, spirals

__all__ = [
    "AUGMENTATIONS",
    "NAMES",
    "PREPROCESSING",
    "Augment",
    "Batches",
    "Dataset",
    "Preprocess",
    "ResizedImages",
    "Samples",
    "circles",
    "find",
    "load",
    "moons",
    "quadratic",
    "read_images",
    "spirals",
    "split",
]
