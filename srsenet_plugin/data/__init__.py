from srsenet_plugin.data.imresize import imresize

__all__ = ['imresize']
