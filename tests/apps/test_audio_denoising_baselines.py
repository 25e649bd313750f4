import sys

import numpy as np
import pytest

from apps.audio_denoising.baselines import spectral_gating, wiener
from keras_ae.evaluation import speech

RATE = 16_000
BASELINES = [wiener, spectral_gating]


def mixture(rng, seconds=3.0, noise=0.05):
    """Harmonics of 200 Hz, present a third of the time, without and with white noise."""
    t = np.arange(round(seconds * RATE)) / RATE
    loudness = np.maximum(2 * np.sin(2 * np.pi * 1.5 * t) - 1, 0.0)
    clean = 0.2 * loudness * sum(np.sin(2 * np.pi * 200 * k * t) / k for k in range(1, 9))
    return clean, clean + noise * rng.normal(size=len(t))


@pytest.mark.parametrize("denoise, least", [(wiener, 8.0), (spectral_gating, 3.0)])
def test_white_noise_on_harmonics_is_lowered(rng, denoise, least):
    clean, noisy = mixture(rng)
    assert speech.si_sdr(clean, denoise(noisy, RATE)) > speech.si_sdr(clean, noisy) + least


@pytest.mark.parametrize("denoise", BASELINES)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_length_dtype_and_audio_are_kept(rng, denoise, dtype):
    for samples in (1, 100, 512, 513, 5000, 16_001):
        audio = mixture(rng)[1][:samples].astype(dtype)
        before = audio.copy()
        denoised = denoise(audio, RATE)
        assert denoised.shape == (samples,) and denoised.dtype == dtype and np.isfinite(denoised).all()
        assert not np.shares_memory(denoised, audio)
        np.testing.assert_array_equal(audio, before)


@pytest.mark.parametrize("denoise", BASELINES)
@pytest.mark.parametrize("samples", [100, 16_000])
@pytest.mark.filterwarnings("error::RuntimeWarning")
def test_silence_stays_silence(denoise, samples):
    np.testing.assert_array_equal(denoise(np.zeros(samples, "float32"), RATE), np.zeros(samples, "float32"))


@pytest.mark.parametrize("rate", [8000, 22_050, 48_000])
def test_wiener_at_other_rates(rng, rate):
    clean, noisy = mixture(rng)
    assert speech.si_sdr(clean, wiener(noisy, rate)) > speech.si_sdr(clean, noisy) + 5


def test_wiener_is_invariant_to_scale_and_bounds_its_gain(rng):
    _, noisy = mixture(rng)
    denoised = wiener(noisy, RATE)
    np.testing.assert_allclose(wiener(1e-3 * noisy, RATE), 1e-3 * denoised, atol=1e-12)
    assert np.std(noisy) / 5 < np.std(denoised) < np.std(noisy)


@pytest.mark.filterwarnings("error::RuntimeWarning")
def test_wiener_of_sounds_without_noise_is_finite():
    impulse = (np.arange(RATE) == 5000).astype("float64")
    tone = np.sin(2 * np.pi * 1000 * np.arange(RATE) / RATE)  # whole periods per step, so most bins are empty
    for audio in (impulse, tone, np.r_[np.zeros(RATE), tone], np.ones(RATE)):
        for scale in (1e4, 1.0, 1e-30, 1e-160, 1e-200):
            assert np.abs(wiener(scale * audio, RATE)).max() <= 1.5 * scale


def test_wiener_leaves_noise_alone_a_fifth_of_its_amplitude(rng):
    noise = rng.normal(size=5 * RATE)
    # Slightly more, because some noise peaks are taken for speech.
    assert 0.2 < np.std(wiener(noise, RATE)) / np.std(noise) < 0.25


def test_wiener_does_not_take_padding_for_the_noise(rng):
    clean, noisy = mixture(rng)
    padding = np.zeros(2 * RATE)
    alone, padded = wiener(noisy, RATE), wiener(np.r_[padding, noisy, padding], RATE)
    assert speech.si_sdr(clean, padded[2 * RATE : -2 * RATE]) > speech.si_sdr(clean, alone) - 1


@pytest.mark.parametrize("denoise", BASELINES)
@pytest.mark.parametrize("audio", [np.zeros((2, 100)), np.zeros(100, "int16"), np.full(100, np.nan), np.zeros(0)])
def test_what_is_no_signal_is_refused(denoise, audio):
    with pytest.raises(ValueError, match="audio"):
        denoise(audio, RATE)


def test_a_missing_package_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "noisereduce", None)
    with pytest.raises(ImportError, match=r'pip install "keras_ae\[audio\]"'):
        spectral_gating(np.ones(100), RATE)
