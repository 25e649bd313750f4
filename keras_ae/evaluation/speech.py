"""Measures of processed speech relative to a clean reference: quality, intelligibility, and distance.

Signals are float arrays `(T,)` at 16 kHz; the clean and the processed signal have equal length and are aligned in time.
A measure is NaN where it is undefined; invalid arguments raise a `ValueError`.
"""

import contextlib
import warnings

import numpy as np
from numpy.typing import ArrayLike

from keras_ae.utils import extras

RATE = 16_000
# Frames of Hu and Loizou: 30 ms with an overlap of three quarters.
_FRAME, _HOP = 480, 120
# The Hann window of Loizou's `composite.m`, without the zeros at its ends.
_WINDOW = np.hanning(_FRAME + 2)[1:-1]
_FFT = 1024
# Frames above this quantile of LLR and WSS are dropped as outliers.
_KEEP = 0.95
_ORDER = 16
# White noise at -120 dB keeps a frame's autocorrelation matrix positive definite despite rounding.
_WHITE = 1e-12
# Klatt's weights of the spectral slopes, in dB.
_K_MAX, _K_LOC_MAX = 20.0, 1.0
# fmt: off
_CENTRES = np.array([  # Hz
    50, 120, 190, 260, 330, 400, 470, 540, 617.372, 703.378, 798.717, 904.128, 1020.38, 1148.3, 1288.72, 1442.54,
    1610.7, 1794.16, 1993.93, 2211.08, 2446.71, 2701.97, 2978.04, 3276.17, 3597.63,
])
_WIDTHS = np.array([  # Hz
    70, 70, 70, 70, 70, 70, 70, 77.3724, 86.0056, 95.3398, 105.411, 116.256, 127.914, 140.423, 153.823, 168.154,
    183.457, 199.776, 217.153, 235.631, 255.255, 276.072, 298.126, 321.465, 346.136,
])
# fmt: on
# PESQ overruns its buffers if it finds more than 50 utterances. Utterances and pauses both exceed 0.2 s.
_PESQ_SECONDS = 20
# The lowest raw score of P.862, -0.5, mapped by P.862.2 and P.862.1: the score of speech that was removed entirely.
_PESQ_LEAST = {
    "wb": 0.999 + 4 / (1 + np.exp(1.3669 * 0.5 + 3.8224)),
    "nb": 0.999 + 4 / (1 + np.exp(1.4945 * 0.5 + 4.6607)),
}
_SI_SDR_BOUND = 120.0  # dB
_STOI_LEAST = 6349  # samples: 30 frames of 25.6 ms with an overlap of one half


def measures(clean: ArrayLike, processed: ArrayLike, rate: int) -> dict[str, float]:
    """Computes all measures of this module for one processed signal.

    Args:
        clean: floats `(T,)`, usually in [-1, 1].
        processed: floats `(T,)`, in the same unit.
        rate: int, sampling rate in Hz; must be 16,000.

    Returns:
        dict of floats, each higher for better speech: `pesq_wb`, `pesq_nb`, `stoi`, `si_sdr` (dB), `ssnr` (dB), `csig`,
        `cbak`, `covl`. Undefined values are NaN: all measures if the clean signal is silent, PESQ and the three ratings
        based on it if PESQ rejects the signal, and STOI for less than about 0.4 s of speech.

    Raises:
        ValueError: if the rate is not 16,000, or the signals are not finite float arrays `(T,)` of equal length.
        ImportError: without the packages `pesq` and `pystoi`.

    Example: `measures(clean, noisy, 16_000)["si_sdr"]`

    See also: the functions of the single measures, which name their sources.
    """
    if rate != RATE:
        raise ValueError(f"rate: expected {RATE} Hz, received {rate}. Resample both signals, e.g. with soxr.resample.")
    clean, processed = _pair(clean, processed)
    wideband, ssnr = pesq_wb(clean, processed), segmental_snr(clean, processed)
    csig, cbak, covl = composite_of(wideband, llr(clean, processed), wss(clean, processed), ssnr)
    return {
        "pesq_wb": wideband,
        "pesq_nb": pesq_nb(clean, processed),
        "stoi": stoi(clean, processed),
        "si_sdr": si_sdr(clean, processed),
        "ssnr": ssnr,
        "csig": csig,
        "cbak": cbak,
        "covl": covl,
    }


