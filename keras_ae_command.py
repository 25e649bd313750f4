"""The `keras-ae` command, which finds the apps and runs them like `python -m`.

It is a separate module because `import keras_ae` imports TensorFlow, which would make `keras-ae --help` slow.
"""

import ast
import contextlib
import glob
import importlib.metadata
import os
import pathlib
import re
import runpy
import signal
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent
INSTALLED, CLONED = ROOT / "keras_ae" / "apps", ROOT / "apps"

# Without an app, these verbs are those of the app for the user's own data.
RESERVED = ("train", "encode", "reconstruct", "sample", "score")
OWN = "own_data"

USAGE = """\
usage: keras-ae <app> <verb> [flags], or keras-ae <verb> [flags] for the verbs with a star

{apps}

keras-ae <app> <verb> --help lists the flags; --verbose shows what TensorFlow and Keras print.
Exit codes: 0 all done; 1 an error, and the last line says what to do; 2 some of the files or queries failed."""

_HELP = ("--help", "-h", "help")

# Messages that TensorFlow prints on every start and that users cannot act on.
_NOISE = [
    r"WARNING: All log messages before absl::InitializeLog\(\) is called are written to STDERR",
    r"port\.cc:\d+\] oneDNN custom operations are on\.",
    r"cpu_feature_guard\.cc:\d+\] This TensorFlow binary is optimized to use available CPU instructions",
    r"To enable the following instructions: .* rebuild TensorFlow with the appropriate compiler flags\.",
    r"Unable to register cu\w+ (factory|computation placer)",
    r"TF-TRT Warning: Could not find TensorRT",
]
# Messages to hide only on machines without a GPU; with a GPU, they explain why it is not used.
_NOISE_WITHOUT_GPU = [
    r"Could not find cuda drivers on your machine, GPU will not be used\.",
    r"failed call to cuInit: ",
    r"Cannot dlopen some GPU libraries\.",
    r"cuda_diagnostics\.cc:\d+\]",
]


def main() -> None:
    """Runs the command with the arguments in `sys.argv`; exits with the app's exit code."""
    apps = _apps()
    given, *arguments = sys.argv[1:] or ["--help"]
    name = given.replace("-", "_")
    having = [app for app, verbs in apps.items() if name in verbs]
    if given in _HELP:
        _show(USAGE.format(apps=_described(apps)))
    elif given == "--version":
        _show(importlib.metadata.version("keras_ae"))
    elif name in apps and "" in apps[name]:
        _run(name, "", arguments)
    elif name in apps and arguments and arguments[0] in apps[name]:
        _run(name, arguments[0], arguments[1:])
    elif name in apps and (not arguments or arguments[0] in _HELP):
        _show(_described({name: apps[name]}))
    elif name in apps:
        sys.exit(f"error: {name} has no verb {arguments[0]!r}; it has {', '.join(apps[name])}.")
    elif name in RESERVED and OWN in having:
        _run(OWN, name, arguments)
    elif len(having) == 1:
        _run(having[0], name, arguments)
    else:
        sys.exit(f"error: {_unclear(given, name, having)}")


def import_tensorflow() -> None:
    """Imports TensorFlow and hides its startup messages, unless the command line has --verbose."""
    if any(each.lstrip("-") == "verbose" for each in sys.argv):
        import tensorflow  # noqa: F401

        return
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # errors only; TensorFlow reads this on import
    with _without_noise():
        import tensorflow as tf

        tf.config.list_physical_devices()  # looks for GPUs now, so that its messages are filtered too


def _apps():
    """Returns `{app: {verb: first docstring line}}` for the scripts of all apps; the verb of a `__main__` is ""."""
    found = {}
    for path in sorted((INSTALLED if INSTALLED.is_dir() else CLONED).glob("*/*.py")):
        text = path.read_text(encoding="utf-8")
        if '\nif __name__ == "__main__":\n' in text:
            verb = path.stem.removesuffix("__main__")
            found.setdefault(path.parent.name, {})[verb] = ast.get_docstring(ast.parse(text)).splitlines()[0]
    return found


def _show(text):
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # a reader such as head may close the pipe early
    print(text)


def _described(apps):
    counts = [verb for verbs in _apps().values() for verb in verbs]
    lines = []
    for app, verbs in apps.items():
        for verb, line in verbs.items():
            own = app == OWN if verb in RESERVED else counts.count(verb) == 1
            star = "*" if verb and own else ""
            lines.append(f"{f'{app} {verb}{star}':27} {line}")
    return "\n".join(lines)


def _unclear(given, verb, having):
    """Returns an error message for a first word that is neither an app nor the verb of exactly one app."""
    if having:
        return f"several apps have {verb}: {_examples(verb, having)}."
    return f"there is no app and no verb {given!r}; `keras-ae --help` lists them."


def _examples(verb, apps):
    return ", ".join(f"`keras-ae {app} {verb}`" for app in apps)


def _run(app, verb, arguments):
    package = "keras_ae.apps" if INSTALLED.is_dir() else "apps"
    if package == "apps":
        sys.path.insert(0, str(ROOT))
    sys.argv[1:] = arguments
    try:
        import_tensorflow()
        runpy.run_module(f"{package}.{app}.{verb}".removesuffix("."), run_name="__main__", alter_sys=True)
    except KeyboardInterrupt:
        sys.exit("Interrupted.")


@contextlib.contextmanager
def _without_noise():
    """Buffers standard error during the block, including output from C++, then prints the lines that are not noise."""
    noise = re.compile("|".join(_NOISE if glob.glob("/dev/nvidia[0-9]*") else _NOISE + _NOISE_WITHOUT_GPU))
    with contextlib.ExitStack() as stack:
        try:
            lines, kept = stack.enter_context(tempfile.TemporaryFile()), os.dup(2)
        except OSError:  # no standard error, or nowhere to put a temporary file
            yield
            return
        sys.stderr.flush()
        os.dup2(lines.fileno(), 2)
        try:
            yield
        finally:
            sys.stderr.flush()
            os.dup2(kept, 2)
            os.close(kept)
            lines.seek(0)
            for line in lines:
                if not noise.search(line.decode(errors="replace")):
                    os.write(2, line)


if __name__ == "__main__":
    main()
