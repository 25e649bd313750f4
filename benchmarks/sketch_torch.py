"""The model of drawings with plain LSTMs in PyTorch: its speed, and its training, in this process.

    python benchmarks/sketch_torch.py speed --data=<npz with x> --sizes='{"units": 512, ...}' --seconds=20
    python benchmarks/sketch_torch.py train --data=<sketch-rnn npz> --sizes=... --minutes=45 --folder=<for checkpoints>

Prints one JSON object. Networks, density and optimizer are those of `keras_ae.SketchVAE` with the cell "lstm", but
without recurrent dropout, which PyTorch's LSTM does not have. Training takes the same batches, augmentation, annealing
and decay as `apps.sketch_vae.train`, and the same share of the processors' time; a killed run resumes.
"""

import argparse
import json
import math
import os
import pathlib
import sys
import time

import numpy as np

THREADS = 2
MIN_SCALE, MAX_SLANT = 1e-2, 6.0  # as in keras_ae.distributions.strokes


def torch_module():
    import torch

    torch.set_flush_denormal(True)
    torch.set_num_threads(THREADS)
    return torch


def networks(torch, sizes, seed):
    """Returns the model: a module from stroke-5 `(B, T, 5)`, scaled, to reconstruction and KL, `(B,)` nats."""
    torch.manual_seed(seed)
    nn = torch.nn
    latent, units, mixtures = sizes["latent_dim"], sizes["units"], sizes["mixtures"]

    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.ways = nn.ModuleList(nn.LSTM(5, sizes["encoder_units"]) for _ in range(2))
            self.posterior = nn.Linear(2 * sizes["encoder_units"], 2 * latent)
            self.enter = nn.Linear(latent, 2 * units)
            self.decoder = nn.LSTM(5 + latent, units)
            self.leave = nn.Linear(units, 6 * mixtures + 3)

        def forward(self, x, sample=True):
            ended = x[..., 4].cumsum(1) > 0.5
            n = (~ended).sum(1)
            ends = []
            places = torch.arange(x.shape[1])[None]
            back = torch.where(places < n[:, None], n[:, None] - 1 - places, places)
            turned = x.gather(1, back[..., None].expand_as(x))
            for lstm, rows in zip(self.ways, (x, turned), strict=True):
                h, _ = lstm(rows.transpose(0, 1))
                ends.append(h[n - 1, torch.arange(len(x))])
            mean, raw = self.posterior(torch.cat(ends, 1)).chunk(2, 1)
            scale = nn.functional.softplus(raw) + 1e-6
            z = mean + scale * torch.randn_like(mean) if sample else mean
            kl = 0.5 * (mean**2 + scale**2 - 2 * scale.log() - 1).sum(1)
            start = [each.contiguous()[None] for each in torch.tanh(self.enter(z)).chunk(2, 1)]
            first = torch.tensor([0.0, 0, 1, 0, 0]).expand(len(x), 1, 5)
            given = torch.cat([first, x[:, :-1]], 1)
            given = torch.cat([given, z[:, None].expand(-1, x.shape[1], -1)], 2)
            h, _ = self.decoder(given.transpose(0, 1), tuple(start))
            return self.nats(x.transpose(0, 1), self.leave(h)), kl

        def nats(self, x, params):
            parts = params.split([mixtures] * 6 + [3], -1)
            logits, mx, my, rx, ry, b, pen = parts
            sx, sy = (nn.functional.softplus(r) + MIN_SCALE for r in (rx, ry))
            a = MAX_SLANT * torch.tanh(b / MAX_SLANT)
            u, v = (x[..., :1] - mx) / sx, (x[..., 1:2] - my) / sy
            w = v * torch.cosh(a) - u * torch.sinh(a)
            log_n = torch.log(torch.cosh(a)) - 0.5 * (u * u + w * w) - sx.log() - sy.log() - math.log(2 * math.pi)
            offset = torch.logsumexp(logits.log_softmax(-1) + log_n, -1)
            state = (x[..., 2:] * pen.log_softmax(-1)).sum(-1)
            count = x[..., 4].cumsum(0)
            inside, counted = (count < 0.5).float(), (count < 1.5).float()
            return -(inside * offset + counted * state).sum(0)

    return Model()


def adam(torch, model, rate, clip):
    optimizer = torch.optim.Adam(model.parameters(), lr=rate, eps=1e-7, fused=True)

    def step(loss):
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_value_(model.parameters(), clip)
        optimizer.step()

    return optimizer, step


