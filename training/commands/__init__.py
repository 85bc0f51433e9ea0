"""Commands: what `python -m training` can be asked for, one a file."""
