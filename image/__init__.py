"""Images: systems on pictures. Names are imported on first use, so importing costs nothing."""

from seqgan.lazy import lazily

HOMES = {
    "Classifier": ".metrics",
    "Ensemble": ".ensemble",
    "GAN": ".gan",
    "Images": ".data",
    "InfoGAN": ".infogan",
    "LabelToImage": ".conditional",
    "TextToImage": ".conditional",
    "compare": ".metrics",
    "grid": ".data",
    "open_images": ".data",
    "psnr": ".metrics",
    "read_captions": ".data",
    "read_images": ".data",
    "ssim": ".metrics",
    "train_classifier": ".metrics",
    "with_captions": ".data",
    "write_png": ".data",
}
__all__ = list(HOMES)
__getattr__, __dir__ = lazily(__name__, HOMES)
