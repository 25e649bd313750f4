"""Damaged files for `benchmarks.hostile`: intact ones of every format, and ways to damage them."""

import bz2
import gzip
import io
import json
import lzma
import pathlib
import tarfile
import zipfile

import numpy as np
import soundfile
from PIL import Image

_SIDE, _RATE = 24, 16_000
_LARGE = 7000  # pixels a side
_SIZES = [b"\xff" * 8, b"\x7f" + b"\xff" * 7, b"\xff" * 7 + b"\x7f", b"\x80" + bytes(7), bytes(8), bytes(3) + b"\1" * 5]
_WORDS = [
    "shuttle",
    "orbit",
    "crew",
    "doors",
    "rain",
    "harbour",
    "engine",
    "pitcher",
    "theorem",
    "senate",
    "modem",
    "violin",
]


def damaged(bases, number, seed):
    """Returns the name and the bytes of a damaged file.

    Args:
        bases: `{name: bytes}` of intact files.
        number: int, of the damaged file.
        seed: list of ints.

    Returns:
        the name of the base, and bytes; every tenth file is a base as it is.
    """
    random = np.random.default_rng([*seed, number])
    names = sorted(bases)
    name = names[number % len(names)]
    data = bases[name]
    if number // len(names) % 10 == 0 or not data:
        return name, data
    other = bases[names[random.integers(len(names))]]
    return name, _WAYS[random.integers(len(_WAYS))](data, other, random)


def _truncated(data, other, random):
    return data[: random.integers(len(data))]


def _flipped(data, other, random):
    changed = np.frombuffer(data, np.uint8).copy()
    places = random.integers(len(changed), size=2 ** random.integers(7))
    changed[places] ^= (1 << random.integers(8, size=len(places))).astype(np.uint8)
    return changed.tobytes()


def _place(data, random):
    """Returns a place in the data, in half of the cases near its beginning or its end, where headers are."""
    near = random.integers(4)
    size = len(data) if near > 1 else min(len(data), 200)
    place = int(random.integers(size))
    return len(data) - 1 - place if near == 1 else place


def _huge(data, other, random):
    """Writes a large number, or 0, over some bytes: sizes, lengths and counts."""
    for _ in range(random.integers(1, 4)):
        place, width = _place(data, random), 2 ** random.integers(4)
        data = data[:place] + _SIZES[random.integers(len(_SIZES))][:width] + data[place + width :]
    return data


def _swapped(data, other, random):
    """Begins with the header of another file."""
    size = 2 ** random.integers(2, 9)
    return other[:size] + data[size:]


def _magic(data, other, random):
    return random.bytes(random.integers(1, 17)) + data[random.integers(0, 17) :]


def _joined(data, other, random):
    """Has a part twice, or lacks one, or goes on with another file."""
    a, b = sorted(random.integers(len(data) + 1, size=2))
    return (data[:b] + data[a:], data[:a] + data[b:], data + other, data[:a] + other)[random.integers(4)]


def _nested(data, other, random):
    return (gzip.compress, bz2.compress, _zipped, lambda inside: _tar({"news/sci.space/1": inside}))[
        random.integers(4)
    ](data)


def _zipped(data):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x_train.npy", data)
    return file.getvalue()


_WAYS = (_truncated, _flipped, _flipped, _huge, _huge, _swapped, _magic, _joined, _nested)


# Intact files, and some that are made to harm.


def images(folder):
    """Image files of all formats, some large, and some of other formats under their names."""
    random, made = np.random.default_rng(0), {}
    levels = random.integers(0, 256, (_SIDE, _SIDE, 3), np.uint8)
    for name, mode, options in (
        *(("grey.png", "L", {}), ("colour.png", "RGB", {}), ("palette.png", "P", {}), ("alpha.png", "RGBA", {})),
        *(("plain.jpg", "RGB", {}), ("progressive.jpg", "RGB", {"progressive": True}), ("cmyk.jpg", "CMYK", {})),
        *(("a.gif", "P", {}), ("a.bmp", "RGB", {}), ("a.ppm", "RGB", {}), ("a.pgm", "L", {}), ("a.webp", "RGB", {})),
        *(("a.tiff", "RGB", {}), ("deflate.tiff", "RGB", {"compression": "tiff_deflate"})),
        *(("lossless.webp", "RGB", {"lossless": True}), ("postscript.png", "RGB", {"format": "EPS"})),
        ("icon.png", "RGBA", {"format": "ICO"}),
    ):
        made[name] = _image(Image.fromarray(levels).convert(mode), name, options)
    made["deep.png"] = _image(Image.fromarray(levels[..., 0].astype(np.uint16) * 257), "deep.png", {})
    made["turned.jpg"] = _image(Image.fromarray(levels), "a.jpg", {"exif": _turned()})
    for mode in ("1", "L", "RGB", "RGBA"):
        made[f"large{mode}.png"] = _image(Image.new(mode, (_LARGE, _LARGE)), "a.png", {})
    made["large.webp"] = _image(Image.new("RGB", (_LARGE, _LARGE)), "a.webp", {})
    made["large.gif"] = _image(Image.new("P", (_LARGE, _LARGE)), "a.gif", {})
    made["large.jpg"] = _image(Image.new("RGB", (_LARGE, _LARGE)), "a.jpg", {"progressive": True})
    made["large.tiff"] = _image(Image.new("RGB", (_LARGE, _LARGE)), "a.tiff", {"compression": "tiff_lzw"})
    deep = Image.fromarray(np.zeros((_LARGE, _LARGE), np.uint16))
    made["large16.png"] = _image(deep, "a.png", {})
    return made


