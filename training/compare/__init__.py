"""Dense against convolutional: the same recipe for both, what each of them bears, and what is exact about it."""
