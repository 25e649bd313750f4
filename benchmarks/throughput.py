"""Training throughput of `fit` compared with PyTorch and pythae, in images per second on two CPU threads.

    python -m benchmarks.throughput --rounds=7 --seconds=5
    python -m benchmarks.throughput --baseline=<checkout of the code before> [--pairs=10] [--rows=mlp,conv]

The second form compares `fit` before and after a change, for each model of `fit_speed.WORKLOADS`. Processes with the
old and the new code alternate. The geometric mean of the speed ratio must be at least 0.98, or its 95 % confidence
interval must contain 1 and lie above 0.95. Otherwise the program exits with 1. It writes no results. The rest of this
text is about the first form.

All models take 28 x 28 binary images, with batch size 128, Adam(1e-3) and float32. The first two are variational
autoencoders with a closed-form KL:

  mlp   784-512-(2 x 32)-512-784, ReLU
  conv  Conv 32, 64 (3 x 3, stride 2) - (2 x 32) - Dense 3136 - transposed Conv 32, 1 (3 x 3, stride 2)
  iwae  784-200-200-(2 x 50)-200-200-784, tanh; 50 importance samples, doubly reparameterised gradient; not in pythae

The others are the MLP with a critic 32-256-256-1 or an MMD in place of the KL. Each player has its own Adam:

  aae      adversarial autoencoder, Gaussian posterior; three players, while pythae's has two
  wae_mmd  Wasserstein autoencoder by MMD with seven inverse multiquadric kernels
  wae_gan  Wasserstein autoencoder by a critic; two players

The same conditions apply to all contestants: data in memory in the framework's own format, shuffled every epoch; the
loss logged every epoch; whole epochs including the partial batch; compilation and warm-up excluded. Each contestant
runs in its own process, because the thread pools of two frameworks in one process disturb each other. Only one runs at
a time, and each runs once per round. Ratios are computed within a round, so that slow phases of the machine cancel out.

Adam's moments for units that no longer get a gradient decay into denormal numbers, which are many times slower on a
CPU. TensorFlow flushes them to zero by default; PyTorch does so only after `torch.set_flush_denormal(True)`, which the
contestants named "flushed" call.

Another program on the same cores slows down some contestants more than others (OpenMP, and therefore PyTorch, by a
factor of ten). If other programs used more than 5% of the machine during a measurement, it is repeated, for up to five
attempts, and the attempt with the least foreign use is kept. The last line of the output reports the largest share of
the machine that other programs used.
"""

import functools
import importlib.util
import json
import logging
import math
import multiprocessing
import os
import statistics
import sys
import tempfile
import time
import traceback

from absl import flags

from benchmarks import baseline, fit_speed, options, results, torch_critics
from benchmarks.fit_speed import BATCH, IMPORTANCE_SAMPLES, LATENT, PIXEL_MEAN, SEED, THREADS, WARM_UP_EPOCHS, images

_SECONDS = flags.DEFINE_float("seconds", 5.0, "About how long one measurement trains, in whole epochs.")
_ROUNDS = flags.DEFINE_integer("rounds", 7, "Rounds; in each, every contestant is measured once.")

_BASELINE = flags.DEFINE_string("baseline", None, "A checkout of the code before, with which to compare `fit`.")
_PAIRS = flags.DEFINE_integer("pairs", 10, "With --baseline: measurements of each checkout.", lower_bound=1)
_ROWS = flags.DEFINE_list("rows", list(fit_speed.WORKLOADS), "With --baseline: names of the models to compare.")

PAUSE = 0.2  # seconds, until the previous contestant's threads stop spinning
QUIET = 0.05  # share of the machine that other programs may use during a measurement
ATTEMPTS = 5

