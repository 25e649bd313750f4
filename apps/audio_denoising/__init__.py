"""Speech denoising: from noisy speech, the clean speech in it, by networks of the waveform."""
