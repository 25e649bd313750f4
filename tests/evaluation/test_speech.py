import os
import sys
from pathlib import Path

import numpy as np
import pytest
from scipy.linalg import solve_toeplitz, toeplitz
from scipy.signal import lfilter

from keras_ae.evaluation import speech

DATA = Path(os.environ.get("KERAS_AE_DATA") or Path(__file__).parents[3] / "shared" / "data") / "speech"
RATE = 16_000
MEASURES = [speech.pesq_wb, speech.pesq_nb, speech.stoi, speech.si_sdr, speech.segmental_snr]


def voice(seconds=2.0, rate=RATE):
    """Syllables in faint noise: harmonics of a gliding voice, shaped by two resonances, four times a second."""
    t = np.arange(round(seconds * rate)) / rate
    phase = 2 * np.pi * (120 * t + 10 * np.sin(2 * np.pi * 0.7 * t))
    pulses = sum(np.sin(k * phase) for k in range(1, 30))
    for frequency, radius in ((600, 0.97), (1900, 0.96)):
        pulses = lfilter([1], [1, -2 * radius * np.cos(2 * np.pi * frequency / rate), radius**2], pulses)
    loudness = np.maximum(np.sin(2 * np.pi * 4 * t), 0.0) ** 0.5
    breath = 1e-3 * np.random.default_rng(1).normal(size=len(t))
    return 0.3 * loudness * pulses / np.abs(pulses).max() + breath


def with_noise(signal, rng, level):
    return signal + level * rng.normal(size=len(signal))


def _frames(signal):
    window = 0.5 * (1 - np.cos(2 * np.pi * np.arange(1, 481) / 481))
    return [window * signal[start : start + 480] for start in range(0, len(signal) - 599, 120)]


def _llr_by_frames(clean, processed):
    """By definition, without the white noise at -120 dB."""
    ratios = []
    for frames in zip(_frames(clean), _frames(processed), strict=True):
        r = [[frame[: 480 - lag] @ frame[lag:] for lag in range(17)] for frame in frames]
        a_s, a_x = (np.r_[1.0, solve_toeplitz(each[:16], -np.array(each[1:]))] for each in r)
        ratios.append(np.log((a_x @ toeplitz(r[0]) @ a_x) / (a_s @ toeplitz(r[0]) @ a_s)))
    return np.mean(sorted(ratios)[: round(0.95 * len(ratios))])


def _wss_by_frames(clean, processed):
    """Band by band with the searches for peaks written out, as in Loizou's composite.m."""
    bins = np.arange(512)
    distances = []
    for frames in zip(_frames(clean), _frames(processed), strict=True):
        slopes, weights = [], []
        for frame in frames:
            power = np.abs(np.fft.fft(frame, 1024)[:512]) ** 2
            energy = []
            for centre, width in zip(speech._CENTRES, speech._WIDTHS, strict=True):
                centre, bandwidth = np.floor(centre / 8000 * 512), width / 8000 * 512
                weight = np.exp(-11 * ((bins - centre) / bandwidth) ** 2 + np.log(70) - np.log(width))
                weight[weight <= np.exp(-30 / (2 * 2.303))] = 0
                energy.append(10 * np.log10(max(weight @ power, 1e-10)))
            slope = np.diff(energy)
            peaks = []
            for band in range(24):
                n = band
                if slope[band] > 0:
                    while n < 24 and slope[n] > 0:
                        n += 1
                    peaks.append(energy[n - 1])
                else:
                    while n >= 0 and slope[n] <= 0:
                        n -= 1
                    peaks.append(energy[n + 1])
            slopes.append(slope)
            below, under = max(energy) - np.array(energy[:24]), np.array(peaks) - energy[:24]
            weights.append(20 / (20 + below) / (1 + under))
        weight = sum(weights) / 2
        distances.append(np.sum(weight * (slopes[0] - slopes[1]) ** 2) / np.sum(weight))
    return np.mean(sorted(distances)[: round(0.95 * len(distances))])