CRITICS = ("aae", "wae_mmd", "wae_gan")
IMAGES = {name: fit_speed.WORKLOADS[name].rows for name in ("mlp", "conv", "iwae", *CRITICS)}
TITLES = {"mlp": "MLP VAE", "conv": "convolutional VAE", "iwae": "IWAE, k = 50"}
TITLES |= {"aae": "AAE", "wae_mmd": "WAE by MMD", "wae_gan": "WAE by a critic"}
PARAMETERS = {"mlp": 853_840, "conv": 341_825, "iwae": 425_284}
PARAMETERS |= {"aae": 928_337, "wae_mmd": 837_424, "wae_gan": 911_921}  # with the critics' 74,497
MARKS = {  # required and target ratio of fit's speed to each rival
    "mlp": {"best PyTorch": (1.0, 1.15), "best PyTorch, flushed": (1.0, 1.15), "pythae": (1.5, 1.8)},
    "conv": {"best PyTorch": (1.15, 1.4), "best PyTorch, flushed": (1.15, 1.4), "pythae": (None, None)},
    "iwae": {"best PyTorch": (1.0, 1.15), "best PyTorch, flushed": (1.0, 1.15)},
}
MARKS |= {name: {"best PyTorch": (1.1, 1.3), "best PyTorch, flushed": (1.1, 1.3)} for name in CRITICS}
MARKS["aae"] |= {"pythae": (1.8, None)}

SMOKE = {"IMAGES": {"mlp": 6_400, "aae": 1_280}}
PRODUCT_STEPS = 36  # per call: enough to hide the dispatch overhead, too few for the chain to over- or underflow

DENSE = [(784, 512), (512, 2 * LATENT), (LATENT, 512), (512, 784)]  # the MLP's matrices


# Each contestant takes a workload and returns (number of parameters, train), where train(epochs) returns
# (seconds, losses of the epochs in nats per image).


def keras_ae(workload, **compile_arguments):
    """`fit` as users call it, timed from the start of its first epoch to the end of its last."""
    fit_speed.set_up_tensorflow()
    import keras

    keras.utils.set_random_seed(SEED)
    model = fit_speed.WORKLOADS[workload].model()
    train = fit_speed.timed(model, (images(IMAGES[workload]),), **compile_arguments)
    return sum(math.prod(variable.shape) for variable in model.trainable_variables), train


def pytorch(workload, fused=False, flushed=False, channels_last=False, compiled=False):
    """A plain training loop over rows gathered from a tensor; the loss stays a tensor until the epoch ends."""
    torch = _set_up_torch(flushed)
    layout = torch.channels_last if channels_last else torch.contiguous_format
    encoder, decoder = (network.to(memory_format=layout) for network in torch_networks(workload))
    adam = functools.partial(torch.optim.Adam, lr=1e-3, fused=fused)
    data = torch.from_numpy(images(IMAGES[workload]).transpose(0, 3, 1, 2)).contiguous(memory_format=layout)

    def importance_weighted(x):
        mean, log_variance = encoder(x).chunk(2, dim=1)
        scale = torch.exp(0.5 * log_variance)
        noise = torch.randn(IMPORTANCE_SAMPLES, *mean.shape)
        z = mean + scale * noise
        logits = decoder(z.flatten(0, 1)).reshape(IMPORTANCE_SAMPLES, *x.shape)
        bce = torch.nn.functional.binary_cross_entropy_with_logits
        log_likelihood = -bce(logits, x.expand_as(logits), reduction="none").flatten(2).sum(2)
        # Doubly reparameterised gradient: the posterior's params get a gradient only through z, and each sample's
        # gradient is multiplied by its normalised weight.
        apart = (z - mean.detach()) / scale.detach()
        log_ratio = 0.5 * (apart.square() - z.square()).sum(2) + scale.detach().log().sum(1)
        log_weights = log_likelihood + log_ratio
        weights = torch.softmax(log_weights, dim=0).detach()
        if z.requires_grad:
            z.register_hook(lambda gradient: gradient * weights[..., None])
        return math.log(IMPORTANCE_SAMPLES) - torch.logsumexp(log_weights, dim=0).mean()

    def elbo(x):
        mean, log_variance = encoder(x).chunk(2, dim=1)
        z = mean + torch.exp(0.5 * log_variance) * torch.randn_like(mean)
        binary_cross_entropy = torch.nn.functional.binary_cross_entropy_with_logits
        reconstruction = binary_cross_entropy(decoder(z), x, reduction="sum")
        kl = -0.5 * (1.0 + log_variance - mean.square() - log_variance.exp()).sum()
        return (reconstruction + kl) / x.shape[0]

    def descend(x):
        loss = loss_of(x)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        return loss

    if workload in CRITICS:
        parameters, step = torch_critics.trainer(workload, encoder, decoder, adam, compiled)
    else:
        parameters, step = [*encoder.parameters(), *decoder.parameters()], descend
        optimizer, loss_of = adam(parameters), importance_weighted if workload == "iwae" else elbo
        if compiled:
            # Compile one graph for each of the two batch sizes: dynamic shapes would slow down the full batches.
            loss_of = torch.compile(loss_of, dynamic=False)

    def epoch():
        total = torch.zeros(())
        for rows in torch.randperm(len(data)).split(BATCH):
            total += step(data[rows]).detach() * len(rows)
        return total.item() / len(data)

    def train(epochs):
        start = time.perf_counter()
        losses = [epoch() for _ in range(epochs)]
        return time.perf_counter() - start, losses

    return sum(parameter.numel() for parameter in parameters), train


