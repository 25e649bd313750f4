"""Reference settings of the model of drawings: shared defaults, and what differs for each kind of data."""

SHARED = {
    "units": 256,  # of the decoder's cell; paper: 2,048 in a HyperLSTM
    "encoder_units": 128,  # of each direction; paper: 512
    "latent_dim": 64,  # paper: 128
    "mixtures": 20,  # as in the paper
    "cell": "lstm",  # of encoder and decoder; "layer_norm" and "hyper" need about twice the time and more for a step
    "dropout": 0.1,  # recurrent dropout, as in the paper
    "kl_weight": 0.5,  # w_KL, as the paper recommends
    "kl_start": 0.01,  # eta_min, as in the paper
    "kl_rate": 0.9995,  # R; the paper's 0.99995 suits its 100,000 steps and more
    "kl_min": 0.2,  # KL_min in nats a dimension of the code, as in the paper
    "batch_size": 100,  # as in the paper
    "learning_rate": 1e-3,  # as in the paper; cosine decay to 0 by the last step or the end of the time
    "clip": 1.0,  # of each gradient of the loss divided by N_max, as in the paper
    "epochs": 50,  # 15,000 steps for 30,000 drawings
    "max_length": 250,  # points; longer drawings are left out or split
}

# Without flags: outlines of letters, in a minute.
GLYPHS = {
    "units": 128,
    "encoder_units": 64,
    "latent_dim": 16,
    "mixtures": 10,
    "kl_rate": 0.99,
    "batch_size": 50,
    "learning_rate": 3e-3,
    "epochs": 20,
    "max_length": 100,
}

# Licences of the embedded outlines.
LICENCE = "outlines of the DejaVu, STIX and Computer Modern fonts, see the licences in matplotlib's fonts folder"

TEMPERATURES = (0.2, 0.5, 0.8, 1.0)  # of the figure of reconstructions


def of(data):
    """Returns the settings for data of users, a path, or for the embedded outlines, None."""
    return SHARED | (GLYPHS if data is None else {})
