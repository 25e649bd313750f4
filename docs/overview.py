"""Composes docs/overview.png, the picture in the README, from the figures of the benchmarks."""

import pathlib

from matplotlib import font_manager
from PIL import Image, ImageDraw, ImageFont

DOCS = pathlib.Path(__file__).parent

# File, crop box (left, top, right, bottom), position on the page (left, top, width, height), caption.
PANELS = (
    ("latent_grid.png", (90, 20, 996, 926), (20, 44, 360, 360), "A plane of codes, decoded"),
    ("styles.png", (6, 6, 818, 654), (400, 44, 450, 360), "Eight handwriting styles, ten digits"),
    ("audio_denoising.png", (0, 0, 1060, 810), (870, 44, 480, 360), "Speech: clean, noisy, denoised"),
    ("reconstructions.png", (10, 30, 1152, 290), (20, 456, 666, 152), "Digits, the VAE's reconstructions, and PCA's"),
    ("mnist_samples.png", (6, 36, 654, 196), (706, 456, 644, 152), "Samples from the prior"),
)
SIZE = (1370, 628)


def main():
    page = Image.new("RGB", SIZE, "white")
    draw = ImageDraw.Draw(page)
    font = ImageFont.truetype(font_manager.findfont("DejaVu Sans"), 19)
    for name, box, (left, top, width, height), caption in PANELS:
        picture = Image.open(DOCS / name).convert("RGB").crop(box)
        picture = picture.resize((width, height), Image.Resampling.LANCZOS)
        page.paste(picture, (left, top))
        draw.text((left, top - 28), caption, "black", font)
    # The figures have few colours, so a palette halves the file.
    page.quantize(128, dither=Image.Dither.NONE).save(DOCS / "overview.png", optimize=True)


if __name__ == "__main__":
    main()
