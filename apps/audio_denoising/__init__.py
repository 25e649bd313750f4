"""Speech denoising: networks that estimate clean speech from a noisy waveform."""
