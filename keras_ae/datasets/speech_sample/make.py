"""Makes the speech and noise in this folder, with espeak-ng and NumPy.

    python keras_ae/datasets/speech_sample/make.py

espeak-ng must be installed; Linux distributions have it as a package of that name. With the same release of espeak-ng,
the sound is always the same; the files differ only in the serial numbers of their streams.
"""

import pathlib
import subprocess  # nosec B404 # the command below
import tempfile
from collections.abc import Iterator

import numpy as np
from scipy import signal

from keras_ae.datasets import audio

RATE = 16000
SECONDS = 3
PEAK = 0.7

# File name: voice of espeak-ng (language + variant), words per minute, text.
SPEECH = {
    "english_american_man": ("en-us+m3", 165, "The morning train was late, so we walked along the river."),
    "english_british_woman": ("en-gb+f2", 170, "Please write your name and number on the yellow card."),
    "english_scottish_man": ("en-gb-scotland+m7", 175, "Six small boats came back before the storm began."),
    "german_woman": ("de+f4", 165, "Heute scheint die Sonne, und wir gehen in den Garten."),
    "spanish_man": ("es+m2", 175, "El perro duerme bajo la mesa de la cocina."),
    "french_woman": ("fr-fr+f3", 170, "Nous avons acheté du pain et trois pommes vertes."),
    "italian_man": ("it+m4", 170, "La porta della vecchia casa era sempre aperta."),
    "portuguese_woman": ("pt-br+f5", 170, "Amanhã vamos viajar para a praia com os amigos."),
    "dutch_man": ("nl+m1", 170, "De fiets staat achter het huis van mijn buurman."),
    "swedish_woman": ("sv+f1", 165, "Det snöade hela natten och barnen blev glada."),
    "polish_man": ("pl+m6", 170, "Wieczorem czytamy książkę przy ciepłym piecu."),
    "russian_woman": ("ru+f2", 165, "Утром мы пили чай и смотрели в окно."),
}
# These voices are not used in SPEECH.
BABBLE = [
    ("en-us+f1", "Have you seen the paper today? It was here a moment ago, beside the lamp."),
    ("en-gb+m5", "I would rather have the soup, and perhaps a glass of water after that."),
    ("en-us+m8", "They told us to wait for ten minutes, and then nobody came to the door."),
    ("en-gb+f4", "My sister lives near the station, in the third house on the left."),
    ("de+m3", "Kannst du mir bitte sagen, wann der nächste Zug nach Hause fährt?"),
    ("es+f3", "No me acuerdo de su nombre, pero trabaja en la tienda de la esquina."),
    ("fr-fr+m2", "Il faut tourner à droite après le pont, puis continuer tout droit."),
    ("it+f5", "Ieri sera abbiamo mangiato molto bene in un piccolo ristorante."),
]


def spoken(voice: str, words_per_minute: int, text: str) -> np.ndarray:
    """float64 `(T,)` in [-1, 1]."""
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder, "speech.wav")
        command = ["espeak-ng", "-v", voice, "-s", str(words_per_minute), "-w", str(path), text]
        subprocess.run(command, check=True)  # nosec B603 # the texts are those of this file
        x, _ = audio.read(path, rate=RATE)
    return x[:, 0].astype(np.float64)


def scaled(x: np.ndarray) -> np.ndarray:
    return PEAK * x / np.abs(x).max()


def coloured(rng: np.random.Generator, slope: float, samples: int) -> np.ndarray:
    """Gaussian noise with the power spectrum f^-slope above 50 Hz, of unit RMS."""
    f = np.maximum(np.fft.rfftfreq(samples, 1 / RATE), 50)
    x = np.fft.irfft(np.fft.rfft(rng.standard_normal(samples)) * f ** (-slope / 2), samples)
    return x / x.std()


def slow(rng: np.random.Generator, hertz: float, samples: int) -> np.ndarray:
    """A random curve in [0, 1] without frequencies above `hertz`."""
    x = signal.sosfiltfilt(signal.butter(2, hertz, fs=RATE, output="sos"), rng.standard_normal(samples + 8 * RATE))
    x = x[4 * RATE :][:samples]
    return (x - x.min()) / np.ptp(x)


def bursts(
    rng: np.random.Generator, per_second: float, samples: int, decay: float, low: float, high: float
) -> np.ndarray:
    """Short bursts at random times, amplitudes and pitches: decaying sines of `low` to `high` Hz."""
    x = np.zeros(samples + RATE)
    for start in rng.integers(samples, size=round(per_second * samples / RATE)):
        t = np.arange(round(8 * decay * RATE)) / RATE
        pitch = np.exp(rng.uniform(np.log(low), np.log(high)))
        x[start : start + len(t)] += rng.exponential() * np.exp(-t / decay) * np.sin(2 * np.pi * pitch * t)
    return x[:samples]


def noises() -> Iterator[tuple[str, np.ndarray]]:
    rng, n = np.random.default_rng(0), SECONDS * RATE
    t = np.arange(n) / RATE
    voices = [np.resize(spoken(voice, 170, text), n + RATE) for voice, text in BABBLE]
    # Start each voice at a random point, or all would pause together.
    babble = sum(np.roll(x, rng.integers(len(x)))[:n] / x.std() for x in voices)
    engine = 2 * np.pi * np.cumsum(38 + 8 * slow(rng, 1, n)) / RATE
    yield "hiss", coloured(rng, 0, n)
    yield "murmur_of_machines", coloured(rng, 1.5, n)
    yield "babble", babble
    yield "mains_hum", sum(np.sin(2 * np.pi * 50 * k * t + k) / k for k in range(1, 16)) + 0.05 * coloured(rng, 1, n)
    yield "clicks", bursts(rng, 8, n, 0.002, 800, 5000) + 0.003 * coloured(rng, 0, n)
    yield "rain_on_a_roof", bursts(rng, 600, n, 0.004, 1000, 7000) + 0.3 * coloured(rng, 0.5, n)
    yield "wind", coloured(rng, 2.5, n) * (0.1 + slow(rng, 1.5, n)) ** 2
    yield "engine", sum(np.sin(k * engine + k * k) / k**0.7 for k in range(1, 40)) + 0.3 * coloured(rng, 1, n)


def main() -> None:
    folder = pathlib.Path(__file__).parent
    for name, (voice, words_per_minute, text) in SPEECH.items():
        audio.write(folder / "clean" / f"{name}.ogg", scaled(spoken(voice, words_per_minute, text)), RATE)
    for name, x in noises():
        audio.write(folder / "noise" / f"{name}.ogg", scaled(x), RATE)


if __name__ == "__main__":
    main()