def pythae(workload):
    """pythae's model and trainer on its in-memory dataset; the trainer's start-up and saving are not timed."""
    os.environ["TQDM_DISABLE"] = "1"  # the trainer always adds a progress bar; tqdm reads this on import
    logging.disable(logging.INFO)
    torch = _set_up_torch(False)
    from pythae.data.preprocessors import DataProcessor
    from pythae.trainers import AdversarialTrainer, AdversarialTrainerConfig, BaseTrainer, BaseTrainerConfig

    adversarial = workload == "aae"
    make_trainer = AdversarialTrainer if adversarial else BaseTrainer
    make_config = AdversarialTrainerConfig if adversarial else BaseTrainerConfig
    rates = ("autoencoder_learning_rate", "discriminator_learning_rate") if adversarial else ("learning_rate",)
    model = pythae_model(workload)
    processor = DataProcessor()
    x = torch.from_numpy(images(IMAGES[workload]).transpose(0, 3, 1, 2)).contiguous()
    dataset = processor.to_dataset(processor.process_data(x))
    folder = tempfile.TemporaryDirectory(prefix="throughput_pythae_")
    config = functools.partial(
        make_config,
        output_dir=folder.name,
        per_device_train_batch_size=BATCH,
        keep_best_on_train=True,
        **dict.fromkeys(rates, 1e-3),
    )

    def train(epochs):
        clock = _pythae_clock()
        trainer = make_trainer(model, dataset, training_config=config(num_epochs=epochs), callbacks=[clock])
        trainer.train()
        assert folder.name  # keeps the folder alive as long as `train`
        scale = 2 if adversarial else 1  # its loss holds half of the reconstruction
        return clock.seconds, [scale * loss for loss in clock.losses]

    return sum(parameter.numel() for parameter in model.parameters()), train


def torch_networks(workload):
    """Returns (encoder, decoder) as torch modules: (B, 1, 28, 28) -> (B, 2 * D), (B, D) -> logits.

    D = 50 for iwae. The encoder of a WAE gives (B, D), a point.
    """
    from torch import nn

    if workload in ("mlp", *CRITICS):
        width = LATENT if workload.startswith("wae") else 2 * LATENT
        encoder = [nn.Flatten(), nn.Linear(784, 512), nn.ReLU(), nn.Linear(512, width)]
        decoder = [nn.Linear(LATENT, 512), nn.ReLU(), nn.Linear(512, 784), nn.Unflatten(1, (1, 28, 28))]
    elif workload == "iwae":
        encoder = [nn.Flatten(), nn.Linear(784, 200), nn.Tanh(), nn.Linear(200, 200), nn.Tanh(), nn.Linear(200, 100)]
        decoder = [nn.Linear(50, 200), nn.Tanh(), nn.Linear(200, 200), nn.Tanh(), nn.Linear(200, 784)]
        decoder.append(nn.Unflatten(1, (1, 28, 28)))
    else:
        convolution = functools.partial(nn.Conv2d, kernel_size=3, stride=2, padding=1)
        transposed = functools.partial(nn.ConvTranspose2d, kernel_size=3, stride=2, padding=1, output_padding=1)
        encoder = [convolution(1, 32), nn.ReLU(), convolution(32, 64), nn.ReLU()]  # (B, 64, 7, 7)
        encoder += [nn.Flatten(), nn.Linear(7 * 7 * 64, 2 * LATENT)]
        decoder = [nn.Linear(LATENT, 7 * 7 * 64), nn.ReLU(), nn.Unflatten(1, (64, 7, 7))]
        decoder += [transposed(64, 32), nn.ReLU(), transposed(32, 1)]
    return nn.Sequential(*encoder), nn.Sequential(*decoder)