@pytest.mark.parametrize("level", [0.01, 0.5, 1.0, 30.0])
def test_si_sdr_of_orthogonal_noise_is_the_ratio_of_powers(level):
    t = 2 * np.pi * np.arange(1600) / 1600
    clean, noise = np.sin(5 * t), np.cos(9 * t)
    for gain, offset in ((1.0, 0.0), (0.01, 0.0), (-3.0, 0.7)):  # scale, sign and offset do not matter
        processed = gain * (clean + level * noise) + offset
        assert speech.si_sdr(clean - offset, processed) == pytest.approx(-20 * np.log10(level), abs=1e-9)


def test_si_sdr_projects_what_is_not_orthogonal(rng):
    clean, noise = rng.normal(size=(2, 500))
    s, x = (signal - signal.mean() for signal in (clean, clean + noise))
    cosine = s @ x / np.linalg.norm(s) / np.linalg.norm(x)
    expected = -10 * np.log10(1 / cosine**2 - 1)  # the ratio is the squared cotangent of the angle
    assert speech.si_sdr(clean, clean + noise) == pytest.approx(expected, abs=1e-9)


def test_si_sdr_at_its_ends():
    clean, silence = voice(0.1), np.zeros(1600)
    assert speech.si_sdr(clean, clean) == speech.si_sdr(clean, -0.3 * clean) == 120.0
    assert speech.si_sdr(clean, 1e-170 * clean) == speech.si_sdr(1e-170 * clean, clean) == 120.0
    assert speech.si_sdr(clean, silence) == speech.si_sdr(clean, silence + 0.1) == -120.0
    assert np.isnan(speech.si_sdr(silence, clean)) and np.isnan(speech.si_sdr(silence, silence))


@pytest.mark.parametrize("ratio, expected", [(20.0, 20.0), (-3.0, -3.0), (60.0, 35.0), (-40.0, -10.0)])
def test_segmental_snr_of_noise_of_known_ratio_in_every_frame(rng, ratio, expected):
    clean = rng.normal(size=4800) * np.linspace(0.01, 1.0, 4800)
    processed = clean * (1 + 10 ** (-ratio / 20))
    assert speech.segmental_snr(clean, processed) == pytest.approx(expected, abs=1e-9)


def test_segmental_snr_is_the_mean_of_bounded_frames(rng):
    clean, processed = voice(0.5), with_noise(voice(0.5), rng, 0.01)
    ratios = [
        10 * np.log10(np.sum(s**2) / np.sum((s - x) ** 2))
        for s, x in zip(_frames(clean), _frames(processed), strict=True)
    ]
    assert min(ratios) < -10 and max(ratios) > 15
    assert speech.segmental_snr(clean, processed) == pytest.approx(np.clip(ratios, -10, 35).mean(), abs=1e-9)


def test_segmental_snr_of_silent_frames():
    clean = np.r_[np.zeros(4800), voice(0.3)]
    assert speech.segmental_snr(clean, clean) == 35.0
    hum = np.r_[np.full(4800, 1e-9), np.zeros(4800)]
    frames = np.array([np.ptp(frame) for frame in _frames(clean)])
    heard = np.array([np.any(frame) for frame in _frames(hum)])
    expected = np.where(heard & (frames == 0), -10.0, 35.0).mean()  # noise at -180 dB has no effect in loud frames
    assert speech.segmental_snr(clean, clean + hum) == pytest.approx(expected)


def test_llr_and_wss_are_zero_for_the_same_sound_at_any_level():
    clean = voice(0.5)
    assert speech.llr(clean, clean) == 0.0 and speech.wss(clean, clean) == 0.0
    assert speech.llr(clean, -0.3 * clean) == pytest.approx(0.0, abs=1e-9)
    assert speech.wss(clean, -0.3 * clean) == pytest.approx(0.0, abs=1e-9)


def test_llr_and_wss_are_those_of_their_definitions(rng):
    clean = voice(0.4)
    for processed in (with_noise(clean, rng, 0.02), lfilter([1, -0.9], [1], clean), lfilter([0.1], [1, -0.9], clean)):
        # The white noise at -120 dB that llr adds changes it.
        assert speech.llr(clean, processed) == pytest.approx(_llr_by_frames(clean, processed), rel=1e-6)
        assert speech.wss(clean, processed) == pytest.approx(_wss_by_frames(clean, processed), rel=1e-9)


