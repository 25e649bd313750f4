"""Steps of autoencoders with a critic in PyTorch, as fast as we could write them; used by `benchmarks.throughput`.

Each does what the model of the same name in `fit_speed.WORKLOADS` does: the encoder runs once per step, the critic sees
drawn and made codes in one pass, a player's gradient is computed for its own parameters only, and each player has its
own Adam.
"""

import itertools

from benchmarks.fit_speed import CRITIC, LATENT, WAE_WEIGHT

# Those of `keras_ae.losses.mmd`, whose import would bring TensorFlow, and the median squared distance between standard
# normal codes.
SCALES, BANDWIDTH = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0), 62.7


def critic_network():
    """Returns a critic of codes as a torch module: (B, LATENT) -> (B, 1)."""
    from torch import nn

    sizes, layers = (LATENT, *CRITIC), []
    for inputs, outputs in itertools.pairwise(sizes):
        layers += [nn.Linear(inputs, outputs), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(sizes[-1], 1))


def trainer(workload, encoder, decoder, adam, compiled):
    """Returns the parameters that are trained, and the function that takes a step and returns the loss.

    Args:
        workload: "aae", "wae_mmd" or "wae_gan".
        encoder, decoder: torch modules.
        adam: function from parameters to an optimizer.
        compiled: bool, whether to compile the forward passes and their gradients.
    """
    import torch

    softplus, bce = torch.nn.functional.softplus, torch.nn.functional.binary_cross_entropy_with_logits
    of_encoder = list(encoder.parameters())
    of_both = [*of_encoder, *decoder.parameters()]

    def codes(x):
        if workload != "aae":
            return encoder(x)
        mean, log_variance = encoder(x).chunk(2, dim=1)
        return mean + torch.exp(0.5 * log_variance) * torch.randn_like(mean)

    def reconstruct(z, x):
        return bce(decoder(z), x, reduction="sum") / x.shape[0]

    def kernel(a, b):
        squares = (a.square().sum(1)[:, None] - 2 * a @ b.T + b.square().sum(1)).clamp_min(0)
        return sum(1 / (1 + squares / (scale * BANDWIDTH)) for scale in SCALES)

    def match(x):
        z = codes(x)
        p = torch.randn_like(z)
        n = len(z)
        within = sum((k.sum() - k.diagonal().sum()) / (n * (n - 1)) for k in (kernel(z, z), kernel(p, p)))
        return reconstruct(z, x) + WAE_WEIGHT * (within - 2 * kernel(z, p).mean())

    critic = None if workload == "wae_mmd" else critic_network()

    def discriminate(z):
        drawn, made = critic(torch.cat([torch.randn_like(z), z])).chunk(2)
        return (softplus(-drawn) + softplus(made)).mean()

    def deceive(z):
        return softplus(-critic(z)).mean()

    if compiled:
        torch._functorch.config.donated_buffer = False  # the graph of the codes is used twice
        compile = torch.compile
        codes, reconstruct, match, discriminate, deceive = (
            compile(each, dynamic=False) for each in (codes, reconstruct, match, discriminate, deceive)
        )
    autoencoder = adam(of_both)

    def match_step(x):
        loss = match(x)
        autoencoder.zero_grad(set_to_none=True)
        loss.backward()
        autoencoder.step()
        return loss

    if critic is None:
        return of_both, match_step
    of_critic = list(critic.parameters())
    judge, generator = adam(of_critic), adam(of_encoder) if workload == "aae" else None

    def step(x):
        z = codes(x)
        judge.zero_grad(set_to_none=True)
        discriminate(z.detach()).backward(inputs=of_critic)
        judge.step()
        autoencoder.zero_grad(set_to_none=True)
        if generator is None:
            loss = reconstruct(z, x) + WAE_WEIGHT * deceive(z)
            loss.backward(inputs=of_both)
            autoencoder.step()
            return loss
        # Both gradients are those before either step, which would change the weights that the graph holds.
        adversarial = torch.autograd.grad(deceive(z), of_encoder, retain_graph=True)
        loss = reconstruct(z, x)
        loss.backward(inputs=of_both)
        autoencoder.step()
        for parameter, gradient in zip(of_encoder, adversarial, strict=True):
            parameter.grad = gradient
        generator.step()
        return loss

    return [*of_both, *of_critic], step
