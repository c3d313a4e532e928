"""Right rules, in the styles people write them in; imported from a copy by `planted.load`."""