def test_llr_of_white_noise_heard_as_coloured_noise(rng):
    # An infinite frame of white noise has a_s = 1, and a_x = (1, -0.5): log(1 + 0.25). Frames of 480 are less certain.
    clean = rng.normal(size=10 * RATE)
    own = speech.llr(clean, rng.normal(size=10 * RATE))
    assert speech.llr(clean, lfilter([1], [1, -0.5], clean)) == pytest.approx(np.log(1.25), abs=own)
    assert 0 < own < 0.15


def test_frames_of_digital_silence_have_finite_distances(rng):
    clean = np.r_[np.zeros(4800), voice(0.3)]
    noisy = with_noise(clean, rng, 0.01)
    for pair in ((clean, noisy), (noisy, clean), (noisy, np.zeros(9600)), (clean, 1e-200 * clean)):
        assert 0 <= speech.llr(*pair) < 20 and 0 <= speech.wss(*pair) < 1000


def test_regressions_of_the_composite():
    np.testing.assert_allclose(speech.composite_of(2.0, 1.0, 50.0, 2.0), [2.820, 2.366, 2.342], atol=1e-12)
    # The example that comes with Loizou's composite.m, to the digits that it prints.
    published = speech.composite_of(pesq=2.255732, llr=0.681368, wss=49.671978, ssnr=3.991727)
    np.testing.assert_allclose(published, [3.3050, 2.6160, 2.7133], atol=5e-5)
    assert speech.composite_of(4.6, 0.0, 0.0, 35.0) == (5.0, 5.0, 5.0)
    assert speech.composite_of(1.0, 3.0, 200.0, -10.0) == (1.0, 1.0, 1.0)
    assert np.isnan(speech.composite_of(np.nan, 1.0, 50.0, 2.0)).all()


def test_composite_and_measures_agree_with_their_parts(rng):
    clean = voice()
    noisy = with_noise(clean, rng, 0.01)
    parts = [measure(clean, noisy) for measure in (speech.pesq_wb, speech.llr, speech.wss, speech.segmental_snr)]
    ratings = speech.composite(clean, noisy)
    assert ratings == speech.composite_of(*parts) and all(1 < rating < 5 for rating in ratings)
    found = speech.measures(clean, noisy, RATE)
    assert list(found) == ["pesq_wb", "pesq_nb", "stoi", "si_sdr", "ssnr", "csig", "cbak", "covl"]
    assert (found["csig"], found["cbak"], found["covl"]) == ratings
    assert [found[key] for key in ("pesq_wb", "pesq_nb", "stoi", "si_sdr", "ssnr")] == [
        measure(clean, noisy) for measure in MEASURES
    ]
    assert all(type(value) is float for value in found.values())


def test_the_same_signal_has_the_best_scores():
    found = speech.measures(voice(), voice(), RATE)
    assert found["pesq_wb"] == pytest.approx(4.644, abs=1e-3) and found["pesq_nb"] == pytest.approx(4.549, abs=1e-3)
    assert found["stoi"] == pytest.approx(1.0, abs=1e-6)
    assert found["si_sdr"] == 120.0 and found["ssnr"] == 35.0
    assert found["csig"] == found["cbak"] == found["covl"] == 5.0


def test_more_noise_lowers_every_measure(rng):
    clean, noise = voice(), rng.normal(size=2 * RATE)
    found = [speech.measures(clean, clean + level * noise, RATE) for level in (0.003, 0.01, 0.03)]
    for key in found[0]:
        values = [each[key] for each in found]
        assert values == sorted(values, reverse=True) and len(set(values)) == 3, key


def test_float32_is_measured_as_float64_is(rng):
    clean, noisy = (signal.astype("float32") for signal in (voice(), with_noise(voice(), rng, 0.01)))
    wide = speech.measures(clean.astype("float64"), noisy.astype("float64"), RATE)
    assert speech.measures(clean, noisy, RATE) == wide


def test_speech_of_which_nothing_is_left_has_the_least_score(rng):
    clean = voice()
    least = speech.measures(clean, np.zeros(2 * RATE), RATE)
    assert (least["pesq_wb"], least["pesq_nb"]) == pytest.approx((1.043, 1.017), abs=1e-3)
    assert least == speech.measures(clean, 1e-60 * with_noise(clean, rng, 0.01), RATE) | {
        key: least[key] for key in ("stoi", "si_sdr", "ssnr", "cbak")
    }
    long = np.tile(clean, 20)  # two parts
    half = np.r_[long[: 20 * RATE], np.zeros(20 * RATE)]
    assert speech.pesq_wb(long, half) == pytest.approx((speech.pesq_wb(clean, clean) + least["pesq_wb"]) / 2, abs=0.01)


