"""Codes of dated postings against LDA: `python -m benchmarks.dynamic_topics --data=<20_newsgroups.tar.xz or folder>`.

Both predict the words of held-out postings. The vocabulary is the 2,000 words, without stop words, that occur in the
most postings. Both use the same training, validation and held-out parts; settings are chosen on the validation part.

- Document completion: a random half of a posting's words determines its code or topic shares, and the perplexity is
  that of the other half. The claim is about this perplexity.
- Whole postings: the code is computed from the same words that it predicts.

The predecessor of a posting is the latest earlier posting of its thread, that is, with the same subject without `Re:`.
Duplicate postings are left out, because a copy could become its own predecessor.
"""

import collections
import re
import time

import keras
import numpy as np
from scipy import sparse
from sklearn.cluster import KMeans
from sklearn.decomposition import LatentDirichletAllocation
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.preprocessing import normalize

import keras_ae as ka
from benchmarks import options, results
from keras_ae import plots
from keras_ae.datasets import text
from keras_ae.evaluation import retrieval, topics

WORDS = 2_000
SIZES = (10, 50)
AT_ONCE = (10,)  # sizes also trained at once, which takes twice the time
VALIDATION = 0.1
SEED = 0
# The best of 0.3, 3 and 20 on the validation part in trials with 50 codes; 0 was as good: see NOTES.md.
DYNAMICS_WEIGHT = 0.3
WIDTHS = (500, 250)  # of the first stage's code, and of the hidden layer between it and the final code
DROPOUT = 0.7
BATCH = 128
# Epochs, and Adam's initial learning rate, which decays to 0 along a cosine.
STAGES = {"first": (15, 3e-3), "second": (15, 2e-3), "all": (20, 2e-3), "at once": (35, 2e-3)}
LOOK_EVERY = 5  # epochs between evaluations on the validation part
LDA = {
    "batch": {"learning_method": "batch", "max_iter": 30, "n_jobs": -1},
    "online": {
        "learning_method": "online",
        "max_iter": 10,
        "batch_size": 256,
        "learning_offset": 50.0,
        "doc_topic_prior": 0.1,
        "topic_word_prior": 0.01,
    },
}
# Precision around the encoder's code for codes of lowest energy, from trials on the validation part: see NOTES.md.
ENCODING_WEIGHT = {10: 3.0, 50: 10.0}
CLUSTERS, SHOWN, NAMED = 40, 6, 5
BANDWIDTH_DAYS = 1.0
WINDOW = (0.22, 0.8)  # quantiles of the dates; outside them, some groups have hardly any postings
LEAST_SHARE = 0.01  # minimum mean share of a topic to be shown
COMPLETION, WHOLE = "perplexity of one half given the other", "perplexity of whole postings"
NEAR, ROUGHNESS = "precision at 100", "mean squared step, 1 for unrelated postings"
PICTURE = "topics_drifting.png"
SMOKE = {
    "WORDS": 200,
    "SIZES": (3,),
    "AT_ONCE": (3,),
    "WIDTHS": (16, 8),
    "ENCODING_WEIGHT": {3: 3.0},
    "STAGES": {stage: (1, rate) for stage, (_, rate) in STAGES.items()},
    "LOOK_EVERY": 1,
    "LDA": {"online": LDA["online"] | {"max_iter": 1}},
    "CLUSTERS": 5,
    "SHOWN": 2,
}

Part = collections.namedtuple("Part", "rows whole asked rest")
Part.__doc__ = """Row numbers in the corpus `(N,)`; counts `(N, V)` of all words, a random half, and the other half."""


def thread(title):
    """Returns the subject line without reply and forward prefixes, which all postings of a thread share."""
    return " ".join(re.sub(r"^(\s*(re|fwd?)\s*(\[\d+\])?\s*:\s*)+", "", (title or "").lower()).split())


def predecessors(documents, rows):
    """Returns for each of `rows` the latest earlier document of its thread among them, or itself: `(len(rows),)`."""
    before, latest = {row: row for row in rows}, {}
    for row in sorted((row for row in rows if documents[row].date), key=lambda row: documents[row].date):
        name = thread(documents[row].title)
        before[row] = latest.get(name, row)
        latest[name] = row
    return np.array([before[row] for row in rows])


def without_copies(documents):
    """Returns the documents without duplicates: the first one with each body."""
    bodies = {}
    for each in documents:
        bodies.setdefault(each.text.partition("\n")[2].strip() or each.id, each)
    return list(bodies.values())