def pesq_wb(clean: ArrayLike, processed: ArrayLike) -> float:
    """Wide-band PESQ (ITU-T P.862.2), perceptual evaluation of speech quality: predicts the ratings of listeners.

    PESQ is designed for signals of up to 20 s. Longer signals are split into equal parts of at most 20 s, each with its
    own level alignment, and the score is the mean over the parts that contain speech. A part whose speech was removed
    entirely scores 1.04.

    Args:
        clean: floats `(T,)` at 16 kHz.
        processed: floats `(T,)`. PESQ aligns levels and delays itself.

    Returns:
        float, MOS-LQO from about 1.02 to 4.64; NaN if PESQ rejects the clean signal: silence, no utterance, or less
        than 1/4 s.

    Raises:
        ValueError: if the signals are not finite float arrays `(T,)` of equal length.
        ImportError: without the package `pesq`.

    Example: `pesq_wb(clean, clean)    # 4.644`

    Source: ITU-T P.862 (2001) and P.862.2 (2007). See also: `pesq_nb`, for telephone speech; `stoi`, intelligibility
    rather than quality.
    """
    return _pesq(clean, processed, "wb")


def pesq_nb(clean: ArrayLike, processed: ArrayLike) -> float:
    """Narrow-band PESQ (ITU-T P.862, mapped by P.862.1), for telephone speech.

    The signals are scored at 16 kHz, which P.862 allows. Noisy speech resampled to 8 kHz scores about 0.1 higher.

    Args:
        clean: floats `(T,)` at 16 kHz.
        processed: floats `(T,)`.

    Returns:
        float, MOS-LQO from about 1.02 to 4.55; NaN and longer signals as in `pesq_wb`.

    Raises:
        ValueError, ImportError: as in `pesq_wb`.

    Example: `pesq_nb(clean, clean)    # 4.549`

    Source: ITU-T P.862 (2001) and P.862.1 (2003). See also: `pesq_wb`, for wide-band speech.
    """
    return _pesq(clean, processed, "nb")


def stoi(clean: ArrayLike, processed: ArrayLike) -> float:
    """Short-time objective intelligibility (Taal et al. 2011): how well the speech can be understood.

    Args:
        clean: floats `(T,)` at 16 kHz.
        processed: floats `(T,)`.

    Returns:
        float, at most 1; NaN if the clean signal is silent, or if fewer than 30 frames (0.4 s) are within 40 dB of the
        loudest.

    Raises:
        ValueError: as in `pesq_wb`.
        ImportError: without the package `pystoi`.

    Example: `stoi(clean, clean)    # 1.0`

    Source: Taal 2011. See also: `pesq_wb`, quality rather than intelligibility.
    """
    clean, processed = _pair(clean, processed)
    pystoi = extras.library("pystoi", __name__)
    if _silent(clean) or len(clean) < _STOI_LEAST:
        return np.nan
    with warnings.catch_warnings():
        # pystoi warns and returns 1e-5, which would enter an average as unintelligible speech.
        warnings.filterwarnings("error", "Not enough STFT frames", RuntimeWarning)
        try:
            return float(pystoi.stoi(clean, processed, RATE))
        except RuntimeWarning:
            return np.nan


