"""Maps each public name to its module, so that `import keras_ae` can import it lazily."""

# `ka.<name>` for submodules, imported on first use.
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

# `ka.<name>` for classes and functions: the module that defines them.
ATTRIBUTES = {
    "AnomalyDetector": "anomalies",
    "Autoencoder": "models.deterministic.autoencoder",
    "BetaTCVAE": "models.variational.beta_tcvae",
    "BetaVAE": "models.variational.beta_vae",
    "CVAE": "models.variational.cvae",
    "ContractiveAutoencoder": "models.deterministic.contractive_autoencoder",
    "DenoisingAutoencoder": "models.deterministic.denoising_autoencoder",
    "DynamicAutoencoder": "models.text.dynamic_autoencoder",
    "IWAE": "models.variational.iwae",
    "LatentModel": "models.base.latent_model",
    "LinearAutoencoder": "models.deterministic.linear_autoencoder",
    "M1": "models.variational.m1",
    "M1M2": "models.variational.m1m2",
    "M2": "models.variational.m2",
    "Objective": "training.objective",
    "ObjectiveModel": "training.model",
    "SEGAN": "models.adversarial.segan",
    "SemanticHashing": "models.text.semantic_hashing",
    "SparseAutoencoder": "models.deterministic.sparse_autoencoder",
    "SpeechDenoiser": "models.deterministic.speech_denoiser",
    "VAE": "models.variational.vae",
    "VDSH": "models.text.vdsh",
    "export": "serving",
    "load_pretrained": "serving",
    "pretrain": "pretraining",
}

# Classes that can occur in a saved file, all registered with `register_keras_serializable`: `{name: module}`.
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
    "MaskingNoise": "layers.corruption",
    "MeanAndRawScale": "networks.adapters",
    "Multinomial": "distributions.likelihoods",
    "Normal": "distributions.priors",
    "NormalWeights": "distributions.priors",
    "QuasiRecurrent": "layers.recurrent",
    "Ring": "distributions.priors",
    "SaltAndPepperNoise": "layers.corruption",
    "SpectralGenerator": "networks.speech",
    "SwissRoll": "distributions.priors",
    "TfIdf": "layers.tfidf",
    "TransposedDense": "layers.tied",
    "Uniform": "distributions.priors",
    "UniformBernoulli": "distributions.priors",
    "VampPrior": "distributions.priors",
    "WaveformGenerator": "networks.speech",
}
FUNCTIONS = {"separate_words": "layers.tfidf"}

# Class names in files saved by version 0.1.0, and their current names.
RENAMED = {
    "Bits": "IndependentBernoulli",
    "Diagonal": "DiagonalGaussian",
    "FairCoins": "UniformBernoulli",
    "Point": "Deterministic",
}
