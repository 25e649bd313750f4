"""Windows of speech: SNR of mixtures, each augmentation, seeds, splits, pairs, and the embedded recordings."""

import doctest
import shutil

import numpy as np
import pytest
import soundfile
import tensorflow as tf

from keras_ae.datasets import arrays, audio, speech

RATE = 16000
WINDOW = 4096
OFF = dict.fromkeys(speech.AUGMENTATION, 0) | {"speed": (1, 1)}


def write(folder, sounds, rate=RATE):
    folder.mkdir(parents=True, exist_ok=True)
    for name, x in sounds.items():
        soundfile.write(folder / name, x, rate, subtype="FLOAT" if name.endswith(".wav") else None)
    return folder


def noise_like(seed, samples=3 * RATE, level=0.1):
    return np.float32(level * np.random.default_rng(seed).standard_normal(samples))


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Three files of speech and two of noise, one of them shorter than a window; all white, of RMS 0.1 and 0.05."""
    root = tmp_path_factory.mktemp("speech")
    clean = write(root / "clean", {f"{i}.wav": noise_like(i) for i in range(3)})
    noise = write(root / "noise", {"a.wav": noise_like(10, level=0.05), "b.wav": noise_like(11, 1000, 0.05)})
    return clean, noise


def draw(folders, batches=4, batch_size=32, window=WINDOW, augmentation=None, **arguments):
    """Rows (noisy, clean), float64, of one epoch."""
    rows = arrays(
        speech.mixtures(*folders, window, batch_size, batches=batches, augmentation=augmentation, **arguments)
    )
    return tuple(column.astype(np.float64) for column in rows)


def decibels(ratio):
    return 10 * np.log10(ratio)


def snr(noisy, clean):
    return decibels((clean**2).sum(axis=-1) / ((noisy - clean) ** 2).sum(axis=-1))


def spectrum(x):
    """Mean power of rows by frequency, and the frequencies."""
    return (np.abs(np.fft.rfft(x * np.hanning(x.shape[-1]))) ** 2).mean(axis=0), np.fft.rfftfreq(x.shape[-1], 1 / RATE)


def share_of_energy(x, low, high):
    power, f = spectrum(x)
    return power[(f >= low) & (f < high)].sum() / power.sum()


def test_docstring_examples_run():
    result = doctest.testmod(speech)
    assert result.attempted >= 5 and result.failed == 0


# The ratio of the energies.


@pytest.mark.parametrize("asked", [-20.0, 0.0, 13.5, 40.0])
def test_mix_has_the_ratio_asked_for(asked):
    s, n = noise_like(0), noise_like(1, level=0.003)
    s[: 2 * RATE] = 0  # Pauses count.
    x = speech.mix(s, n, asked)
    assert x.dtype == np.float32
    assert abs(snr(x.astype(np.float64), s.astype(np.float64)) - asked) < 1e-3
    gain = np.dot(x - s, n) / np.dot(n, n)
    np.testing.assert_allclose(x, s + gain * n, atol=1e-6)


def test_mix_of_silence_raises():
    s = noise_like(0, 100)
    for pair, message in (
        ((s, 0 * s), "noise: expected sound, received silence"),
        ((0 * s, s), "speech: expected sound, received silence"),
        ((s, s[:50]), "equal shape"),
    ):
        with pytest.raises(ValueError, match=message):
            speech.mix(*pair, 5)


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -1000])
def test_mix_refuses_ratios_and_samples_that_are_not_numbers(folders, bad):
    s = noise_like(0, 100)
    with pytest.raises(ValueError, match="`snr` must be from -200 to 200 dB, received"):
        speech.mix(s, s, bad)
    with pytest.raises(ValueError, match=r"`snr` must be .* from -200 to 200"):
        speech.mixtures(*folders, window=100, batch_size=1, snr=(bad, bad))
    with pytest.raises(ValueError, match="noise: expected finite samples"):
        speech.mix(s, s * np.float32(np.nan), 0)


@pytest.mark.parametrize("asked", [-5, 2.5, 20])
def test_plain_mixtures_have_the_ratio_and_the_level_asked_for(folders, asked):
    noisy, clean = draw(folders, snr=(asked, asked), level=(-30, -30))
    # 1e-3 dB: the accuracy of 128 sums in float32.
    np.testing.assert_allclose(snr(noisy, clean), asked, atol=1e-3)
    np.testing.assert_allclose(decibels((noisy**2).mean(axis=1)), -30, atol=1e-3)


def test_ratios_and_levels_are_uniform(folders):
    noisy, clean = draw(folders, batches=8, snr=(-5, 20), level=(-40, -25))
    for values, low, high in ((snr(noisy, clean), -5, 20), (decibels((noisy**2).mean(axis=1)), -40, -25)):
        assert low <= values.min() + 1e-3 and values.max() - 1e-3 <= high
        # 256 draws: the mean has the standard error (high - low) / sqrt(12 * 256) = 0.018 (high - low).
        assert abs(values.mean() - (low + high) / 2) < 4 * 0.018 * (high - low)
        assert abs(values.std() / ((high - low) / np.sqrt(12)) - 1) < 0.15


def test_loud_mixtures_stay_within_full_scale_and_keep_the_ratio(folders):
    noisy, clean = draw(folders, snr=(0, 0), level=(0, 0))
    assert np.abs(noisy).max() <= 1 and np.abs(clean).max() <= 1
    np.testing.assert_allclose(np.abs(noisy).max(axis=1), 1, atol=1e-6)
    np.testing.assert_allclose(snr(noisy, clean), 0, atol=1e-3)


def test_plain_windows_are_crops_of_the_files(folders):
    files = np.concatenate([audio.read(path)[0][:, 0] for path in audio.files(folders[0])])
    _, clean = draw(folders, batches=1, batch_size=8)
    for row in clean:
        # The correlation peaks at the position of the crop, which is the file times a gain.
        at = np.argmax(np.abs(np.correlate(files, row[:512], "valid")))
        crop = files[at : at + WINDOW]
        np.testing.assert_allclose(row, crop * np.dot(row, crop) / np.dot(crop, crop), atol=1e-6)
    assert len({row[0] for row in clean}) == 8


def test_short_speech_has_silence_around_it_and_short_noise_is_looped(tmp_path):
    folders = (
        write(tmp_path / "clean", {"x.wav": noise_like(0, 1500)}),
        write(tmp_path / "noise", {"n.wav": noise_like(1, 1000)}),
    )
    noisy, clean = draw(folders, snr=(0, 0))
    assert (np.count_nonzero(clean, axis=1) == 1500).all()
    starts = np.argmax(clean != 0, axis=1)
    assert starts.min() < 400 and starts.max() > WINDOW - 1500 - 400
    noise = noisy - clean
    np.testing.assert_allclose(noise[:, 1000:], noise[:, :-1000], atol=1e-6)


def test_silent_crops_are_drawn_anew(tmp_path):
    half = np.concatenate([noise_like(0), np.zeros(3 * RATE, np.float32)])
    folders = write(tmp_path / "clean", {"x.wav": half}), write(tmp_path / "noise", {"n.wav": half})
    noisy, clean = draw(folders)
    assert np.isfinite(snr(noisy, clean)).all()
    write(tmp_path / "clean", {"x.wav": 1e-3 * half})
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"x\.wav', which is silent there: below -50 dBFS"):
        draw(folders)


# Augmentations, one at a time.


def test_clean_and_noise_shares(folders):
    noisy, clean = draw(folders, batches=16, augmentation=OFF | {"clean": 0.2, "noise": 0.1})
    is_clean, is_noise = (noisy == clean).all(axis=1), (clean == 0).all(axis=1)
    # 512 windows: standard errors of 0.018 and 0.013.
    assert abs(is_clean.mean() - 0.2) < 0.06 and abs(is_noise.mean() - 0.1) < 0.045
    assert not (is_clean & is_noise).any() and np.abs(noisy).max(axis=1).min() > 0
    level = decibels((noisy[is_noise] ** 2).mean(axis=1))
    assert level.min() > -40.01 and level.max() < -9.99


@pytest.mark.parametrize("speed", [0.85, 1.15])
def test_speed_changes_pitch(tmp_path, speed):
    t = np.arange(3 * RATE) / RATE
    folders = (
        write(tmp_path / "clean", {"x.wav": 0.3 * np.sin(2 * np.pi * 1000 * t)}),
        write(tmp_path / "noise", {"n.wav": 0.3 * np.sin(2 * np.pi * 3000 * t)}),
    )
    noisy, clean = draw(folders, batches=1, augmentation=OFF | {"speed": (speed, speed)}, snr=(0, 0))
    for x, hertz in ((clean, 1000), (noisy - clean, 3000)):
        power, f = spectrum(x)
        assert abs(f[power.argmax()] - hertz * speed) < RATE / WINDOW
    np.testing.assert_allclose(snr(noisy, clean), 0, atol=1e-3)


def test_other_rates_and_channels_are_the_same_sound(tmp_path):
    t = np.arange(3 * 44100) / 44100
    x = 0.3 * np.sin(2 * np.pi * 1000 * t)[:, None] * [1.5, 0.5]
    folders = write(tmp_path / "clean", {"x.flac": x}, 44100), write(tmp_path / "noise", {"n.wav": noise_like(0)})
    _, clean = draw(folders, batches=1, level=(-30, -30))
    power, f = spectrum(clean)
    assert abs(f[power.argmax()] - 1000) < RATE / WINDOW and share_of_energy(clean, 980, 1020) > 0.999


def test_tilt_filters_speech_and_noise_apart(folders):
    noisy, clean = draw(folders, augmentation=OFF | {"tilt": 8.0}, snr=(3, 3))
    np.testing.assert_allclose(snr(noisy, clean), 3, atol=1e-3)
    # The files are white; two shelves of 8 dB change low against high by 16 dB at most.
    tilts = []
    for x in (clean, noisy - clean):
        low, high = (np.array([share_of_energy(row[None], *band) for row in x]) for band in ((50, 250), (5500, 7500)))
        tilts.append(decibels(low / high) + 10)
        assert np.abs(tilts[-1]).max() < 16 + 3 and tilts[-1].std() > 2
    assert abs(np.corrcoef(tilts)[0, 1]) < 0.4  # 128 windows: a standard error of 0.09.


def test_band_limits_input_and_target_alike(folders):
    noisy, clean = draw(folders, augmentation=OFF | {"band": 1})
    for x in (clean, noisy - clean):
        assert share_of_energy(x, 0, 30) < 1e-4 and share_of_energy(x, 7800, 8000) < 1e-3
        assert share_of_energy(x, 500, 2900) > 0.3
    noisy, clean = draw(folders, augmentation=OFF | {"band": 0.5})
    limited = np.array([share_of_energy(row[None], 7800, 8001) < 0.01 for row in clean])
    assert 0.3 < limited.mean() < 0.7


def test_coloured_noise_has_slopes_and_needs_no_files(folders):
    noisy, clean = draw((folders[0], None), batches=8)
    noise = noisy - clean
    octaves = [(250, 500), (2000, 4000)]
    # Power f^-slope is f^(1 - slope) per octave: 3 * 3.01 * (1 - slope) dB more three octaves up.
    low, high = (np.array([share_of_energy(row[None], *band) for row in noise]) for band in octaves)
    slopes = 1 - decibels(high / low) / (3 * decibels(2))
    assert -1.2 < slopes.min() < -0.7 and 2.2 < slopes.max() < 2.7 and abs(slopes.mean() - 0.75) < 0.25
    assert len({row[0] for row in noise}) == len(noise)


def test_a_second_noise_is_added(tmp_path):
    t = np.arange(3 * RATE) / RATE
    sines = {f"{hertz}.wav": 0.3 * np.sin(2 * np.pi * hertz * t) for hertz in (1000, 3000)}
    folders = write(tmp_path / "clean", {"x.wav": noise_like(0)}), write(tmp_path / "noise", sines)
    for share, both in ((0, 0), (1, 0.5)):
        noisy, clean = draw(folders, augmentation=OFF | {"second": share})
        ratios = [share_of_energy(row[None], 900, 1100) for row in noisy - clean]
        mixed = np.array([0.05 < ratio < 0.95 for ratio in ratios])
        assert abs(mixed.mean() - both) < 0.2


def test_offset_and_clipping_spoil_the_input_alone(folders):
    plain = draw(folders, snr=(40, 40))
    noisy, clean = draw(folders, snr=(40, 40), augmentation=OFF | {"offset": 1})
    offsets = noisy.mean(axis=1) / noisy.std(axis=1)
    assert 0.35 < np.abs(offsets).max() < 0.6 and np.abs(clean.mean(axis=1) / clean.std(axis=1)).max() < 0.1
    noisy, clean = draw(folders, snr=(40, 40), augmentation=OFF | {"clipping": 1})
    at_peak = [(np.abs(row) == np.abs(row).max()).sum() for row in noisy]
    assert np.mean(at_peak) > 20
    height = np.abs(noisy).max(axis=1) / np.abs(clean).max(axis=1)
    assert 0.28 < height.min() < 0.5 < 0.7 < height.max() < 0.92
    assert all((np.abs(row) == np.abs(row).max()).sum() == 1 for row in np.concatenate([clean, *plain]))


def test_all_augmentations_stay_in_range(folders):
    noisy, clean = draw(folders, batches=8, augmentation=speech.AUGMENTATION)
    for x in (noisy, clean):
        assert np.isfinite(x).all() and np.abs(x).max() <= 1
    assert np.abs(noisy).max(axis=1).min() > 0


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"augmentation": {"reverb": 1}}, "must have keys among .*received .'reverb'"),
        ({"augmentation": {"clean": 2}}, "share from 0 to 1"),
        ({"augmentation": {"clean": 0.6, "noise": 0.6}}, "at most 1"),
        ({"augmentation": {"speed": (0, 1)}}, "must be positive"),
        ({"augmentation": {"speed": (1.2, 1)}}, r"\(minimum, maximum\)"),
        ({"snr": (5, 0)}, r"`snr` must be \(minimum, maximum\)"),
        ({"level": (0, float("nan"))}, r"`level` must be \(minimum, maximum\)"),
        ({"split": "test"}, "`split` must be one of"),
        ({"rate": 0}, "`rate` must be an integer of 8000 to 192000 Hz"),
        ({"window": 0}, "window: expected a whole number"),
        ({"batch_size": 0}, "batch_size: expected a whole number"),
    ],
)
def test_wrong_arguments_raise(folders, arguments, message):
    with pytest.raises(ValueError, match=message):
        speech.mixtures(*folders, **{"window": WINDOW, "batch_size": 2, **arguments})


# Seeds, epochs and splits.


def test_epochs_differ_and_seeds_repeat_them(folders):
    def epochs(seed, **arguments):
        dataset = speech.mixtures(*folders, WINDOW, 4, seed, batches=2, **arguments)
        return [arrays(dataset)[0] for _ in range(3)]

    first, again, other = epochs(1), epochs(1), epochs(2)
    np.testing.assert_array_equal(first, again)
    rows = np.concatenate([*first, *other])
    assert len({row.tobytes() for row in rows}) == len(rows) == 48
    fixed = epochs(1, fixed=True)
    np.testing.assert_array_equal(fixed[0], fixed[2])


def test_batches_of_an_epoch(folders):
    dataset = speech.mixtures(*folders, WINDOW, 4)
    # 9 seconds of speech.
    assert dataset.cardinality() == 9 * RATE // (WINDOW * 4) == len(list(dataset))
    assert [spec.shape.as_list() for spec in dataset.element_spec] == [[4, WINDOW]] * 2
    assert speech.mixtures(*folders, RATE, 64).cardinality() == 1


def test_small_folders_have_both_splits(tmp_path):
    for count in (2, 3):
        for prefix in ("a", "b", "c"):  # for any hashes of the names
            folder = tmp_path / f"{prefix}{count}"
            write(folder, {f"{prefix}{i}.wav": 0.1 * np.ones(RATE) for i in range(count)})
            first, second = (speech.pairs(folder, folder, split) for split in speech.SPLITS)
            assert first and second and len(set(first) | set(second)) == len(first) + len(second) == count
    alone = write(tmp_path / "alone", {"x.wav": 0.1 * np.ones(RATE)})
    with pytest.raises(ValueError, match=r"has one file: expected at least two"):
        speech.pairs(alone, alone, "train")
    assert len(speech.pairs(alone, alone)) == 1


def test_a_pair_that_is_damaged_is_replaced(tmp_path):
    folder = write(tmp_path / "x", {"a.flac": noise_like(0), "b.flac": noise_like(1)})
    pairs = speech.pairs(folder, folder)
    content = (folder / "b.flac").read_bytes()
    (folder / "b.flac").write_bytes(content[: len(content) // 2])
    with pytest.warns(UserWarning, match="Replaced a window that cannot be read"):
        noisy, _ = arrays(speech.windows(pairs, RATE, 8, shuffle=False))
    assert noisy.shape == (6, RATE) and (np.abs(noisy).max(axis=1) > 0).all()


def test_splits_share_no_file(tmp_path):
    names = [f"p226_{i:03}.wav" for i in range(30)]
    held_out = {name for name in names if speech.is_validation(name)}
    assert 0 < len(held_out) < 10
    # Each file is a sine of a different amplitude, so that a window identifies its file.
    t = np.arange(RATE) / RATE
    sines = {name: 0.3 * np.sin(2 * np.pi * (200 + 200 * i) * t) for i, name in enumerate(names)}
    folders = write(tmp_path / "clean", sines), write(tmp_path / "noise", {name: noise_like(0) for name in names})
    seen = {}
    for split in (None, *speech.SPLITS):
        _, clean = draw(folders, batches=8, split=split)
        hertz = [spectrum(row[None])[0].argmax() * RATE / WINDOW for row in clean]
        seen[split] = {names[round((each - 200) / 200)] for each in hertz}
        assert all((name in held_out) == (split == "validation") for name in seen[split]) or split is None
    assert seen["validation"] == held_out and seen[None] == set(names)
    pairs = [speech.pairs(folders[0], folders[0], split) for split in speech.SPLITS]
    assert {clean.name for clean, _ in pairs[1]} == held_out and len(pairs[0]) + len(pairs[1]) == 30
    # Held-out mixtures are the same in every epoch.
    dataset = speech.mixtures(*folders, WINDOW, 4, batches=1, split="validation")
    np.testing.assert_array_equal(arrays(dataset)[0], arrays(dataset)[0])


def test_damaged_files_are_left_out_and_named(folders, tmp_path):
    path = write(tmp_path / "clean", {"x.flac": noise_like(0)}) / "x.flac"
    path.write_bytes(path.read_bytes()[:9000])
    truncated = r"x\.flac' (is (damaged or )?truncated|cannot be read from frame .*It is damaged or truncated)"
    with pytest.raises(tf.errors.InvalidArgumentError, match=truncated):
        draw((path.parent, folders[1]))
    (path.parent / "y.wav").write_bytes(b"no sound")
    path.unlink()
    with pytest.raises(ValueError, match=r"None of the 1 files of .* can be read: .*y\.wav' must be a WAV"):
        draw((path.parent, folders[1]))
    # If there are good files, bad ones are skipped.
    shutil.copytree(folders[0], path.parent, dirs_exist_ok=True)
    whole = next(each for each in path.parent.iterdir() if each.suffix == ".wav" and each.name != "y.wav")
    path.with_name("z.flac").write_bytes(b"fLaC")
    with pytest.warns(UserWarning, match="Skipped 2 files that cannot be read"):
        noisy, _ = draw((path.parent, folders[1]))
    assert np.isfinite(noisy).all() and whole.exists()


def test_a_training_that_goes_on_sees_the_epochs_that_follow(folders):
    options = {"batches": 2, "seed": 3}
    dataset = speech.mixtures(*folders, WINDOW, 4, **options)
    epochs = [arrays(dataset)[0] for _ in range(3)]
    later = speech.mixtures(*folders, WINDOW, 4, **options, first_epoch=2)
    np.testing.assert_array_equal(arrays(later)[0], epochs[2])
    assert np.abs(epochs[0] - epochs[2]).max() > 0


# Pairs.


@pytest.fixture
def paired(tmp_path):
    """Pairs of 0.3, 1 and 1.1 windows; the noisy part is -1.5 times the clean one."""
    lengths = {"a/x.wav": 1229, "b.wav": WINDOW, "c.wav": 4506}
    (tmp_path / "clean/a").mkdir(parents=True), (tmp_path / "noisy/a").mkdir(parents=True)
    sounds = {name: noise_like(i, length) for i, (name, length) in enumerate(lengths.items())}
    write(tmp_path / "clean", sounds)
    write(tmp_path / "noisy", {name: -1.5 * x for name, x in sounds.items()})
    return tmp_path / "clean", tmp_path / "noisy", sounds


def test_windows_cover_pairs_in_order(paired):
    clean_dir, noisy_dir, sounds = paired
    pairs = speech.pairs(clean_dir, noisy_dir)
    assert [clean.relative_to(clean_dir).as_posix() for clean, _ in pairs] == list(sounds)
    dataset = speech.windows(pairs, WINDOW, 3, shuffle=False)
    assert dataset.cardinality() == 2
    noisy, clean = arrays(dataset)
    a, b, c = sounds.values()
    expected = [np.pad(a, (0, WINDOW - len(a))), b, c[:WINDOW], c[-WINDOW:]]
    np.testing.assert_allclose(clean, expected, atol=1e-7)
    np.testing.assert_allclose(noisy, -1.5 * clean, atol=1e-6)
    _, clean = arrays(speech.windows(pairs, 1000, 64, hop=500, shuffle=False))
    starts = [(a, at) for at in (0, 229)] + [(b, at) for at in (*range(0, 3001, 500), 3096)]
    starts += [(c, at) for at in (*range(0, 3501, 500), 3506)]
    np.testing.assert_allclose(clean, [x[at : at + 1000] for x, at in starts], atol=1e-7)


def test_windows_are_shuffled_anew_and_by_the_seed(paired):
    pairs = speech.pairs(*paired[:2])
    dataset, again = (speech.windows(pairs, 256, 8, seed=3) for _ in range(2))
    first, second = arrays(dataset), arrays(dataset)
    assert not np.array_equal(first[0], second[0])
    np.testing.assert_array_equal(np.sort(first[0], axis=0), np.sort(second[0], axis=0))
    np.testing.assert_array_equal(first[0], arrays(again)[0])
    np.testing.assert_allclose(first[0], -1.5 * first[1], atol=1e-6)


def test_windows_of_another_rate_are_the_resampled_file(tmp_path):
    x = 0.3 * np.sin(2 * np.pi * 500 * np.arange(48000) / 48000)
    for part in ("clean", "noisy"):
        write(tmp_path / part, {"x.wav": x}, 48000)
    pairs = speech.pairs(tmp_path / "clean", tmp_path / "noisy")
    noisy, clean = arrays(speech.windows(pairs, 4000, 8, shuffle=False))
    whole, _ = audio.read(tmp_path / "clean/x.wav", rate=RATE)
    # Within the file; at its ends, the margins are zeros anyway.
    np.testing.assert_allclose(clean.ravel(), whole[:, 0], atol=2e-3)
    np.testing.assert_array_equal(noisy, clean)


def test_wrong_pairs_raise(paired):
    clean_dir, noisy_dir, _ = paired
    write(clean_dir, {"d.wav": noise_like(0, 100)})
    with pytest.raises(ValueError, match=r"noisy' lacks the noisy counterpart of 1, such as d\.wav"):
        speech.pairs(clean_dir, noisy_dir)
    write(noisy_dir, {"d.wav": noise_like(0, 99)})
    with pytest.raises(ValueError, match=r"clean/d\.wav' has 100 frames at 16000 Hz, .*noisy/d\.wav' 99 at 16000 Hz"):
        speech.pairs(clean_dir, noisy_dir)
    with pytest.raises(ValueError, match=r"d\.wav' 99 at 16000 Hz"):
        speech.windows([(clean_dir / "d.wav", noisy_dir / "d.wav")], WINDOW, 4)
    (clean_dir / "d.wav").unlink()
    with pytest.raises(ValueError, match=r"clean' lacks the clean counterpart of 1, such as d\.wav"):
        speech.pairs(clean_dir, noisy_dir)
    with pytest.raises(ValueError, match="at least one pair"):
        speech.windows([], WINDOW, 4)
    with pytest.raises(ValueError, match="hop: expected"):
        speech.windows([(clean_dir / "b.wav", noisy_dir / "b.wav")], WINDOW, 4, hop=0)


# Embedded.


def test_embedded_sounds_are_small_and_of_both_splits():
    size = 0
    for folder in speech.embedded():
        paths = audio.files(folder)
        size += sum(path.stat().st_size for path in paths)
        assert {speech.is_validation(path.name) for path in paths} == {True, False}
        for path in paths:
            x, rate = audio.read(path)
            assert rate == RATE and x.shape[1] == 1 and 2 < len(x) / rate < 4 and 0.6 < np.abs(x).max() < 0.8
    assert size < 500_000


def test_a_model_trains_on_mixtures():
    import keras

    model = keras.Sequential([keras.Input((1024,)), keras.layers.Dense(1024)])
    model.compile("sgd", "mse")
    train, held_out = (speech.mixtures(*speech.embedded(), 1024, 8, batches=2, split=split) for split in speech.SPLITS)
    history = model.fit(train, validation_data=held_out, epochs=2, verbose=0, shuffle=False).history
    assert len(history["val_loss"]) == 2 and np.isfinite(history["loss"]).all()