def si_sdr(clean: ArrayLike, processed: ArrayLike) -> float:
    """Scale-invariant signal-to-distortion ratio (Le Roux et al. 2019), dB.

        s = clean - mean(clean),    x = processed - mean(processed),    a = <x, s> / <s, s>
        clip(10 log10(|a s|^2 / |x - a s|^2), -120, 120)

    The means are subtracted first because an offset is inaudible. The bounds (an amplitude ratio of a million) are our
    own choice: without them, a single noise-free recording would make the mean over a test set infinite.

    Args:
        clean: floats `(T,)`.
        processed: floats `(T,)`.

    Returns:
        float; 120 if processed is a multiple of clean, -120 if it is silent or orthogonal to clean, NaN if clean is
        silent. A constant signal counts as silent.

    Raises:
        ValueError: as in `pesq_wb`.

    Example: `si_sdr(clean, noisy)`

    Source: Le Roux 2019. See also: `segmental_snr`, which is not scale-invariant and is a mean over frames.
    """
    clean, processed = _pair(clean, processed)
    if _silent(clean):
        return np.nan
    if _silent(processed):
        return -_SI_SDR_BOUND
    # Normalise by the peak: the squares of very faint signals would underflow to 0.
    s, x = (each / np.abs(each).max() for each in (clean - clean.mean(), processed - processed.mean()))
    target = np.dot(x, s) / np.dot(s, s) * s
    error = x - target
    with np.errstate(divide="ignore"):
        ratio = 10 * (np.log10(np.dot(target, target)) - np.log10(np.dot(error, error)))
    return float(np.clip(ratio, -_SI_SDR_BOUND, _SI_SDR_BOUND))


def segmental_snr(clean: ArrayLike, processed: ArrayLike) -> float:
    """Segmental signal-to-noise ratio (Hu and Loizou 2008): the mean over frames of the clipped SNR in dB.

        mean_f clip(10 log10(sum_t (w s)^2 / sum_t (w (s - x))^2), -10, 35)

    s is the clean frame, x the processed frame, and w a Hann window. A frame without error has 35 dB, even if it is
    silent; Loizou's `composite.m` assigns -10 dB to silent frames.

    Args:
        clean: floats `(T,)` at 16 kHz.
        processed: floats `(T,)`, at the level of clean: this ratio is not scale-invariant.

    Returns:
        float, -10 to 35 dB; NaN if clean is silent or shorter than two frames (600 samples).

    Raises:
        ValueError: as in `pesq_wb`.

    Example: `segmental_snr(clean, noisy)`

    Source: Hu & Loizou 2008. See also: `si_sdr`, one ratio for the whole signal.
    """
    clean, processed = _pair(clean, processed)
    if not _has_frames(clean):
        return np.nan
    signal, noise = (np.sum(np.square(_frames(x)), axis=1) for x in (clean, clean - processed))
    ratio = np.full_like(signal, np.inf)
    with np.errstate(divide="ignore"):
        np.log10(signal / np.where(noise > 0, noise, 1.0), out=ratio, where=noise > 0)
    return float(np.clip(10 * ratio, -10.0, 35.0).mean())


def llr(clean: ArrayLike, processed: ArrayLike) -> float:
    """Log-likelihood ratio of linear predictors (Hu and Loizou 2008): how much the spectral envelope has changed.

        LLR = log(a_x^T R_s a_x / a_s^T R_s a_s)

    R_s is the autocorrelation matrix of the clean frame; a_s and a_x are the 16th-order linear predictors of the clean
    and the processed frame. The mean is over the 95 % of frames with the smallest ratios. A silent frame is treated as
    white noise.

    Args:
        clean: floats `(T,)` at 16 kHz.
        processed: floats `(T,)`.

    Returns:
        float, 0 or more; NaN as in `segmental_snr`.

    Raises:
        ValueError: as in `pesq_wb`.

    Example: `llr(clean, clean)    # 0.0`

    Source: Hu & Loizou 2008. See also: `wss`, which compares spectral slopes instead of envelopes.
    """
    clean, processed = _pair(clean, processed)
    if not _has_frames(clean):
        return np.nan
    (r_s, a_s), (_, a_x) = (_predictor(_frames(x)) for x in (clean, processed))
    moved, own = (np.einsum("fi,fij,fj->f", a, r_s, a) for a in (a_x, a_s))
    return _mean_of_most(np.log(np.maximum(moved / own, 1.0)))  # below 1 only by rounding