def pythae_model(workload):
    """Returns pythae's VAE or AAE with the networks of `torch_networks`, and the sigmoids that its losses expect."""
    from pythae.models import VAE, Adversarial_AE, Adversarial_AE_Config, VAEConfig
    from pythae.models.base.base_utils import ModelOutput
    from pythae.models.nn import BaseDecoder, BaseDiscriminator, BaseEncoder

    class Encoder(BaseEncoder):
        def __init__(self, network):
            super().__init__()
            self.network = network

        def forward(self, x):
            mean, log_variance = self.network(x).chunk(2, dim=1)
            return ModelOutput(embedding=mean, log_covariance=log_variance)

    class Decoder(BaseDecoder):
        def __init__(self, network):
            super().__init__()
            self.network = network

        def forward(self, z):
            return ModelOutput(reconstruction=self.network(z).sigmoid())

    class Discriminator(BaseDiscriminator):
        def __init__(self, network):
            super().__init__()
            self.network = network

        def forward(self, z):
            return ModelOutput(embedding=self.network(z).sigmoid())

    encoder, decoder = torch_networks(workload)
    parts = {"encoder": Encoder(encoder), "decoder": Decoder(decoder)}
    sizes = {"input_dim": (1, 28, 28), "latent_dim": LATENT, "reconstruction_loss": "bce"}
    if workload == "aae":
        parts["discriminator"] = Discriminator(torch_critics.critic_network())
        return Adversarial_AE(Adversarial_AE_Config(**sizes), **parts)
    return VAE(VAEConfig(**sizes), **parts)


def _pythae_clock():
    """Returns a pythae callback that sums the `seconds` of the epochs and collects their logged `losses`."""
    from pythae.trainers.training_callbacks import TrainingCallback

    class Clock(TrainingCallback):
        def __init__(self):
            self.seconds, self.losses = 0.0, []

        def on_epoch_begin(self, training_config, **_):
            self.start = time.perf_counter()

        def on_epoch_end(self, training_config, **_):
            self.seconds += time.perf_counter() - self.start

        def on_log(self, training_config, logs, **_):
            self.losses.append(logs["train_epoch_loss"])

    return Clock()


def matrix_products(workload, jit_compile):
    """Only the MLP's matrix products; an "epoch" has as many steps as an epoch of training.

    A dense layer takes three products: y = x W forward, dW = x'dy and dx = dy W' backward. The first layer needs no
    dx. The loop carries every result, so that a compiler can neither drop nor hoist a product. `train` returns no
    losses.
    """
    tf = fit_speed.set_up_tensorflow()
    normal = functools.partial(tf.random.stateless_normal, seed=(SEED, SEED))
    w1, w2, w3, w4 = (normal((inputs, outputs)) / math.sqrt(inputs) for inputs, outputs in DENSE)
    images_of_call = PRODUCT_STEPS * BATCH

    def products(x):
        h = x @ w1
        z = (h @ w2)[:, :LATENT]
        g = z @ w3
        y = g @ w4
        dg = tf.matmul(x, w4, transpose_b=True)  # x stands in for dy, which has its shape
        dz = tf.matmul(dg, w3, transpose_b=True)
        dz = tf.concat([dz, dz], axis=1)
        dh = tf.matmul(dz, w2, transpose_b=True)
        pairs = [(x, dh), (h, dz), (z, dg), (g, x)]
        return y, *(tf.matmul(a, b, transpose_a=True) for a, b in pairs)

    @tf.function(jit_compile=jit_compile, autograph=False)
    def call(x):
        state = (x, *(tf.zeros(shape) for shape in DENSE))
        return tf.while_loop(
            lambda i, *_: i < PRODUCT_STEPS, lambda i, x, *_: (i + 1, *products(x)), (tf.constant(0), *state)
        )

    x = normal((BATCH, DENSE[0][0]))

    def train(epochs):
        calls = epochs * IMAGES[workload] // images_of_call
        start = time.perf_counter()
        for _ in range(calls):
            outputs = call(x)
        outputs[1].numpy()
        seconds_of_call = (time.perf_counter() - start) / calls
        return epochs * IMAGES[workload] * seconds_of_call / images_of_call, []

    return sum(inputs * outputs + outputs for inputs, outputs in DENSE), train