def test_what_pesq_refuses_is_nan_and_the_rest_is_not(rng):
    pesqs = {"pesq_wb", "pesq_nb", "csig", "cbak", "covl"}

    def nans(clean, processed):
        return {key for key, value in speech.measures(clean, processed, RATE).items() if np.isnan(value)}

    clean, silence = voice(), np.zeros(2 * RATE)
    everything = set(speech.measures(clean, clean, RATE))
    assert nans(clean, silence) == set()
    assert nans(silence, clean) == nans(silence, silence) == everything
    short = clean[:3000]
    assert nans(short, with_noise(short, rng, 0.01)) == pesqs | {"stoi"}
    assert nans(short[:599], with_noise(short[:599], rng, 0.01)) == everything - {"si_sdr"}


@pytest.mark.filterwarnings("error")
def test_stoi_of_too_little_speech_is_nan():
    burst = np.r_[voice(0.3), np.zeros(RATE)]  # pystoi drops silence
    assert np.isnan(speech.stoi(burst, burst))
    for samples in (1, 100, speech._STOI_LEAST - 1, speech._STOI_LEAST):
        assert np.isnan(speech.stoi(voice()[:samples], voice()[:samples]))


def test_pesq_of_more_utterances_than_it_has_memory_for(rng):
    # Bursts and pauses just long enough to count as utterances: 50 in 20 s would be the most, over 50 end the process.
    t = np.arange(45 * RATE)
    clean = np.where(t // 3400 % 2 == 0, 0.3 * np.sin(0.2 * t), 0.0)
    noisy = with_noise(clean, rng, 1e-3)
    parts = [speech.pesq_wb(*pair) for pair in zip(np.split(clean, 3), np.split(noisy, 3), strict=True)]
    assert speech.pesq_wb(clean, noisy) == pytest.approx(np.mean(parts))
    clean[: 15 * RATE] = 0.0  # a part without utterances has no score
    assert speech.pesq_wb(clean, noisy) == pytest.approx(np.mean(parts[1:]))


@pytest.mark.parametrize("measure", [*MEASURES, speech.llr, speech.wss, speech.composite])
def test_what_is_no_pair_of_signals_is_refused(measure):
    good, gap = voice(1.0), voice(1.0)
    gap[7] = np.nan
    for clean, processed, message in (
        (good, good[:-1], "clean has 16000 samples, processed 15999"),
        (gap, good, "clean contains NaN"),
        (good, gap, "processed contains NaN"),
        (good[:, None], good, r"clean: expected floats \(T,\).* received float64 of shape \(16000, 1\)"),
        (good, (32767 * good).astype("int16"), "received int16"),
        (good[:0], good[:0], "T > 0"),
    ):
        with pytest.raises(ValueError, match=message):
            measure(clean, processed)


def test_other_rates_are_refused():
    with pytest.raises(ValueError, match="expected 16000 Hz, received 8000"):
        speech.measures(voice(rate=8000), voice(rate=8000), 8000)


@pytest.mark.parametrize("measure, package", [(speech.pesq_wb, "pesq"), (speech.stoi, "pystoi")])
def test_a_missing_package_is_named(monkeypatch, measure, package):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ImportError, match=rf'{package}: pip install "keras_ae\[audio\]"'):
        measure(voice(), voice())


@pytest.mark.skipif(
    not (DATA / "noisy_testset_wav").exists(), reason="no speech/noisy_testset_wav in the data; set KERAS_AE_DATA"
)
def test_recorded_speech_in_recorded_noise_has_the_figures_of_record():
    soundfile = pytest.importorskip("soundfile")
    found = []
    for path in sorted((DATA / "clean_testset_wav").glob("*.wav")):
        clean, noisy = soundfile.read(path)[0], soundfile.read(DATA / "noisy_testset_wav" / path.name)[0]
        found.append([speech.pesq_wb(clean, noisy), speech.stoi(clean, noisy), speech.si_sdr(clean, noisy)])
    np.testing.assert_allclose(np.mean(found, axis=0), [1.505, 0.911, 10.8], rtol=0.005)
