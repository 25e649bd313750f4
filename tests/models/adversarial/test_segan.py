"""SEGAN: its two players, its losses in closed form, and the path from pairs to clean speech."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_ae as ka
from keras_ae.layers import stft
from keras_ae.losses import spectral
from keras_ae.losses.adversarial import LEAST_SQUARES


def build(window=64, **arguments):
    keras.utils.set_random_seed(0)
    generator = ka.networks.WaveformGenerator((4, 8), 5)
    critic = ka.networks.waveform_critic(window, (4, 8), 5)
    return ka.SEGAN(generator, critic, seed=0, **arguments)


@pytest.fixture
def waves(rng):
    t = np.arange(64) / 64
    clean = 0.5 * np.sin(2 * np.pi * (rng.uniform(1, 6, size=(96, 1)) * t + rng.uniform(size=(96, 1))))
    return (clean + 0.2 * rng.normal(size=clean.shape)).astype("float32"), clean.astype("float32")


def test_the_critic_of_least_squares_settles_at_the_share_of_real_rows():
    # D* = p / (p + q) minimises p (D - 1)^2 + q D^2 (Mao 2017, equation 11 with a = 0, b = c = 1).
    p, q = 0.3, 0.8
    d = np.linspace(0, 1, 1001)
    loss = p * LEAST_SQUARES.critic(d, 0 * d) + q * LEAST_SQUARES.critic(0 * d + 1, d)
    assert d[np.argmin(loss)] == pytest.approx(p / (p + q), abs=1e-3)
    assert LEAST_SQUARES.generator(np.ones(3)).tolist() == [0, 0, 0]


def test_terms_are_their_formulas(waves):
    model = build(window=1024, spectral_weight=2.0, removal=0.5)
    x, y = (tf.constant(each[:48].reshape(3, 1024)) for each in waves)
    model.compile("adam")
    noise = []
    model.generator = _Recorded(model.generator, noise)
    shared = model.shared_pass(x, y, False)
    terms = {}
    for objective in model.objectives().values():
        terms |= objective.terms(x, y, False, shared)
    assert set(terms) == set(model.terms) == {"discrimination", "adversarial", "l1", "spectral"}
    xe, ye = (stft.emphasise(each, 0.95) for each in (x, y))
    fake = model.generator.network([xe, noise[0]])
    real, made = model.critic([ye, xe]).numpy()[:, 0], model.critic([fake, xe]).numpy()[:, 0]
    np.testing.assert_allclose(terms["discrimination"], 0.5 * (real - 1) ** 2 + 0.5 * made**2, rtol=1e-4)
    np.testing.assert_allclose(terms["adversarial"], 0.5 * (made - 1) ** 2, rtol=1e-4)
    np.testing.assert_allclose(terms["l1"], np.abs(fake - ye).mean(axis=1), rtol=1e-4)
    np.testing.assert_allclose(terms["spectral"], spectral.distance(fake, ye, removal=0.5), rtol=1e-4)
    assert all(np.isfinite(each).all() and np.abs(each).min() > 0 for each in terms.values())
    assert len(noise) == 1  # both players see the same generated speech


class _Recorded:
    """A generator that records the noise that it receives."""

    def __init__(self, network, noise):
        self.network, self.noise, self.noise_shape = network, noise, network.noise_shape

    def __call__(self, inputs, training=False):
        self.noise.append(inputs[1].numpy())
        return self.network(inputs, training=training)


def test_each_player_moves_its_own_network(waves):
    for resting, moving in (("critic", "generator"), ("generator", "critic")):
        model = build()
        model.compile({resting: keras.optimizers.SGD(0.0), moving: keras.optimizers.SGD(1e-2)})
        before = {name: [w.copy() for w in getattr(model, name).get_weights()] for name in (resting, moving)}
        model.fit(*waves, batch_size=32, epochs=1, verbose=0)
        for old, new in zip(before[resting], getattr(model, resting).get_weights(), strict=True):
            np.testing.assert_array_equal(old, new)
        after = getattr(model, moving).get_weights()
        assert any(np.abs(a - b).max() > 0 for a, b in zip(before[moving], after, strict=True))


def test_without_a_target_it_learns_its_input(waves):
    model = build(preemphasis=0.0)
    model.compile("adam")
    alone, given = (model.evaluate(*each, verbose=0, return_dict=True)["l1"] for each in ((waves[0],), waves[:1] * 2))
    assert alone == pytest.approx(given, rel=0.02)  # the noise next to the code differs
    assert alone != pytest.approx(model.evaluate(*waves, verbose=0, return_dict=True)["l1"], rel=0.02)


def test_it_learns_to_take_noise_away(waves):
    keras.utils.set_random_seed(0)
    model = ka.SpeechDenoiser(ka.networks.WaveformGenerator((8, 16), 9), preemphasis=0.0, seed=0)
    assert model.terms == ("l1",)
    model.compile(keras.optimizers.Adam(1e-2))
    model.fit(*waves, batch_size=32, epochs=60, verbose=0)
    noisy, clean = waves
    assert np.abs(model.denoise(noisy) - clean).mean() < 0.7 * np.abs(noisy - clean).mean()


def test_any_length_is_denoised_as_if_silence_followed(waves):
    model = build()
    x = waves[0][:2]
    short = model.denoise(x[:, :37])
    assert short.shape == (2, 37)
    np.testing.assert_allclose(short, model.denoise(np.pad(x[:, :37], [[0, 0], [0, 27]]))[:, :37], atol=1e-5)


def test_saved_and_loaded_it_goes_on_as_if_nothing_had_happened(waves, tmp_path):
    model = build()
    model.compile(keras.optimizers.RMSprop(1e-3), run_eagerly=True)
    data = tf.data.Dataset.from_tensor_slices(waves).batch(32)
    model.fit(data, epochs=1, verbose=0, shuffle=False)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    going_on, restored = (each.fit(data, epochs=1, verbose=0, shuffle=False).history for each in (model, loaded))
    for name, values in going_on.items():
        np.testing.assert_allclose(restored[name], values, rtol=1e-4)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        *(({"l1_weight": -1}, "l1_weight"), ({"preemphasis": 1.0}, "preemphasis")),
        *(({"spectral_weight": -1}, "spectral_weight"), ({"removal": -0.5}, "removal")),
    ],
)
def test_refuses_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        build(**arguments)


def test_its_export_denoises(waves, tmp_path):
    model = build()
    served = tf.saved_model.load(ka.export(model, tmp_path))
    assert set(served.signatures) == {"denoise", "serving_default"}
    answer = served.signatures["denoise"](x=waves[0][:3, :50])
    np.testing.assert_allclose(answer["x"], model.denoise(waves[0][:3, :50]), atol=1e-5)
    assert answer["valid"].numpy().all()


def test_the_representation_is_one_line_and_the_summary_knows_every_shape():
    segan, spectral_generator = build(), ka.networks.SpectralGenerator(frame=16, hop=8, units=4)
    size = segan.generator.count_params() + segan.critic.count_params()
    assert repr(segan) == f"<SEGAN terms=discrimination,adversarial,l1 parameters={size:,}>"
    denoiser = ka.SpeechDenoiser(spectral_generator, spectral_weight=1.0)
    assert repr(denoiser) == f"<SpeechDenoiser terms=l1,spectral parameters={spectral_generator.count_params():,}>"
    for model in (segan, denoiser):
        lines = []
        model.summary(print_fn=lines.append)
        text = "\n".join(lines)
        assert "(None, None)" in text and "?" not in text
        loaded = type(model.generator).from_config(model.generator.get_config())
        assert loaded.compute_output_shape((2, 64)) == (2, 64)


def test_refuses_data(waves):
    model = build()
    model.compile("adam")
    noisy, clean = waves
    for x, y in ((32_768 * noisy, clean), (noisy, 32_768 * clean)):
        for dtype in ("int16", "float32"):
            with pytest.raises(ValueError, match=r"expected float samples in \[-1, 1\].*32,768 for 16 bits"):
                model.fit(x.astype(dtype) if x is not noisy else x, y.astype(dtype) if y is not clean else y, verbose=0)
    with pytest.raises(ValueError, match="expected float samples"):
        model.denoise((32_768 * noisy).astype("int16"))
    with pytest.raises(ValueError, match="each of the 96 rows of x"):
        model.fit(noisy, clean[:-1], verbose=0)
    with pytest.raises(ValueError, match="multiple of 4 samples, received 63"):
        model.fit(noisy[:, :63], clean[:, :63], verbose=0)
    spectra = build(spectral_weight=1.0)
    spectra.compile("adam")
    with pytest.raises(ValueError, match="expected 1024 samples or more"):
        spectra.fit(noisy, clean, verbose=0)
    broken = noisy.copy()
    broken[3, 5] = np.nan
    with pytest.raises(ValueError, match="NaN"):
        model.fit(broken, clean, verbose=0)
    with pytest.raises(ValueError, match="NaN"):
        model.denoise(broken)