def wss(clean: ArrayLike, processed: ArrayLike) -> float:
    """Weighted spectral slope distance (Klatt 1982; Hu and Loizou 2008): how much the formants have shifted.

        WSS = sum_k W[k] (S_s[k] - S_x[k])^2 / sum_k W[k],    S[k] = E[k + 1] - E[k]
        W = (W_s + W_x) / 2,    W_s[k] = 20 / (20 + max(E_s) - E_s[k]) 1 / (1 + peak_s[k] - E_s[k])

    E are the energies in 25 critical bands, in dB, and peak[k] is the energy at the nearest peak uphill from band k.
    The mean is over the 95 % of frames with the smallest distances. As in Loizou's `composite.m`, the peak of a rising
    slope is taken one band below its top.

    Args:
        clean: floats `(T,)` at 16 kHz, in [-1, 1]: energies are clipped from below at -100 dB.
        processed: floats `(T,)`.

    Returns:
        float, 0 or more, dB^2; NaN as in `segmental_snr`.

    Raises:
        ValueError: as in `pesq_wb`.

    Example: `wss(clean, clean)    # 0.0`

    Source: Klatt 1982; Hu & Loizou 2008. See also: `llr`, which compares envelopes instead of spectral slopes.
    """
    clean, processed = _pair(clean, processed)
    if not _has_frames(clean):
        return np.nan
    (slope_s, weight_s), (slope_x, weight_x) = (_slopes(_frames(x)) for x in (clean, processed))
    weight = (weight_s + weight_x) / 2
    distance = np.sum(weight * np.square(slope_s - slope_x), axis=1) / np.sum(weight, axis=1)
    return _mean_of_most(distance)


def composite(clean: ArrayLike, processed: ArrayLike) -> tuple[float, ...]:
    """CSIG, CBAK and COVL (Hu and Loizou 2008): predicted ratings of the speech, the background, and overall quality.

    Applies `composite_of` to the wide-band PESQ, LLR, WSS and segmental SNR of the signals.

    Args:
        clean: floats `(T,)` at 16 kHz, in [-1, 1].
        processed: floats `(T,)`.

    Returns:
        three floats in [1, 5]; NaN if PESQ rejects the signal.

    Raises:
        ValueError, ImportError: as in `pesq_wb`.

    Example: `csig, cbak, covl = composite(clean, noisy)`

    Source: Hu & Loizou 2008. See also: `composite_of`, from measures that are known already.
    """
    pair = _pair(clean, processed)
    return composite_of(*(measure(*pair) for measure in (pesq_wb, llr, wss, segmental_snr)))


def composite_of(pesq: float, llr: float, wss: float, ssnr: float) -> tuple[float, ...]:
    """CSIG, CBAK and COVL from four measures, by the regressions of Hu and Loizou (2008).

        CSIG = 3.093 - 1.029 LLR + 0.603 PESQ - 0.009 WSS
        CBAK = 1.634 + 0.478 PESQ - 0.007 WSS + 0.063 SSNR
        COVL = 1.594 + 0.805 PESQ - 0.512 LLR - 0.007 WSS

    The regressions were fitted to the raw narrow-band PESQ score. Like other work on wide-band speech, we use the
    wide-band MOS-LQO instead.

    Args:
        pesq, llr, wss, ssnr: floats.

    Returns:
        CSIG, CBAK and COVL, floats clipped to [1, 5].

    Example: `composite_of(2.0, 1.0, 50.0, 2.0)    # (2.82, 2.366, 2.342)`

    Source: Hu & Loizou 2008. See also: `composite`, from signals.
    """
    ratings = (
        3.093 - 1.029 * llr + 0.603 * pesq - 0.009 * wss,
        1.634 + 0.478 * pesq - 0.007 * wss + 0.063 * ssnr,
        1.594 + 0.805 * pesq - 0.512 * llr - 0.007 * wss,
    )
    return tuple(float(np.clip(rating, 1.0, 5.0)) for rating in ratings)


def check_signal(name: str, signal: ArrayLike) -> np.ndarray:
    """Returns `signal` as an array.

    Raises:
        ValueError: unless it contains finite floats `(T,)`, T > 0.

    Example: `check_signal("clean", clean)    # (T,)`
    """
    signal = np.asarray(signal)
    if signal.ndim != 1 or signal.dtype.kind != "f" or len(signal) == 0:
        raise ValueError(f"{name}: expected floats (T,), T > 0; received {signal.dtype} of shape {signal.shape}.")
    if not np.isfinite(signal).all():
        raise ValueError(f"{name} contains NaN or infinity: expected finite numbers.")
    return signal


