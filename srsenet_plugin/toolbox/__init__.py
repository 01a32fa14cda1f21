"""All that reaches into BasicSR: what is mended there, and how the plugin registers."""