def operations_per_image():
    """Returns the number of floating-point operations of the MLP's matrix products, per image and step."""
    first, *others = [2 * inputs * outputs for inputs, outputs in DENSE]
    return 2 * first + 3 * sum(others)


OURS, PYTHAE = "fit", "pythae"
CONTESTANTS = {
    OURS: keras_ae,
    "fit, Keras's own defaults": functools.partial(keras_ae, jit_compile=False, steps_per_execution=1),
    "PyTorch, eager": pytorch,
    "PyTorch, fused Adam": functools.partial(pytorch, fused=True),
    "PyTorch, fused Adam, channels last": functools.partial(pytorch, fused=True, channels_last=True),
    "PyTorch, fused Adam, torch.compile": functools.partial(pytorch, fused=True, compiled=True),
    "PyTorch, flushed, fused Adam": functools.partial(pytorch, fused=True, flushed=True),
    "PyTorch, flushed, fused Adam, channels last": functools.partial(
        pytorch, fused=True, flushed=True, channels_last=True
    ),
    "PyTorch, flushed, fused Adam, torch.compile": functools.partial(pytorch, fused=True, flushed=True, compiled=True),
    PYTHAE: pythae,
    "matrix products, plain": functools.partial(matrix_products, jit_compile=False),
    "matrix products, XLA": functools.partial(matrix_products, jit_compile=True),
}


def contestants(workload):
    """Returns the contestants of a workload: "channels last" only for convolutions, matrix products for the MLP."""
    absent = {
        "mlp": ("channels last",),
        "conv": ("matrix products",),
        "iwae": ("channels last", "matrix products", PYTHAE),
        "aae": ("channels last", "matrix products"),
        "wae_mmd": ("channels last", "matrix products", PYTHAE),
        "wae_gan": ("channels last", "matrix products", PYTHAE),
    }[workload]
    return [name for name in CONTESTANTS if not any(each in name for each in absent)]


def installed(names):
    """Returns the contestants whose package is installed; a smoke test runs without the `bench` extra."""
    needed = {PYTHAE: "pythae"} | {name: "torch" for name in names if name.startswith("PyTorch")}
    return [name for name in names if name not in needed or importlib.util.find_spec(needed[name])]


def _set_up_torch(flushed):
    # Compile in this process: Inductor's worker processes would outlive the compilation.
    os.environ.setdefault("TORCHINDUCTOR_COMPILE_THREADS", "1")
    import torch

    # Threads inherit this setting, so set it before the first one starts.
    if not torch.set_flush_denormal(flushed) and flushed:
        raise RuntimeError("This CPU cannot flush denormal numbers to zero.")
    torch.set_num_threads(THREADS)
    torch.manual_seed(SEED)
    return torch


