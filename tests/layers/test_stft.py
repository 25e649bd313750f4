"""Short-time transforms compared with their definition, and the losses on them."""

import numpy as np
import pytest
import scipy.signal
import tensorflow as tf

from keras_ae.layers import stft
from keras_ae.losses import spectral


@pytest.mark.parametrize("hop", [128, 256])
def test_the_inverse_gives_the_waveform_back(rng, hop):
    frame = 512
    x = rng.normal(size=(2, 4096)).astype("float32")
    around = frame - hop
    spectra = stft.stft(np.pad(x, [[0, 0], [around, around]]), frame, hop)
    y = stft.inverse_stft(spectra, frame, hop).numpy()
    np.testing.assert_allclose(y[:, around:-around], x, atol=1e-5)


@pytest.mark.parametrize("centred", [False, True])
def test_spectra_are_those_of_the_formula(rng, centred):
    x = rng.normal(size=(1, 40)).astype("float32")
    found = stft.stft(x, 16, 8, centred).numpy()[0]
    assert found.shape == (4, 9)
    n, f = np.arange(16), np.arange(9)[:, None]
    w = np.sin(np.pi * (n + 0.5) / 16)
    for t in range(4):
        mean = np.average(x[0, 8 * t + n], weights=w**2) if centred else 0.0
        expected = (w * (x[0, 8 * t + n] - mean) * np.exp(-2j * np.pi * f * n / 16)).sum(axis=1)
        np.testing.assert_allclose(found[t], expected, atol=1e-5)


def test_centred_spectra_do_not_see_an_offset_and_keep_voices():
    t = np.arange(4096) / 16_000
    voice = np.sin(2 * np.pi * 120 * t).astype("float32")[None]
    plain, centred, offset = (
        stft.stft(x, 512, 256, c).numpy() for x, c in ((voice, False), (voice, True), (voice + 0.5, True))
    )
    np.testing.assert_allclose(offset, centred, atol=1e-3)
    assert np.abs(centred - plain).max() < 0.05 * np.abs(plain).max()


def test_compression_raises_magnitudes_and_keeps_phases(rng):
    x = (rng.normal(size=100) + 1j * rng.normal(size=100)).astype("complex64")
    c = stft.compressed(tf.constant(x), 0.3).numpy()
    np.testing.assert_allclose(np.abs(c), np.abs(x) ** 0.3, rtol=1e-3)
    np.testing.assert_allclose(np.angle(c), np.angle(x), atol=1e-5)
    assert stft.compressed(tf.zeros(3, tf.complex64)).numpy().tolist() == [0, 0, 0]


def test_the_distance_is_0_for_equal_waveforms_and_grows_with_the_noise(rng):
    y = rng.normal(size=(3, 2048)).astype("float32")
    noise = rng.normal(size=y.shape).astype("float32")
    found = [spectral.distance(y + scale * noise, y).numpy() for scale in (0.0, 0.1, 1.0)]
    np.testing.assert_allclose(found[0], 0, atol=1e-6)
    assert (found[0] < found[1]).all() and (found[1] < found[2]).all() and found[1].shape == (3,)


def test_the_distance_is_its_formula(rng):
    x, y = rng.normal(size=(2, 1, 96)).astype("float32")
    expected = 0.0
    for frame in (16, 32):
        frames = [np.lib.stride_tricks.sliding_window_view(each[0], frame)[:: frame // 4] for each in (x, y)]
        spectra = [np.fft.rfft(each * np.sin(np.pi * (np.arange(frame) + 0.5) / frame)) for each in frames]
        c_x, c_y = (np.abs(each) ** (0.3 - 1) * each for each in spectra)
        apart = 0.7 * (np.abs(c_x) - np.abs(c_y)) ** 2 + 0.3 * np.abs(c_x - c_y) ** 2
        expected += apart.mean() / 2
    np.testing.assert_allclose(spectral.distance(x, y, frames=(16, 32)), [expected], rtol=1e-3)


def test_removal_counts_only_where_something_lacks(rng):
    y = rng.normal(size=(2, 2048)).astype("float32")

    def distance(scale, removal):
        return spectral.distance(scale * y, y, phase=0.0, removal=removal).numpy()

    # All magnitudes are below those of y, or all above.
    np.testing.assert_allclose(distance(0.5, removal=2.0), 3 * distance(0.5, removal=0.0), rtol=1e-5)
    np.testing.assert_allclose(distance(2.0, removal=2.0), distance(2.0, removal=0.0), rtol=1e-5)


def test_only_the_phase_term_hears_a_change_of_sign(rng):
    y = rng.normal(size=(2, 2048)).astype("float32")
    np.testing.assert_allclose(spectral.distance(-y, y, phase=0.0), 0, atol=1e-6)
    assert (spectral.distance(-y, y, phase=0.3).numpy() > 0.1).all()


def test_gradients_of_silence_are_finite():
    x = tf.Variable(tf.zeros([1, 1024]))
    with tf.GradientTape() as tape:
        loss = spectral.distance(x, tf.zeros([1, 1024])) + spectral.distance(x, tf.ones([1, 1024]))
    assert np.isfinite(tape.gradient(loss, x)).all()


def test_emphasis_is_a_filter_and_is_undone(rng):
    x = rng.normal(size=(2, 3000)).astype("float32")
    y = stft.emphasise(x, 0.95).numpy()
    np.testing.assert_allclose(y, scipy.signal.lfilter([1, -0.95], [1], x), atol=1e-6)
    np.testing.assert_allclose(stft.deemphasise(y, 0.95), x, atol=1e-5)
    np.testing.assert_array_equal(stft.deemphasise(x, 0.0), x)
