"""All that reaches into BasicSR: the patches, and the registration."""
