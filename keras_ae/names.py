"""Where each name lives: what `import keras_ae` knows without importing it."""

# `ka.<name>`: the module, which is imported on first use.
MODULES = {
    "callbacks": "training.callbacks",
    "datasets": "datasets",
    "distribute": "training.distribute",
    "evaluation": "evaluation",
    "layers": "layers",
    "likelihoods": "distributions.likelihoods",
    "losses": "losses",
    "networks": "networks",
    "plots": "plots",
    "posteriors": "distributions.posteriors",
    "priors": "distributions.priors",
    "samplers": "samplers",
}

# `ka.<name>`: the module of a class or a function.
ATTRIBUTES = {
    "Autoencoder": "models.deterministic.autoencoder",
    "BetaTCVAE": "models.variational.beta_tcvae",
    "BetaVAE": "models.variational.beta_vae",
    "CVAE": "models.variational.cvae",
    "DynamicAutoencoder": "models.text.dynamic_autoencoder",
    "IWAE": "models.variational.iwae",
    "LatentModel": "models.base.latent_model",
    "M1": "models.variational.m1",
    "M1M2": "models.variational.m1m2",
    "M2": "models.variational.m2",
    "Objective": "training.objective",
    "ObjectiveModel": "training.model",
    "SEGAN": "models.adversarial.segan",
    "SemanticHashing": "models.text.semantic_hashing",
    "SpeechDenoiser": "models.deterministic.speech_denoiser",
    "VAE": "models.variational.vae",
    "VDSH": "models.text.vdsh",
    "export": "serving",
    "load_pretrained": "serving",
}

# What Keras may meet in a file: the classes given to `register_keras_serializable`, `{name: module}`.
CLASSES = {
    name: module for name, module in ATTRIBUTES.items() if module.startswith("models.") and name != "LatentModel"
} | {
    "Bernoulli": "distributions.likelihoods",
    "BernoulliMixture": "distributions.priors",
    "Categorical": "distributions.likelihoods",
    "ContinuousBernoulli": "distributions.likelihoods",
    "Density": "distributions.flows",
    "Deterministic": "distributions.posteriors",
    "DiagonalGaussian": "distributions.posteriors",
    "Flow": "distributions.flows",
    "FullCovariance": "distributions.posteriors",
    "Gaussian": "distributions.likelihoods",
    "GaussianLearnedScale": "distributions.likelihoods",
    "GaussianPerDimension": "distributions.likelihoods",
    "IndependentBernoulli": "distributions.posteriors",
    "InverseAutoregressive": "distributions.posteriors",
    "Laplace": "distributions.likelihoods",
    "LearnedMixture": "distributions.priors",
    "MADE": "layers.made",
    "MeanAndRawScale": "networks.adapters",
    "Multinomial": "distributions.likelihoods",
    "Normal": "distributions.priors",
    "NormalWeights": "distributions.priors",
    "QuasiRecurrent": "layers.recurrent",
    "Ring": "distributions.priors",
    "SpectralGenerator": "networks.speech",
    "SwissRoll": "distributions.priors",
    "TfIdf": "layers.tfidf",
    "Uniform": "distributions.priors",
    "UniformBernoulli": "distributions.priors",
    "VampPrior": "distributions.priors",
    "WaveformGenerator": "networks.speech",
}
FUNCTIONS = {"separate_words": "layers.tfidf"}

# Classes in the files of version 0.1.0, and what they are called now.
RENAMED = {
    "Bits": "IndependentBernoulli",
    "Diagonal": "DiagonalGaussian",
    "FairCoins": "UniformBernoulli",
    "Point": "Deterministic",
}
