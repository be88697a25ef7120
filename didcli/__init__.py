"""Learn, measure, look at and export disentangled representations of images."""

__version__ = "0.1.0"
