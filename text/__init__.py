"""Text: systems on token sequences. Names are imported on first use, so importing costs nothing."""

from seqgan.lazy import lazily

__all__ = ["Poet", "SentenceGenerator"]
__getattr__, __dir__ = lazily(__name__, {"Poet": ".poet", "SentenceGenerator": ".sentences"})
