"""M2: a conditional VAE whose label is known for some rows and summed out for the others."""

import math
from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from keras_ae.distributions import likelihoods, posteriors, priors
from keras_ae.models.variational.cvae import CVAE
from keras_ae.training import roles
from keras_ae.training.roles import one_hot
from keras_ae.typing import Distribution, Network, Terms
from keras_ae.utils import validation


@keras.saving.register_keras_serializable("keras_ae")
class M2(CVAE):
    """Generates x from a class y and a style z; a classifier q(y|x) infers y where it is unknown.

        log p(x, y) >= -L(x, y) = E_q[log p(x|z, y)] - KL(q(z|x, y) || p(z)) + log p(y),    p(y) = 1/K
        log p(x) >= -sum_y q(y|x) (L(x, y) + log q(y|x))

    Both are the same sum over all K classes with weights w_y: one-hot if the label is known, else q(y|x).

        reconstruction = -sum_y w_y E_q[log p(x|z, y)],    kl = sum_y w_y KL(q(z|x, y) || p(z))
        label = sum_y w_y (log w_y - log p(y)),    classification = -log q(y|x) over the labelled rows
        loss = reconstruction + kl + label + classification_weight classification

    `classification` is a mean over labelled rows: in the loss, over those in the batch, or 0 if there are none;
    `datasets.semi_supervised` fixes their number per batch. The other terms are means over all rows, so a
    `classification_weight` of 0.1 is the paper's alpha = 0.1 N. If a batch has a larger share of labelled rows than the
    data, their L(x, y) counts more than in the paper's sum over the data.

    `log_prob(x, y)` is log p(x|y), as in `CVAE`; log p(x) is log 1/K sum_y p(x|y).

    Args:
        encoder: Keras model from `[x, one-hot y]` to `(B, 2 * latent_dim)`, `[mean | raw scale]`.
        decoder: Keras model from `[z, one-hot y]` to the likelihood's params.
        classifier: Keras model from x to logits `(B, num_classes)`.
        num_classes: int, K.
        classes: list of str, label names, so that y may hold names; None if y holds only integers.
        classification_weight: float; with the default, 50, ten equally likely classes cost as much as the pixels of an
            MNIST image.
        likelihood, prior, posterior, num_samples, seed: as in `VAE`.

    In `fit(x, y)`, y are integer labels `(B,)`, -1 where unknown; `datasets.semi_supervised` also accepts masked
    labels. Arrays and `datasets.semi_supervised` warn about classes without labels; for other data sets, only the first
    batch is checked.

    Raises:
        ValueError: if the network shapes do not match, an argument is unknown or out of range, labels are out of range,
            or no row is labelled.

    Example:

        some = ka.datasets.keep_labels(y, 100, seed=0)                 # 10 of each class; -1 elsewhere
        batches = ka.datasets.semi_supervised(x, some, batch_size=200, labelled=100, num_classes=10)
        model = ka.M2(encoder, decoder, classifier, num_classes=10)
        model.compile("adam")
        model.fit(batches, epochs=50)
        model.predict_proba(x_test)    # (B, 10)

    Source: Kingma 2014, equations 6 to 9. See also: `CVAE`, where y is always known; `M1M2`, which models codes.
    """

    terms: tuple[str, ...] = ("reconstruction", "kl", "label", "classification", "accuracy")
    y_role = roles.PartialLabel()

    def __init__(
        self,
        encoder: Network,
        decoder: Network,
        classifier: Network,
        num_classes: int,
        likelihood: likelihoods.LikelihoodLike = "bernoulli",
        prior: priors.PriorLike | None = None,
        classification_weight: float = 50.0,
        num_samples: int = 1,
        posterior: posteriors.PosteriorLike | None = None,
        classes: Sequence[str] | None = None,
        *,
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        validation.refuse(kwargs, {"beta", "free_bits", "prior_network"}, "M2", "it sums over y in the plain bound")
        options: dict[str, Any] = {
            "num_classes": validation.positive_int("num_classes", num_classes),
            "num_samples": num_samples,
            "posterior": posterior,
            "classes": classes,
        }
        super().__init__(encoder, decoder, likelihood, prior, **options, seed=seed, **kwargs)
        self.classifier = classifier
        self._check_classifier_width(validation.static_shape(classifier, "output_shape"))
        self.classification_weight = validation.non_negative("classification_weight", classification_weight)

    @property
    def networks(self) -> list[keras.layers.Layer]:
        return [*super().networks, self.classifier]

    def term_weights(self) -> dict[str, Any]:
        return super().term_weights() | {"classification": self.classification_weight, "accuracy": 0.0}

    def loss_terms(self, x: tf.Tensor, y: tf.Tensor, training: bool, q: Distribution | None = None) -> Terms:
        x = tf.cast(x, tf.float32)
        log_q = self.log_label_posterior(x, training)  # (B, K)
        known = tf.cast(y >= 0, tf.float32)
        labels = one_hot(y, self.num_classes, unknown=-1)
        w = labels + (1 - known)[:, None] * tf.exp(log_q)
        terms = {name: tf.reduce_sum(w * each, -1) for name, each in self.terms_by_label(x, training).items()}
        terms["label"] = math.log(self.num_classes) + (1 - known) * tf.reduce_sum(tf.exp(log_q) * log_q, -1)
        right = tf.cast(tf.argmax(log_q, -1) == tf.cast(y, tf.int64), tf.float32)
        return terms | {"classification": (-tf.reduce_sum(labels * log_q, -1), known), "accuracy": (right, known)}

    def terms_by_label(self, x: tf.Tensor, training: bool) -> dict[str, tf.Tensor]:
        """The bound's terms for each of the K labels: `{name: (B, K)}`."""
        k, rows = self.num_classes, tf.shape(x)[0]
        every = tf.tile(x, tf.concat([[k], tf.ones(x.shape.rank - 1, tf.int32)], axis=0))  # (K B, ...)
        y = tf.repeat(tf.range(k), rows)
        terms = self.elbo_terms(self.posterior(every, y, training=training), every, y, training=training)
        return {name: tf.transpose(tf.reshape(each, [k, rows])) for name, each in terms.items()}

    def log_label_posterior(self, x: tf.Tensor, training: bool = False) -> tf.Tensor:
        """log q(y|x): `(B, K)`."""
        logits = self.classifier(self._likelihood.preprocess(x), training=training)
        self._check_classifier_width(logits.shape)
        return tf.nn.log_softmax(tf.cast(logits, tf.float32))

    def _check_classifier_width(self, shape):
        validation.check_width("classifier", shape, self.num_classes, "logits, one per class")
