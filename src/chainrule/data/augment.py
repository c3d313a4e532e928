"""Random changes of training images."""

AUGMENTATIONS = ("crop", "flip")


class Augment:
    """Placeholder until the real one is here."""
