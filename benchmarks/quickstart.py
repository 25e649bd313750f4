"""Results of the quickstart, by dataset: `python -m benchmarks.quickstart --mnist=<path of mnist.npz>`.

Runs the commands of the README one after the other and saves their reports.
"""

import json
import subprocess
import sys

from absl import flags

from benchmarks import options, results

_MNIST = flags.DEFINE_string("mnist", None, "Path of mnist.npz; without it only the digits run.")
ARGUMENTS = ()  # for every run, in addition to those that the table shows
SMOKE = {"ARGUMENTS": ("--max_minutes=0.01",)}


def run(*arguments):
    """Runs the quickstart in its own process and returns its report."""
    command = [sys.executable, "-m", "apps.quickstart", f"--seed={options.SEED.value}", *ARGUMENTS, *arguments]
    # Progress passes through; the last line of stdout is the report.
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        for line in process.stdout:
            print(line, end="", file=sys.stderr, flush=True)
    if process.returncode:
        raise RuntimeError(f"{' '.join(command)} ended with exit code {process.returncode}.")
    return json.loads(line)


def rows(report, command, marks):
    """Returns the rows of one report; `marks` has the paper's, required and target values of the test NLL."""
    data = f"{report['dataset']}, {report['test_images']} test images"
    shared = {"data": data, "seeds": [report["seed"]], "seconds": report["seconds"], "command": command}
    nll = f"VAE, {report['latent_dim']} latents: NLL, {report['nll_samples']} importance samples"
    error = report["test_nll_standard_error"]
    return [
        results.row(
            claim=nll, metric="nats", better="lower", ours=report["test_nll"], standard_error=error, **marks, **shared
        ),
        results.row(claim="same model: negative ELBO", metric="nats", better="lower", ours=-report["elbo"], **shared),
        results.row(
            claim="reconstruction error relative to PCA",
            metric="ratio of squared errors",
            better="lower",
            required=1.0,
            ours=report["squared_error"] / report["pca_squared_error"],
            **shared,
        ),
        results.row(
            claim="the export agrees with the model",
            metric="largest relative error",
            better="lower",
            required=1e-5,
            ours=report["export_max_error"],
            **shared,
        ),
    ]


def main(_):
    seed = f"--seed={options.SEED.value}"
    folder = options.runs("quickstart")
    made = rows(run(f"--export_dir={folder / 'digits'}"), f"python -m apps.quickstart {seed}", {})
    if _MNIST.value:
        arguments = ["--dataset=mnist", f"--data={_MNIST.value}", "--max_minutes=20"]
        # Burda 2016, table 1, VAE with one stochastic layer and k = 1, after 3,280 epochs.
        marks = {"paper": 86.76, "required": 89.0, "target": 87.0}
        command = f"python -m apps.quickstart --dataset=mnist --data=mnist.npz --max_minutes=20 {seed}"
        made += rows(run(*arguments, f"--export_dir={folder / 'mnist'}"), command, marks)
    results.write("quickstart", made)
    print(json.dumps({row["claim"]: row["ours"] for row in made}))


if __name__ == "__main__":
    options.run(main)
