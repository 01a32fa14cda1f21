"""Files of weights: the package's own, other people's, and exports."""
