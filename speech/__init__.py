"""Speech: enhancement and other systems on waveforms. Names are imported on first use, so importing costs nothing."""

from seqgan.lazy import lazily

__all__ = ["Enhancer"]
__getattr__, __dir__ = lazily(__name__, {"Enhancer": ".enhancer"})
