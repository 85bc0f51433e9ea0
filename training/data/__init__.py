"""Data: what there is to learn from, as tensors in memory: data sets by name, and your own folder of pictures."""