class Worker:
    """A process that warms up one contestant, and measures it on request."""

    def __init__(self, workload, name):
        context = multiprocessing.get_context("spawn")
        self.name = name
        self.images = IMAGES[workload]
        self._connection, other = context.Pipe()
        self._process = context.Process(target=_serve, args=(other, workload, name, IMAGES), daemon=True)
        self._process.start()
        other.close()
        self.parameters, self.epoch_seconds = self._receive()
        if self.parameters != PARAMETERS[workload]:
            self.close()
            raise RuntimeError(
                f"{name} has {self.parameters:,} parameters for {workload}, not {PARAMETERS[workload]:,}."
            )

    def measure(self, seconds):
        """Trains for about `seconds`, repeats this while other programs are busy, and keeps the quietest attempt.

        Returns {images_per_second, seconds, foreign, attempts}.

        `foreign` is the share of the machine that other programs used meanwhile, None if unknown.
        """
        made = []
        while len(made) < ATTEMPTS:
            made.append(self._attempt(max(1, round(seconds / self.epoch_seconds))))
            if made[-1]["foreign"] is None or made[-1]["foreign"] <= QUIET:
                break
        return min(made, key=lambda each: each["foreign"] or 0.0) | {"attempts": len(made)}

    def _attempt(self, epochs):
        time.sleep(PAUSE)
        before = fit_speed.machine_cpu_seconds()
        start = time.perf_counter()
        self._connection.send(epochs)
        duration, cpu, losses = self._receive()
        elapsed = time.perf_counter() - start
        _check(self.name, losses)
        self.epoch_seconds = duration / epochs
        return {
            "images_per_second": epochs * self.images / duration,
            "seconds": duration,
            "foreign": fit_speed.foreign_share(before, fit_speed.machine_cpu_seconds(), cpu, elapsed),
        }

    def close(self):
        self._connection.close()
        self._process.join(timeout=10)
        if self._process.is_alive():
            self._process.terminate()

    def _receive(self):
        try:
            answer = self._connection.recv()
        except EOFError:
            raise RuntimeError(f"{self.name} ended without a result. Did it run out of memory?") from None
        if isinstance(answer, str):
            raise RuntimeError(f"{self.name} failed:\n{answer}")
        return answer


def _serve(connection, workload, name, rows):
    try:
        IMAGES.update(rows)  # for a smoke test: this process has imported the module again, without its changes
        parameters, train = CONTESTANTS[name](workload)
        for _ in range(WARM_UP_EPOCHS):
            seconds, _ = train(1)
        connection.send((parameters, seconds))
        while True:
            epochs = connection.recv()
            before = time.process_time()
            seconds, losses = train(epochs)
            connection.send((seconds, time.process_time() - before, losses))
    except EOFError:  # the parent has closed the connection
        pass
    except Exception:
        connection.send(traceback.format_exc())


def _check(name, losses):
    """Raises a `RuntimeError` if a loss is implausible for a model that learns these images."""
    entropy = -784 * (PIXEL_MEAN * math.log(PIXEL_MEAN) + (1 - PIXEL_MEAN) * math.log1p(-PIXEL_MEAN))
    if not all(0.95 * entropy < loss < 1.25 * entropy for loss in losses):
        raise RuntimeError(f"{name} logged the losses {losses}, far from the data's {entropy:.0f} nats.")


def run(workload, rounds, seconds, progress):
    """Returns {contestant: [measurement of each round]}."""
    workers = []
    try:
        for name in installed(contestants(workload)):
            progress.set_description(f"{workload}: starting {name}")
            workers.append(Worker(workload, name))
        measurements = {worker.name: [] for worker in workers}
        for _ in range(rounds):
            for worker in workers:
                progress.set_description(f"{workload}: {worker.name}")
                measurements[worker.name].append(worker.measure(seconds))
                progress.update()
    finally:
        for worker in workers:
            worker.close()
    return measurements


def rates(measurements):
    """Returns {contestant: [images per second in each round]}."""
    return {name: [each["images_per_second"] for each in rows] for name, rows in measurements.items()}


def ratios(speeds):
    """Returns {rival: [ratio of fit's speed to the rival's in each round]}; best PyTorch with and without flushing."""

    def best(chosen):
        return [max(each) for each in zip(*chosen, strict=True)]

    plain = [speed for name, speed in speeds.items() if name.startswith("PyTorch") and "flushed" not in name]
    flushed = [speed for name, speed in speeds.items() if name.startswith("PyTorch") and "flushed" in name]
    rivals = {"best PyTorch": best(plain), "best PyTorch, flushed": best(flushed)} if plain and flushed else {}
    rivals |= {PYTHAE: speeds[PYTHAE]} if PYTHAE in speeds else {}
    return {
        rival: [ours / theirs for ours, theirs in zip(speeds[OURS], speed, strict=True)]
        for rival, speed in rivals.items()
    }


