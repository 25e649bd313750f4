"""Models with several objectives, which cover what adversarial models need from the training step."""

import keras
import tensorflow as tf

import keras_ae as ka


def bce(scores, real):
    """Cross-entropy of scores for real rows (1) and others (0): `(B,)` nats."""
    return tf.nn.softplus(-scores if real else scores)[:, 0]


@keras.saving.register_keras_serializable("players")
class GAN(ka.LatentModel):
    """A generator (a decoder with a prior) and a critic of data, without an encoder."""

    terms = ("discrimination", "generation")
    default_prior = "normal"

    def __init__(self, generator, critic, *, seed=None, **kwargs):
        super().__init__(decoder=generator, seed=seed, **kwargs)
        self.critic = critic

    def objectives(self):
        return {
            "critic": ka.Objective(self.discriminate, [self.critic]),
            "generator": ka.Objective(self.generate, [self.decoder]),
        }

    def shared_pass(self, x, y, training):
        z = self.prior.sample(tf.shape(x)[0], seed=self.next_seed())
        return self.likelihood(z, training=training).mean()

    def discriminate(self, x, y, training, made):
        scores = [self.critic(each, training=training) for each in (x, tf.stop_gradient(made))]
        return {"discrimination": bce(scores[0], True) + bce(scores[1], False)}

    def generate(self, x, y, training, made):
        return {"generation": bce(self.critic(made, training=training), True)}


@keras.saving.register_keras_serializable("players")
class AAE(ka.Autoencoder):
    """A deterministic code that a critic pulls towards a prior, here a uniform one."""

    terms = ("discrimination", "reconstruction", "adversarial")
    default_prior = "uniform"

    def __init__(self, encoder, decoder, critic, critic_steps=1, *, seed=None, **kwargs):
        super().__init__(encoder, decoder, seed=seed, **kwargs)
        self.critic, self.critic_steps = critic, critic_steps

    def objectives(self):
        critic = ka.Objective(self.discriminate, [self.critic], steps=self.critic_steps)
        autoencoder = super().objectives()["autoencoder"]
        return {"critic": critic, "autoencoder": autoencoder._replace(weights={"adversarial": 0.1})}

    def shared_pass(self, x, y, training):
        return self.posterior(x, training=training)

    def discriminate(self, x, y, training, q):
        drawn = self.prior.sample(tf.shape(x)[0], seed=self.next_seed())
        scores = [self.critic(z, training=training) for z in (drawn, tf.stop_gradient(q.mean()))]
        return {"discrimination": bce(scores[0], True) + bce(scores[1], False)}

    def loss_terms(self, x, y, training, q):
        adversarial = bce(self.critic(q.mean(), training=training), True)
        return super().loss_terms(x, y, training, q) | {"adversarial": adversarial}


@keras.saving.register_keras_serializable("players")
class VAEGAN(ka.VAE):
    """Three objectives, for encoder, decoder and critic, with one forward pass (Larsen 2016)."""

    terms = ("discrimination", "realism", "reconstruction", "kl")

    def __init__(self, encoder, decoder, critic, gamma=0.1, *, seed=None, **kwargs):
        super().__init__(encoder, decoder, "gaussian", seed=seed, **kwargs)
        self.critic, self.gamma = critic, gamma

    def objectives(self):
        critic = ka.Objective(self.discriminate, [self.critic])
        decoder = ka.Objective(self.generate, [self.decoder], {"reconstruction": self.gamma})
        return {"critic": critic, "decoder": decoder, "encoder": ka.Objective(self.infer, [self.encoder])}

    def shared_pass(self, x, y, training):
        q = self.posterior(x, training=training)
        p = self.likelihood(self.draw(q, 1, self.next_seed())[0], training=training)
        terms = {"reconstruction": -p.log_prob(x), "kl": ka.losses.divergences.kl(q, self.prior, None)}
        return terms, self.critic(x, training=training), self.critic(p.mean(), training=training)

    def discriminate(self, x, y, training, shared):
        return {"discrimination": bce(shared[1], True) + bce(shared[2], False)}

    def generate(self, x, y, training, shared):
        return {"realism": bce(shared[2], True), "reconstruction": shared[0]["reconstruction"]}

    def infer(self, x, y, training, shared):
        return shared[0]


@keras.saving.register_keras_serializable("players")
class BEGAN(GAN):
    """The critic is an autoencoder; k, which is not trained by a gradient, keeps its two losses in balance."""

    terms = ("real", "fake", "generation")

    def __init__(self, generator, critic, balance=0.5, rate=0.1, *, seed=None, **kwargs):
        super().__init__(generator, critic, seed=seed, **kwargs)
        self.balance, self.rate = balance, rate
        self.k = self.add_weight(shape=(), initializer="zeros", trainable=False, name="k")

    def objectives(self):
        players = super().objectives()
        return players | {"critic": players["critic"]._replace(weights={"fake": -self.k})}

    def discriminate(self, x, y, training, made):
        return {"real": self._energy(x, training), "fake": self._energy(tf.stop_gradient(made), training)}

    def generate(self, x, y, training, made):
        return {"generation": self._energy(made, training)}

    def after_step(self, terms):
        means = {name: tf.reduce_mean(term) for name, term in terms.items()}
        moved = self.k + self.rate * (self.balance * means["real"] - means["generation"])
        self.k.assign(tf.clip_by_value(moved, 0.0, 1.0))

    def _energy(self, x, training):
        return tf.reduce_mean(tf.abs(self.critic(x, training=training) - x), axis=-1)
