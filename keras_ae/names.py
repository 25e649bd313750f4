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
    "AAE": "models.adversarial.aae",
    "AVB": "models.adversarial.avb",
    "Autoencoder": "models.deterministic.autoencoder",
    "BetaTCVAE": "models.variational.beta_tcvae",
    "BetaVAE": "models.variational.beta_vae",
    "ClusterHeadAAE": "models.adversarial.cluster_head_aae",
    "ConditionalAAE": "models.adversarial.conditional_aae",
    "CVAE": "models.variational.cvae",
    "DynamicAutoencoder": "models.text.dynamic_autoencoder",
    "FactorVAE": "models.variational.factor_vae",
    "IWAE": "models.variational.iwae",
    "InfoVAE": "models.variational.info_vae",
    "LatentModel": "models.base.latent_model",
    "M1": "models.variational.m1",
    "M1M2": "models.variational.m1m2",
    "M2": "models.variational.m2",
    "Objective": "training.objective",
    "ObjectiveModel": "training.model",
    "SEGAN": "models.adversarial.segan",
    "SemanticHashing": "models.text.semantic_hashing",
    "SemiSupervisedAAE": "models.adversarial.semi_supervised_aae",
    "SpeechDenoiser": "models.deterministic.speech_denoiser",
    "VAE": "models.variational.vae",
    "VDSH": "models.text.vdsh",
    "WAE": "models.adversarial.wae",
    "export": "serving",
    "load_pretrained": "serving",
}

# Classes that can occur in a saved file, all registered with `register_keras_serializable`: `{name: module}`.
CLASSES = {
    name: module for name, module in ATTRIBUTES.items() if module.startswith("models.") and name != "LatentModel"
} | {
    "Bernoulli": "distributions.likelihoods",
    "BernoulliMixture": "distributions.priors",
    "Categorical": "distributions.likelihoods",
    "ClusterHeads": "distributions.posteriors",
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
    "ScaledSchedule": "training.optimizers",
    "SpectralGenerator": "networks.speech",
    "StyleAndLabel": "distributions.posteriors",
    "SwissRoll": "distributions.priors",
    "TfIdf": "layers.tfidf",
    "Uniform": "distributions.priors",
    "UniformBernoulli": "distributions.priors",
    "Universal": "distributions.posteriors",
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
