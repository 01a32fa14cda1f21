"""Files of weights: the package's own, other people's, and what is exported."""
