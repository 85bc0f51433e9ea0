"""A card for a model that has none."""
