"""What layers yield: computed, cut down, compared, packed."""
