"""BasicSR models: how networks are trained and validated."""