def corpus(documents, rng):
    """Returns counts `(N, V)`, the vocabulary, and the parts `train`, `validation` and `held_out`."""
    queries = np.array([text.is_query(each.id) for each in documents])
    analysis = {"stop_words": "english", "token_pattern": r"[a-z]{2,}"}
    texts = [each.text for each in documents]
    # Select words by document frequency, not by count: encoded files repeat theirs thousands of times.
    often = CountVectorizer(binary=True, max_features=WORDS, **analysis)
    often.fit([each for each, query in zip(texts, queries, strict=True) if not query])
    counts = CountVectorizer(vocabulary=often.vocabulary_, **analysis).transform(texts).toarray()
    chosen = rng.random(len(documents)) < VALIDATION
    masks = {"train": ~queries & ~chosen & counts.any(axis=1), "validation": ~queries & chosen, "held_out": queries}
    halves = rng.binomial(counts, 0.5)
    parts = {
        name: Part(np.flatnonzero(mask), *(each[mask].astype("float32") for each in (counts, halves, counts - halves)))
        for name, mask in masks.items()
    }
    return counts.astype("float32"), often.get_feature_names_out(), parts


# The autoencoder


def first_stage():
    inputs = keras.Input((WORDS,))
    # Long postings say more about their topic, but not in proportion to their length.
    code = keras.layers.UnitNormalization()(keras.ops.log1p(inputs))
    code = keras.layers.Dense(WIDTHS[0])(keras.layers.Dropout(DROPOUT)(code))
    decoder = ka.networks.mlp_decoder(WIDTHS[0], (WORDS,), hidden=())
    return ka.DynamicAutoencoder(keras.Model(inputs, code), decoder, dynamics_weight=0.0, seed=SEED)


def second_stage(first, size, weight):
    encoder = ka.networks.mlp_encoder((WIDTHS[0],), size, hidden=WIDTHS[1:])
    # Unit variance, so that small codes cannot make the dynamics term small.
    scaled = keras.Sequential([encoder, keras.layers.BatchNormalization(center=False, scale=False)])
    model = first.deepen(scaled, ka.networks.mlp_decoder(size, (WIDTHS[0],), hidden=WIDTHS[1:]))
    model.dynamics_weight = weight
    return model


class _Best(keras.callbacks.Callback):
    """Restores the weights of the epoch with the lowest perplexity on the validation part."""

    def __init__(self, part):
        super().__init__()
        self.part, self.perplexity = part, np.inf

    def on_epoch_end(self, epoch, logs=None):
        if (epoch + 1) % LOOK_EVERY:
            return
        found = topics.perplexity(self.model, self.part.rest, self.model.encode(self.part.asked))
        if found < self.perplexity:
            self.perplexity, self.weights = found, self.model.get_weights()

    def on_train_end(self, logs=None):
        self.model.set_weights(self.weights)