def _pair(clean: ArrayLike, processed: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    clean, processed = check_signal("clean", clean), check_signal("processed", processed)
    if len(clean) != len(processed):
        raise ValueError(
            f"Expected signals of equal length; clean has {len(clean)} samples, processed {len(processed)}."
        )
    return clean.astype("float64", copy=False), processed.astype("float64", copy=False)


def _silent(signal):
    return np.ptp(signal) == 0


def _has_frames(clean):
    return len(clean) >= _FRAME + _HOP and not _silent(clean)


def _pesq(clean, processed, mode):
    clean, processed = _pair(clean, processed)
    pesq = extras.library("pesq", __name__)
    parts = -(-len(clean) // (_PESQ_SECONDS * RATE))
    scores = []
    # ValueError: the part is too faint for its level to be computed in float32.
    refused = pesq.BufferTooShortError, pesq.NoUtterancesError, ValueError

    def score(s, x):
        with contextlib.suppress(*refused):
            return pesq.pesq(RATE, s, x, mode)
        return None

    for s, x in zip(np.array_split(clean, parts), np.array_split(processed, parts), strict=True):
        if _silent(s):
            continue
        found = None if _silent(x) else score(s, x)
        if found is None and score(s, s) is not None:
            found = _PESQ_LEAST[mode]  # PESQ accepts the clean part, so its speech was removed
        if found is not None:
            scores.append(found)
    return float(np.mean(scores)) if scores else np.nan


def _frames(signal):
    """Windowed frames `(frames, 480)`; the last full frame is dropped, as in Loizou's `composite.m`."""
    return np.lib.stride_tricks.sliding_window_view(signal, _FRAME)[:-_HOP:_HOP] * _WINDOW


def _power(frames):
    return np.square(np.abs(np.fft.rfft(frames, _FFT)))  # (frames, 513)


def _predictor(frames):
    """Autocorrelation matrices `(frames, 17, 17)` and prediction-error filters `(frames, 17)`, starting with 1."""
    r = np.fft.irfft(_power(frames))[:, : _ORDER + 1]
    r[:, 0] = r[:, 0] * (1 + _WHITE) + 1e-30  # the second term makes a silent frame white
    matrix = r[:, np.abs(np.subtract.outer(np.arange(_ORDER + 1), np.arange(_ORDER + 1)))]
    a = -np.linalg.solve(matrix[:, :_ORDER, :_ORDER], r[:, 1:, None])[..., 0]
    return matrix, np.concatenate([np.ones((len(r), 1)), a], axis=1)


def _slopes(frames):
    """Spectral slopes in dB per band and their Klatt weights, `(frames, 24)` each."""
    energy = 10 * np.log10(np.maximum(_power(frames)[:, : _FFT // 2] @ _critical_bands().T, 1e-10))  # (frames, 25)
    slope = np.diff(energy, axis=1)
    peak = energy[:, :-1].copy()
    for k in range(1, slope.shape[1]):  # downhill: copy the peak of the previous band
        falls = (slope[:, k] <= 0) & (slope[:, k - 1] <= 0)
        peak[falls, k] = peak[falls, k - 1]
    for k in range(slope.shape[1] - 2, -1, -1):  # uphill: copy the peak of the next band
        rises = (slope[:, k] > 0) & (slope[:, k + 1] > 0)
        peak[rises, k] = peak[rises, k + 1]
    below = energy.max(axis=1, keepdims=True) - energy[:, :-1]
    return slope, _K_MAX / (_K_MAX + below) * _K_LOC_MAX / (_K_LOC_MAX + peak - energy[:, :-1])


def _critical_bands():
    """Gaussian filters of equal area over the FFT bins, zero below -30 dB: `(25, 512)`."""
    bin_width = RATE / _FFT
    centres, widths = np.floor(_CENTRES / bin_width), _WIDTHS / bin_width
    distance = (np.arange(_FFT // 2) - centres[:, None]) / widths[:, None]
    filters = np.exp(-11 * np.square(distance)) * (_WIDTHS[0] / _WIDTHS)[:, None]
    return filters * (filters > np.exp(-30 / (2 * 2.303)))


def _mean_of_most(values):
    return float(np.sort(values)[: round(_KEEP * len(values))].mean())
