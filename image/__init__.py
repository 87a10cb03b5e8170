"""Images: systems on pictures. Names are imported on first use, so importing costs nothing."""

from seqgan.lazy import lazily

__all__ = ["GAN"]
__getattr__, __dir__ = lazily(__name__, {"GAN": ".gan"})
