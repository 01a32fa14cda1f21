"""The abilities of the processor or GPU at hand."""