def rows_of(workload, measurements, common):
    """Returns the result rows of one workload."""
    data = f"{IMAGES[workload]:,} random binary images, 28 x 28"
    make = functools.partial(results.row, data=data, better="higher", seeds=[SEED], **common)
    speeds = rates(measurements)
    spent = {name: sum(each["seconds"] for each in rows) for name, rows in measurements.items()}
    title = TITLES[workload]
    products = [name for name in speeds if name.startswith("matrix products")]
    rows = [
        make(claim=f"{title}: {name}", metric="images/s", seconds=spent[name], **_summary(speed))
        for name, speed in speeds.items()
        if name not in products
    ]
    if products:
        fastest = max(products, key=lambda name: statistics.median(speeds[name]))
        giga = [speed * operations_per_image() / 1e9 for speed in speeds[fastest]]
        limit = functools.partial(make, claim=f"{title}: limit by {fastest}", seconds=spent[fastest])
        rows.append(limit(metric="GFLOP/s, float32", **_summary(giga)))
        rows.append(limit(metric="images/s", **_summary(speeds[fastest])))
    for rival, values in ratios(speeds).items():
        required, target = MARKS[workload][rival]
        ratio = functools.partial(make, metric="ratio", required=required, target=target, seconds=sum(spent.values()))
        rows.append(ratio(claim=f"{title}: fit / {rival}", **_summary(values)))
    return rows


def _summary(values):
    error = statistics.stdev(values) / math.sqrt(len(values)) if len(values) > 1 else None
    return {"ours": statistics.median(values), "standard_error": error}


def _require_extra():
    missing = [name for name in ("torch", "pythae") if importlib.util.find_spec(name) is None]
    if missing:
        sys.exit(f"{' and '.join(missing)} missing: pip install 'keras_ae[bench]'")


def compare():
    """Compares `fit` with that of the `--baseline` checkout; the program exits with 1 if a model is slower."""
    if unknown := set(_ROWS.value) - set(fit_speed.WORKLOADS):
        known = ", ".join(fit_speed.WORKLOADS)
        raise SystemExit(f"error: --rows: expected some of {known}; received {', '.join(sorted(unknown))}.")
    found, foreign = baseline.run(_BASELINE.value, _ROWS.value, _PAIRS.value, _SECONDS.value)
    print(json.dumps({"pairs": _PAIRS.value, "foreign_cpu_share_max": foreign} | found))
    if not all(each["passes"] for each in found.values()):
        sys.exit(1)


def main(_):
    if _BASELINE.value:
        return compare()
    rounds, seconds, packages = _ROUNDS.value, _SECONDS.value, ("torch", "pythae")
    if options.smoking():
        rounds, seconds, packages = 2, 0.1, ()
    else:
        _require_extra()
    from tqdm import tqdm

    command = f"python -m benchmarks.throughput --rounds={rounds} --seconds={seconds:g}"
    common = {"command": command, "versions": results.versions(packages)}
    rows, answer, made = [], {}, []
    total = rounds * sum(len(installed(contestants(workload))) for workload in IMAGES)
    with tqdm(total=total, unit="measurement", file=sys.stderr) as progress:
        for workload in IMAGES:
            measurements = run(workload, rounds, seconds, progress)
            rows += rows_of(workload, measurements, common)
            for rival, values in ratios(rates(measurements)).items():
                answer[f"{workload}: fit / {rival}"] = round(statistics.median(values), 3)
            made += [each for every in measurements.values() for each in every]
    results.write("throughput", rows)
    answer["measurements"] = len(made)
    answer["attempts"] = sum(each["attempts"] for each in made)
    answer["foreign_cpu_share_max"] = max((each["foreign"] for each in made if each["foreign"]), default=None)
    print(json.dumps(answer))


if __name__ == "__main__":
    options.run(main)