def _image(image, name, options):
    file = io.BytesIO()
    suffix = name.rpartition(".")[2]
    formats = {"jpg": "JPEG", "pgm": "PPM", "tiff": "TIFF"}
    image.save(file, **{"format": formats.get(suffix, suffix.upper())} | options)
    return file.getvalue()


def _turned():
    exif = Image.Exif()
    exif[0x0112] = 6
    return exif


def arrays(folder):
    """`.npz` files: intact, of other arrays, and with headers that state more than there is."""
    x, made = np.random.default_rng(0).integers(0, 256, (20, 6, 5), np.uint8), {}
    pairs = {"x_train": x, "y_train": np.arange(20), "x_test": x, "y_test": np.arange(20)}
    for name, change in (
        *(("plain.npz", {}), ("floats.npz", {"x_train": x / 1.0}), ("objects.npz", {"x_train": x.astype(object)})),
        *(("labels.npz", {"y_train": np.full(20, 2**40)}), ("short.npz", {"y_train": np.arange(3)})),
        ("zeros.npz", {"x_train": np.zeros((4000, 300, 300), np.uint8), "y_train": np.zeros(4000, int)}),
    ):
        file = io.BytesIO()
        np.savez_compressed(file, **pairs | change)
        made[name] = file.getvalue()
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "|u1", "fortran_order": False, "shape": (10**12, 28, 28)})
    made["header.npz"], made["member.npz"] = _zipped(header.getvalue()), _zipped(b"no array")
    file = io.BytesIO()
    np.save(file, x)
    made["single.npz"] = file.getvalue()
    return made


def sounds(folder):
    """Audio files of all formats; chains, and lengths that are unknown or wrong."""
    x = (0.5 * np.sin(np.arange(8000)[:, None] / [9.0, 7.0])).astype("float32")
    made = {}
    for name, subtype in (
        *(("a.wav", "PCM_16"), ("floats.wav", "FLOAT"), ("deep.wav", "PCM_24"), ("law.wav", "ULAW")),
        *(("a.flac", "PCM_16"), ("deep.flac", "PCM_24"), ("a.ogg", "VORBIS"), ("a.opus", "OPUS")),
        ("adpcm.wav", "IMA_ADPCM"),
    ):
        file, kind = io.BytesIO(), {"flac": "FLAC", "wav": "WAV"}.get(name.rpartition(".")[2], "OGG")
        soundfile.write(file, x, _RATE, subtype, format=kind)
        made[name] = file.getvalue()
    made["chained.ogg"] = 2 * made["a.ogg"]
    for frames in (0, 1, 2**36 - 1):
        head = int.from_bytes(made["a.flac"][21:26]) >> 36 << 36 | frames
        made[f"states{frames}.flac"] = made["a.flac"][:21] + head.to_bytes(5) + made["a.flac"][26:]
    return made


def _text(random, words=60):
    return " ".join(random.choice(_WORDS, words))


def mails(folder):
    """Postings: encoded, of many parts, with headers that nobody can decode."""
    random = np.random.default_rng(0)
    head = "From: a@example.org\nSubject: {}\nDate: Sun, 28 Mar 1993 20:18:04 GMT\n"
    mixed = "Content-Type: multipart/mixed; boundary=b\n\n"
    parts = "".join(f'Content-Type: multipart/mixed; boundary="{i}"\n\n--{i}\n' for i in range(100))
    made = {
        "plain": head.format("Orbit") + "\n" + _text(random),
        "unknown charset": head.format("=?ä?q?a?=") + "\nbody",
        "utf-999": head.format("=?utf-999?b?YQ==?=") + "\nbody",
        "base64": head.format("=?utf-8?b?YQ==?=") + "Content-Transfer-Encoding: base64\n\nSGVsbG8=\n",
        "quoted": head.format("=?utf-8?q?a=C3=A9?=") + "Content-Transfer-Encoding: quoted-printable\n\na=C3=A9=\n",
        "parts": head.format("s") + mixed + "--b\nContent-Type: text/html\n\n<p>\n--b\n\nHello\n--b--\n",
        "many parts": head.format("s") + mixed + "--b\n\n\n" * 10**5,
        "nested": head.format("s") + parts + "\n" * 900_000,
        "message": head.format("s") + "Content-Type: message/rfc822\n\n" * 10**4,
        "headers": head.format("s") + mixed + "--b\n" + "a: b\n" * 150_000,
        "long subject": head.format("=?a?q?" * 10**5) + "\nbody",
        "long type": head.format("s") + "Content-Type: multipart/mixed; " + "a=;" * 10**5 + "\n\nbody",
        "no text": "\0" * 100,
    }
    return {name: text.encode() for name, text in made.items()}


