"""``srsenet compare``: what networks cost and how good their images are, side by side."""
