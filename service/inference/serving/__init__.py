"""Models at work: found, opened, held to their promises, run in batches, counted."""