def speed(arguments, sizes):
    """Returns training steps a second on batches of equal length, over about `seconds`, and the CPU time used."""
    torch = torch_module()
    with np.load(arguments.data) as file:
        x = torch.from_numpy(file["x"])
    model = networks(torch, sizes, 0)
    _, step = adam(torch, model, 1e-3, 100.0)

    def epoch():
        for rows in torch.randperm(len(x)).split(sizes["batch_size"]):
            reconstruction, kl = model(x[rows])
            step((reconstruction + 0.5 * kl).mean())

    epoch()
    start, cpu, steps = time.perf_counter(), time.process_time(), 0
    while time.perf_counter() - start < arguments.seconds:
        epoch()
        steps += math.ceil(len(x) / sizes["batch_size"])
    seconds = time.perf_counter() - start
    parameters = sum(each.numel() for each in model.parameters())
    return {"steps_per_second": steps / seconds, "cpu": time.process_time() - cpu, "seconds": seconds} | {
        "parameters": parameters
    }


def train(arguments, sizes):
    """Trains for the minutes of CPU time; returns the nats a drawing of the test split."""
    torch = torch_module()
    # They import TensorFlow, which stays idle.
    from apps.sketch_vae import measures
    from apps.sketch_vae.train import read
    from keras_ae.datasets import sketch_files, sketches

    parts, facts = read(arguments.data, sizes, "refuse")
    drawings, scale, n_max = parts["train"].drawings, facts["scale"], facts["n_max"]
    model = networks(torch, sizes, arguments.seed)
    optimizer, step = adam(torch, model, sizes["learning_rate"], sizes["clip"] * n_max)
    path = pathlib.Path(arguments.folder) / "torch.pt"
    epoch, steps, before = 0, 0, 0.0
    if path.exists():
        state = torch.load(path)
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        epoch, steps, before = state["epoch"], state["steps"], state["seconds"]
    begun = clock()
    limit = 60 * arguments.minutes
    end = sizes["kl_weight"] * n_max / sizes["latent_dim"]
    while True:
        for batch in sketches.epoch(drawings, None, sizes["batch_size"], True, arguments.seed, epoch):
            spent = before + clock() - begun
            if spent >= limit:
                break
            for group in optimizer.param_groups:
                group["lr"] = sizes["learning_rate"] * (1 + math.cos(math.pi * spent / limit)) / 2
            batch[..., :2] /= scale
            reconstruction, kl = model(torch.from_numpy(batch))
            kl = kl.mean().clamp(min=sizes["kl_min"] * sizes["latent_dim"])
            beta = end * (1 - (1 - sizes["kl_start"]) * sizes["kl_rate"] ** steps)
            step(reconstruction.mean() + beta * kl)
            steps += 1
        else:
            epoch += 1
            state = {"model": model.state_dict(), "optimizer": optimizer.state_dict()}
            torch.save(state | {"epoch": epoch, "steps": steps, "seconds": before + clock() - begun}, f"{path}.new")
            os.replace(f"{path}.new", path)
            continue
        break
    found = sketch_files.load(arguments.data, "test").drawings
    found = [each for each in found if len(each) < n_max]
    torch.manual_seed(arguments.seed)
    values = []
    with torch.no_grad():
        for start in range(0, len(found), measures.BATCH):
            x = sketches.to_strokes5(found[start : start + measures.BATCH])
            x[..., :2] /= scale
            values.append(torch.stack(model(torch.from_numpy(x)), 1).numpy())
    reconstruction, kl = np.concatenate(values).astype("float64").T
    nats = reconstruction + kl
    return {
        "nats_per_sketch": nats.mean(),
        "nats_per_sketch_standard_error": nats.std(ddof=1) / math.sqrt(len(nats)),
        "reconstruction": reconstruction.mean() / n_max,
        "kl": kl.mean() / sizes["latent_dim"],
        "steps": steps,
        "train_seconds": before + clock() - begun,
        "drawings": len(nats),
    }


def clock():
    """CPU time divided by the number of cores, as `benchmarks.runs.ProcessorTime`."""
    return time.process_time() / len(os.sched_getaffinity(0))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["speed", "train"])
    parser.add_argument("--data", required=True)
    parser.add_argument("--sizes", type=json.loads, required=True)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--minutes", type=float, default=45.0)
    parser.add_argument("--folder", default=".")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    made = {"speed": speed, "train": train}[arguments.what](arguments, arguments.sizes)
    import torch

    print(json.dumps(made | {"torch": torch.__version__}))


if __name__ == "__main__":
    sys.path.insert(0, str(pathlib.Path(__file__).parents[1]))
    main()