def fit(model, stage, x, before, validation):
    """Trains a stage; returns its best perplexity on the validation part."""
    epochs, rate = STAGES[stage]
    keras.utils.set_random_seed(SEED)
    falling = keras.optimizers.schedules.CosineDecay(rate, epochs * -(-len(x) // BATCH))
    model.compile(keras.optimizers.Adam(falling))
    best = _Best(validation)
    # Without a weight on the dynamics, encoding the past would waste time.
    past = before if model.dynamics_weight else None
    start = time.perf_counter()
    model.fit(x, past, batch_size=BATCH, epochs=epochs, verbose=0, callbacks=[best])
    _say(f"{stage}: {model.latent_dim} codes, weight {model.dynamics_weight:.1f}", best.perplexity, start)
    return best.perplexity


def recipes(size, x, before, validation, first_weights):
    """Trains models of `size` by each recipe: `{(recipe, weight): (model, validation perplexity, seconds)}`."""
    found = {}
    tries = [("stage by stage", 0.0), ("stage by stage", DYNAMICS_WEIGHT)]
    if size in AT_ONCE:
        tries.append(("at once", DYNAMICS_WEIGHT))
    for recipe, weight in tries:
        start = time.perf_counter()
        keras.utils.set_random_seed(SEED)
        first = first_stage()
        if recipe == "stage by stage":
            first.set_weights(first_weights)
        model = second_stage(first, size, weight)
        if recipe == "stage by stage":
            fit(model, "second", x, before, validation)
        model.unfreeze()
        reached = fit(model, "all" if recipe == "stage by stage" else "at once", x, before, validation)
        found[recipe, weight] = model, reached, time.perf_counter() - start
    return found


def lowest_energy(model, part, counts, before):
    """Returns the completion perplexities with codes from `infer`: without predecessors, and with their codes."""
    code = model.encode(part.asked)
    past = np.where((before == part.rows)[:, None], code, model.encode(counts[before]))
    weight = ENCODING_WEIGHT[model.latent_dim]
    return [predicted(model, part.rest, model.infer(part.asked, each, encoding_weight=weight)) for each in (code, past)]


def predicted(model, x, z):
    """Returns the perplexity of the words x given the codes z, and its standard error."""
    return topics.perplexity_of(topics.log_prob(model, x, z), x.sum(axis=1))


# LDA


def lda(size, parts):
    """Returns the LDA with the best completion of the validation part: its name, the model, and seconds of all fits."""
    start, found = time.perf_counter(), {}
    train, slice_ = sparse.csr_matrix(parts["train"].whole), parts["validation"]
    for name, settings in LDA.items():
        begun = time.perf_counter()
        model = LatentDirichletAllocation(size, random_state=SEED, **settings).fit(train)
        reached, _ = topics.perplexity_of(lda_log_prob(model, slice_.asked, slice_.rest), slice_.rest.sum(axis=1))
        _say(f"LDA, {size} topics, {name}", reached, begun)
        found[name] = model, reached
    name = min(found, key=lambda each: found[each][1])
    return name, found[name][0], time.perf_counter() - start


def lda_log_prob(model, asked, rest):
    """Returns log p `(N,)` of the words in `rest`, given topic shares inferred from `asked`."""
    shares = model.transform(sparse.csr_matrix(asked))
    return np.sum(rest * np.log(shares @ normalize(model.components_, norm="l1")), axis=1)


# Neighbours and the picture


def precision(codes, base, labels, base_labels):
    """Returns precision at 100 by cosine similarity of codes: the mean over queries and its standard error."""
    codes, base = normalize(codes), normalize(base)
    blocks = [slice(i, i + 500) for i in range(0, len(codes), 500)]
    found = [
        retrieval.precision_at(100, -codes[block] @ base.T, labels[block, None] == base_labels) for block in blocks
    ]
    return _mean(np.concatenate(found))


def smoothed(days, labels, groups, at, bandwidth):
    """Returns the share of each label at each time in `at`, `(T, labels)`, with equal weight for each group.

        share_tk = mean_g sum_{i in g} w_ti [label_i = k] / sum_{i in g} w_ti,    w_ti = exp(-(at_t - days_i)^2 / 2 b^2)

    Groups were collected over different days. Without the mean over groups, the drift would only show that.
    """
    found = []
    for group in np.unique(groups):
        inside = groups == group
        exponent = -((at[:, None] - days[inside]) ** 2) / (2 * bandwidth**2)
        weights = np.exp(exponent - exponent.max(axis=1, keepdims=True))  # (T, postings of the group)
        found.append(normalize(weights, norm="l1") @ np.eye(labels.max() + 1)[labels[inside]])
    return np.mean(found, axis=0)


def picture(model, documents, counts, words):
    """Draws the topics (clusters of codes) whose shares of the postings changed most over the weeks."""
    dated = np.array([i for i, each in enumerate(documents) if each.date and counts[i].any()])
    days = np.array([documents[i].date.timestamp() for i in dated]) / 86_400
    start, end = np.quantile(days, WINDOW)
    codes = normalize(model.encode(counts[dated]))
    clusters = KMeans(CLUSTERS, n_init=3, random_state=SEED).fit_predict(codes)
    at = np.arange(start, end, 0.25)
    shares = smoothed(days, clusters, np.array([documents[i].label for i in dated]), at, BANDWIDTH_DAYS)
    # Compare logs of shares: a change from 2 to 4 % counts as much as one from 10 to 20 %.
    change = np.ptp(np.log(shares + 1e-4), axis=0)
    shown = np.argsort(-np.where(shares.mean(axis=0) > LEAST_SHARE, change, 0))[:SHOWN]
    holds = counts[dated] > 0
    # Words that are more frequent in these postings than overall.
    more = [holds[clusters == cluster].mean(axis=0) - holds.mean(axis=0) for cluster in shown]
    names = [", ".join(words[np.argsort(-each)[:NAMED]]) for each in more]
    times = (at * 86_400).astype("datetime64[s]")
    figure = plots.drift(times, shares[:, shown], names, title="Topics of the postings, days of April 1993")
    figure.savefig(results.DOCS / PICTURE)


# Rows


def measure(size, documents, counts, parts, first_weights):
    """Returns the rows of one size, and the model that the claim is about."""
    train, held_out = parts["train"], parts["held_out"]
    before = predecessors(documents, range(len(documents)))[held_out.rows]  # from any part, because the past is known
    found = recipes(size, train.whole, counts[predecessors(documents, train.rows)], parts["validation"], first_weights)
    recipe = min((r for r, weight in found if weight), key=lambda r: found[r, DYNAMICS_WEIGHT][1])
    model, _, seconds = found[recipe, DYNAMICS_WEIGHT]
    name, beside, lda_seconds = lda(size, parts)
    ours, its = f"dynamic autoencoder, {size} codes", f"LDA, {size} topics, {name}"
    made = []

    def add(claim, metric, value, seconds, required=None, better="lower"):
        fields = {
            "ours": value[0],
            "standard_error": value[1],
            "seconds": seconds,
            "required": required,
            "better": better,
        }
        made.append({"claim": claim, "metric": metric} | fields)
        _say(f"{claim}, {metric} (required {required})", value[0], time.perf_counter())

    for metric, asked, rest in ((COMPLETION, held_out.asked, held_out.rest), (WHOLE, held_out.whole, held_out.whole)):
        theirs = topics.perplexity_of(lda_log_prob(beside, asked, rest), rest.sum(axis=1))
        value = predicted(model, rest, model.encode(asked))
        add(f"{ours}, trained {recipe}, compared with LDA", metric, value, seconds, required=theirs[0])
        add(its, metric, theirs, lda_seconds)
    for (other, weight), (each, _, its_seconds) in found.items():
        if each is not model:
            value = predicted(each, held_out.rest, each.encode(held_out.asked))
            add(f"{ours}, trained {other}, dynamics weight {weight}", COMPLETION, value, its_seconds)
    start = time.perf_counter()
    for claim, value in zip(("without", "given"), lowest_energy(model, held_out, counts, before), strict=True):
        claim = f"{ours} found by energy minimisation, {claim} the previous posting"
        add(claim, COMPLETION, value, time.perf_counter() - start)
    follows = before != held_out.rows
    required = None
    for weight in (0.0, DYNAMICS_WEIGHT):
        each, _, its_seconds = found["stage by stage", weight]
        rough = topics.roughness(each.encode(held_out.whole[follows]), each.encode(counts[before[follows]]))
        claim = f"steps along threads, {size} codes, stage by stage, dynamics weight {weight}"
        add(claim, ROUGHNESS, (rough, None), its_seconds, required=required)
        required = rough
    labels = np.array([each.label for each in documents])
    labels = labels[held_out.rows], labels[train.rows]
    theirs = precision(*(beside.transform(sparse.csr_matrix(part.whole)) for part in (held_out, train)), *labels)
    value = precision(*(model.encode(part.whole) for part in (held_out, train)), *labels)
    add(f"{ours}, nearest postings from the same group, compared with LDA", NEAR, value, seconds, theirs[0], "higher")
    add(its, NEAR, theirs, lda_seconds, better="higher")
    return made, model


def main(_):
    start = time.perf_counter()
    read = list(text.Documents(options.data("postings")))
    documents = without_copies(read)
    undated = sum(each.date is None for each in read)
    counts, words, parts = corpus(documents, np.random.default_rng(SEED))
    train, held_out = parts["train"], parts["held_out"]
    before = predecessors(documents, train.rows)
    _say(f"postings without a date, of {len(read)}", undated, start)
    _say("duplicates left out", len(read) - len(documents), start)
    _say(f"postings that follow another, of {len(before)} in the training part", np.sum(before != train.rows), start)
    first = first_stage()
    fit(first, "first", train.whole, None, parts["validation"])
    made, models = [], {}
    share = train.whole.sum(axis=0) / train.whole.sum()
    value = topics.perplexity_of(held_out.rest @ np.log(share), held_out.rest.sum(axis=1))
    each = {"claim": "the same word frequencies for all postings", "metric": COMPLETION, "better": "lower"}
    made.append(each | {"ours": value[0], "standard_error": value[1], "seconds": 1.0})
    for size in SIZES:
        rows, models[size] = measure(size, documents, counts, parts, first.get_weights())
        made += rows
    data = f"20 Newsgroups, {len(train.rows):,} training postings, {len(held_out.rows):,} held out, {WORDS:,} words"
    command = "python -m benchmarks.dynamic_topics --data=20_newsgroups.tar.xz"
    shared = {"data": data, "seeds": [SEED], "command": command}
    results.write("dynamic_topics", [results.row(**each, **shared) for each in made])
    picture(models[SIZES[-1]], documents, counts, words)


def _mean(values):
    return values.mean(), values.std(ddof=1) / np.sqrt(len(values))


def _say(what, value, start):
    print(f"{what}: {value:.5g}, {time.perf_counter() - start:.0f} s", flush=True)


if __name__ == "__main__":
    options.run(main)