def archives(folder):
    """Tar archives: compressed in all ways, with links, unsafe paths, large members and archives within."""
    random = np.random.default_rng(0)
    files = {f"news/sci.space/{i}": _text(random).encode() for i in range(5)}
    plain = _tar(files)
    long = _tar({f"news/{'x' * 300}/{i}": b"text" for i in range(3)})
    made = {"plain.tar": plain, "long.tar": long, "inside.tar": _tar(files | {"news/inside": plain})}
    made |= {"a.tar.gz": gzip.compress(plain), "a.tar.xz": lzma.compress(plain), "a.tar.bz2": bz2.compress(plain)}
    made["unsafe.tar"] = _tar(files | {"../../outside": b"text", "/outside": b"text"})
    made["large.tar.gz"] = gzip.compress(_tar(files | {"news/large": bytes(10**8)}), 1)
    made["twice.tar.gz"] = gzip.compress(gzip.compress(plain))
    return made


def _tar(files):
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
        for name, kind, target in (("link", tarfile.SYMTYPE, "/etc/hostname"), ("pipe", tarfile.FIFOTYPE, "")):
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, target
            archive.addfile(info)
    return file.getvalue()


def tables(folder):
    """JSONL and CSV files: nested, with long lines and stray quotes."""
    random = np.random.default_rng(0)
    rows = [{"id": f"d{i}", "label": "a", "date": "2020-01-01", "text": _text(random)} for i in range(20)]
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    table = "id,text\n" + "".join(f'{row["id"]},"{row["text"]}"\n' for row in rows)
    made = {
        "plain.jsonl": lines,
        "nested.jsonl": lines + "[" * 10**6 + "\n" + '{"text": ' * 10**5,
        "numbers.jsonl": lines + '{"text": "a", "id": 1e999, "date": -1}\n{"text": 5}\n' + "9" * 10**5 + "\n",
        "surrogates.jsonl": lines + '{"text": "\\ud800 orbit"}\n',
        "long.jsonl": lines + '{"text": "' + "a" * 3 * 10**6 + '"}\n',
        "plain.csv": table,
        "quotes.csv": table + '"' + table * 50,
        "ragged.csv": table + "a,b,c\n,\n\n",
        "columns.csv": ",".join(map(str, range(10**5))) + ",text\n" + "," * 10**5 + "a\n",
    }
    return {name: text.encode() for name, text in made.items()}


def index(folder):
    """The files of a search index."""
    from apps.semantic_hashing import store

    random = np.random.default_rng(0)
    documents = [store.Entry(f"d{i}", "A title", _text(random)) for i in range(40)]
    with store.Writer(folder, 16, "f" * 64) as writer:
        writer.write([(documents, random.integers(0, 256, (40, 2), np.uint8))])
    return folder_files(folder)


def cards(folder):
    """The card of the committed denoiser, and one that promises what its model lacks."""
    from benchmarks import results

    card = json.loads((results.SAVED_MODELS / "audio_denoising/1/card.json").read_text(encoding="utf-8"))
    texts = {"plain": card, "list": [card]}
    texts |= {"rate": card | {"rate": 1e999}, "frame": card | {"stream": {"frame": 10**12}}}
    return {name: json.dumps(value).encode() for name, value in texts.items()} | {"nested": b'{"a":' * 10**5}


def checkpoints(folder):
    """Checkpoints of a few arrays."""
    from apps import checkpoints as written

    folder.mkdir(parents=True, exist_ok=True)
    made = {}
    for size in (3, 10_000):
        state = {"settings": {}, "epoch": 1, "max_minutes": None, "variables": [np.arange(size, dtype="float32")]}
        written.write(folder / "checkpoint", state)
        made[f"{size} numbers"] = (folder / "checkpoint").read_bytes()
    return made


def codes(folder):
    """Files of encoded documents, as `keras-ae beam` writes them."""
    random = np.random.default_rng(0)
    rows = [{"id": f"d{i}", "title": None, "text": _text(random), "code": "a5f0"} for i in range(20)]
    lines = "".join(json.dumps(row | {"fingerprint": "f" * 64}) + "\n" for row in rows)
    return {"plain": lines.encode(), "nested": lines.encode() + b"[" * 10**6}


def exports(folder):
    """The files of an exported model."""
    import keras_ae as ka

    encoder = ka.networks.mlp_encoder((4, 4, 1), latent_dim=2, hidden=())
    decoder = ka.networks.mlp_decoder(latent_dim=2, output_shape=(4, 4, 1), hidden=())
    return folder_files(ka.export(ka.Autoencoder(encoder, decoder), folder))


def folder_files(folder):
    """Returns `{path relative to the folder: bytes}` of all files below it."""
    paths = sorted(path for path in pathlib.Path(folder).rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}
