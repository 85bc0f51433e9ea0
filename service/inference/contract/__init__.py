"""What a model and its callers agree on: its card, its inputs and outputs, their types, its classes."""
