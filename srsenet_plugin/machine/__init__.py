"""What the processor or GPU at hand can do."""
