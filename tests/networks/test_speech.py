"""Generators of waveforms: shapes, causality, and streams that equal whole recordings."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_ae.networks import speech


@pytest.fixture(scope="module", params=[0, 2])
def generator(request):
    """A small causal generator whose filters are far from the identity, their initial value."""
    keras.utils.set_random_seed(0)
    made = speech.SpectralGenerator(frame=64, hop=16, units=12, depth=2, taps=3, ahead=request.param, floor=0.1)
    made.build()
    rng = np.random.default_rng(0)
    made.set_weights([w + 0.2 * rng.normal(size=w.shape) for w in made.get_weights()])
    return made


def test_a_fresh_generator_changes_little(rng):
    x = 0.1 * rng.normal(size=(2, 2048)).astype("float32")
    for ahead in (0, 1):
        y = speech.SpectralGenerator(frame=256, hop=128, ahead=ahead)(x).numpy()
        assert np.abs(y - x).max() < 0.03


@pytest.mark.parametrize("hops", [[1] * 20, [3, 7, 10], [20]])
def test_a_stream_is_the_whole_late_by_the_delay(generator, rng, hops):
    x = rng.normal(size=(2, 320)).astype("float32")
    whole = generator(x).numpy()
    state, parts, start = np.zeros((2, generator.state_size), "float32"), [], 0
    for n in hops:
        part, state = generator.process(x[:, start : start + 16 * n], state)
        assert state.shape == (2, generator.state_size)
        parts.append(part.numpy())
        start += 16 * n
    stream = np.concatenate(parts, axis=1)
    assert np.abs(whole).max() > 0.1 and np.abs(whole - x).max() > 0.1
    np.testing.assert_allclose(stream[:, generator.delay :], whole[:, : -generator.delay], atol=1e-5)


def test_the_future_beyond_a_frame_does_not_matter(generator, rng):
    x = rng.normal(size=(1, 320)).astype("float32")
    other = x.copy()
    other[:, 160:] = rng.normal(size=160)
    before, after = generator(x).numpy()[0], generator(other).numpy()[0]
    # The first output sample that input sample 160 can affect.
    seen = 160 - generator.frame - generator.ahead * generator.hop + 1
    np.testing.assert_allclose(before[:seen], after[:seen], atol=1e-6)
    assert np.abs(before[160:] - after[160:]).max() > 0.01


def test_quiet_speech_is_filtered_as_loud_speech_is(generator, rng):
    x = rng.normal(size=(1, 640)).astype("float32")
    x[:, :320] *= 0.1
    loud = generator(x).numpy()
    for gain in (1e-3, 30.0):
        np.testing.assert_allclose(generator(gain * x) / gain, loud, atol=1e-3 * np.abs(loud).max())


def test_a_share_of_the_input_stays(generator, rng):
    x = rng.normal(size=(2, 320)).astype("float32")
    x -= x.mean(axis=1, keepdims=True)
    learned, made = (generator(x, training=training).numpy() for training in (True, False))
    identity = speech.SpectralGenerator(frame=64, hop=16, units=12, ahead=generator.ahead)
    identity.set_weights([np.zeros_like(w) for w in identity.get_weights()])
    np.testing.assert_allclose(made, 0.9 * learned + 0.1 * identity(x), atol=1e-5)
    assert np.abs(made - learned).max() > 0.1


def test_a_fresh_generator_takes_an_offset_out(rng):
    x = 0.1 * rng.normal(size=(1, 4096)).astype("float32")
    before, after = (speech.SpectralGenerator()(each).numpy()[0] for each in (x, x + 0.4))
    whole = slice(512, -512)  # the silence around x has no offset
    assert np.abs(after[whole] - before[whole]).max() < 0.02


def test_silence_stays_silence(generator):
    np.testing.assert_array_equal(generator(np.zeros((1, 320), "float32")), np.zeros((1, 320)))


def test_frames_that_hops_do_not_fill_are_refused():
    for frame, hop in ((500, 150), (256, 256), (75, 25)):
        with pytest.raises(ValueError, match="frame and hop"):
            speech.SpectralGenerator(frame=frame, hop=hop)
    for name in ("frame", "hop", "units", "depth", "taps", "memory"):
        with pytest.raises(ValueError, match=f"{name}: expected a whole number, 1 or more; received 0"):
            speech.SpectralGenerator(**{name: 0})
    with pytest.raises(ValueError, match="ahead: expected 0 to taps - 1 = 2; received 3"):
        speech.SpectralGenerator(taps=3, ahead=3)
    with pytest.raises(ValueError, match="floor: expected 0 to below 1"):
        speech.SpectralGenerator(floor=1.0)


def test_lengths_and_sizes_that_do_not_fit_are_refused(generator):
    for call in (generator, lambda x: generator.process(x, tf.zeros([1, generator.state_size]))):
        with pytest.raises(ValueError, match="expected a multiple of 16 samples, received 100"):
            call(tf.zeros([1, 100]))
    with pytest.raises(ValueError, match="expected a multiple of 4 samples, received 63"):
        speech.WaveformGenerator((4, 8), 5)(tf.zeros([1, 63]))
    for make in (speech.WaveformGenerator, lambda *sizes: speech.waveform_critic(64, *sizes)):
        for sizes, name in (((), "filters"), ((4, 0), "filters"), ((4,), "kernel_size")):
            with pytest.raises(ValueError, match=f"{name}: expected"):
                make(sizes, 0)
    with pytest.raises(ValueError, match="window: expected 8 samples or more for 2 stages; received 4"):
        speech.waveform_critic(4, (4, 8), 5)


def test_the_waveform_generator_has_the_sizes_of_the_paper(rng):
    made = speech.WaveformGenerator(filters=(4, 8, 16), kernel_size=5)
    x = rng.normal(size=(2, 64)).astype("float32")
    assert made.multiple == 8 and made(x).shape == (2, 64)
    assert tf.convert_to_tensor(made.noise_shape(tf.constant(x))).numpy().tolist() == [2, 8, 16]
    assert np.abs(made(x)).max() <= 1
    # The noise next to the code has an effect.
    z = rng.normal(size=(2, 8, 16))
    assert np.abs(made([x, z]) - made(x)).max() > 0
    # 16,384 samples to 8 x 1,024 (section 4.2).
    assert 16_384 / 2 ** len(speech.SEGAN_FILTERS) == 8 and speech.SEGAN_FILTERS[-1] == 1024
    # Five-tap convolutions: 1-4-8-16 down; 32 (code and noise), then 16 and 8 (with skips) up; biases; PReLUs.
    down, up = 5 * (4 + 32 + 128) + 28, 5 * (32 * 8 + 16 * 4 + 8) + 13
    assert made.count_params() == down + up + (4 + 8 + 16) + (8 + 4)


def test_the_global_order_of_axes_does_not_matter(rng):
    x = rng.normal(size=(2, 64)).astype("float32")

    def outputs():
        keras.utils.set_random_seed(0)
        networks = [
            speech.WaveformGenerator(filters=(4, 8), kernel_size=5),
            speech.SpectralGenerator(frame=32, hop=16, units=8, depth=1, taps=2),
        ]
        critic = speech.waveform_critic(64, filters=(4, 8), kernel_size=5)
        return [*(np.asarray(network(x)) for network in networks), np.asarray(critic([x, x[::-1]]))]

    expected = outputs()
    keras.config.set_image_data_format("channels_first")
    try:
        found = outputs()
    finally:
        keras.config.set_image_data_format("channels_last")
    assert [each.shape for each in found] == [(2, 64), (2, 64), (2, 1)]
    for one, two in zip(found, expected, strict=True):
        np.testing.assert_array_equal(one, two)


def test_the_critic_looks_at_both_waveforms(rng):
    critic = speech.waveform_critic(64, filters=(4, 8), kernel_size=5)
    a, b, c = rng.normal(size=(3, 2, 64)).astype("float32")
    scores = critic([a, b])
    assert scores.shape == (2, 1)
    assert np.abs(scores - critic([c, b])).max() > 0 and np.abs(scores - critic([a, c])).max() > 0
    # Rows are normalised separately, so other rows do not matter.
    np.testing.assert_allclose(critic([a[:1], b[:1]]), scores[:1], atol=1e-5)
