"""Upscaling images with trained networks: exact in bounded memory, whatever the image's size and format."""
