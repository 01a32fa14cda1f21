"""What pip gets to build BasicSR: the release, and this folder on PYTHONPATH."""
