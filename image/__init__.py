"""Images: systems on pictures. Names are imported on first use, so importing costs nothing."""

from seqgan.lazy import lazily

__all__ = ["GAN", "Ensemble", "LabelToImage", "TextToImage"]
__getattr__, __dir__ = lazily(
    __name__,
    {
        "Ensemble": ".ensemble",
        "GAN": ".gan",
        "LabelToImage": ".conditional",
        "TextToImage": ".conditional",
    },
)
