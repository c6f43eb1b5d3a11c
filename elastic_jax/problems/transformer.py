"""An encoder-decoder transformer for sequences: it learns to write a target sequence from a source sequence.

    memory = encode(source),    logits_t = decode(memory, START target_1 ... target_{t-1})

The decoder is trained with the true past (teacher forcing). Sequences are int32 rows of equal length: tokens,
then `END` (targets only), then `PADDING`; padding is never attended to and has no loss. With V words and
smoothing ε,

    loss = (1/(b c)) Σ over the b targets' tokens of  -Σ_w q_w log softmax(logits)_w,    q = (1 - ε) 1_token +
    ε/V

where c is the mean number of tokens of a target in the training set. So f is the loss per token of the whole
training set (for shards of equal size), and the gradient of a mini-batch is unbiased, which dividing by the
number of tokens of the mini-batch is not.

Source: Vaswani et al., Attention Is All You Need, NeurIPS 2017, arXiv 1706.03762, Figure 1; positions of
section 3.5, tied embeddings of section 3.4, label smoothing of section 5.4.
Departures: normalises before each sublayer, not after it, with one more at the end of each stack (Xiong et
al., ICML 2020, arXiv 2002.04745, Figure 1b); no dropout; the constant c above; small default sizes.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jax import Array, lax

from elastic_jax import arguments, base, data
from elastic_jax.base import Params, PyTree
from elastic_jax.problems import flax_modules, sequences, supervised
from elastic_jax.problems.sequences import END, PADDING, START


class Transformer(nn.Module):
    """(sources int[b, s], targets int[b, t]) -> logits [b, t, num_tokens].

    Logits of a token see the whole source, and of the targets those before it only.
    """

    num_tokens: int
    """V: words, with `PADDING`, `START` and `END`."""
    width: int = 32
    num_heads: int = 2
    num_layers: int = 1
    """Layers of the encoder, and of the decoder."""
    hidden_width: int = 64
    """Units between the two dense layers of a feed-forward sublayer."""
    is_tied: bool = True
    """The embedding of tokens is also the last layer."""

    def setup(self) -> None:
        """Name the layers."""
        self.embedding = nn.Embed(self.num_tokens, self.width, embedding_init=nn.initializers.normal(self.width**-0.5))
        self.encoder = [Layer(self.num_heads, self.hidden_width) for _ in range(self.num_layers)]
        self.decoder = [Layer(self.num_heads, self.hidden_width) for _ in range(self.num_layers)]
        self.encoder_norm = nn.LayerNorm()
        self.decoder_norm = nn.LayerNorm()
        if not self.is_tied:
            self.last = nn.Dense(self.num_tokens, use_bias=False)

    def __call__(self, sources: Array, targets: Array) -> Array:
        """Logits of each target token, from the source and the tokens before it."""
        before = jnp.pad(targets[:, :-1], [(0, 0), (1, 0)], constant_values=START)
        return self.decode(self.encode(sources), sources, before)

    def encode(self, sources: Array) -> Array:
        """Sources int[b, s] -> memory [b, s, width]."""
        mask = _attend_to_words(sources, sources)
        hidden = self._embed(sources)
        for layer in self.encoder:
            hidden = layer(hidden, mask)
        return self.encoder_norm(hidden)

    def decode(self, memory: Array, sources: Array, before: Array) -> Array:
        """Logits [b, t, num_tokens] of what follows each of `before` int[b, t], given all up to it."""
        mask = nn.make_causal_mask(before, dtype=bool)
        source_mask = _attend_to_words(before, sources)
        hidden = self._embed(before)
        for layer in self.decoder:
            hidden = layer(hidden, mask, memory, source_mask)
        hidden = self.decoder_norm(hidden)
        return self.embedding.attend(hidden) if self.is_tied else self.last(hidden)

    def _embed(self, tokens: Array) -> Array:
        embedded = self.embedding(tokens)
        where = jnp.asarray(positions(tokens.shape[1], self.width), embedded.dtype)
        return self.width**0.5 * embedded + where[None]


def _attend_to_words(queries: Array, sources: Array) -> Array:
    """Each query [b, t] sees what is not padding of sources [b, s]: bool[b, 1, t, s]."""
    return nn.make_attention_mask(jnp.ones_like(queries, bool), sources != PADDING, jnp.logical_and, dtype=bool)


class Layer(nn.Module):
    """Attention to itself, to the memory if any, and a feed-forward network, each added to its input."""

    num_heads: int
    hidden_width: int

    @nn.compact
    def __call__(
        self, hidden: Array, mask: Array, memory: Array | None = None, memory_mask: Array | None = None
    ) -> Array:
        """[b, t, width] -> [b, t, width]."""
        normed = nn.LayerNorm()(hidden)
        hidden = hidden + nn.MultiHeadDotProductAttention(self.num_heads)(normed, normed, mask=mask)
        if memory is not None:
            normed = nn.LayerNorm()(hidden)
            hidden = hidden + nn.MultiHeadDotProductAttention(self.num_heads)(normed, memory, mask=memory_mask)
        inner = nn.relu(nn.Dense(self.hidden_width)(nn.LayerNorm()(hidden)))
        return hidden + nn.Dense(hidden.shape[-1])(inner)


def positions(length: int, width: int) -> np.ndarray:
    """sin(t / 10000^(2i/width)) in the even columns, cosines in the odd ones: float64[length, width]."""
    angles = np.arange(length)[:, None] / 10000.0 ** (np.arange(0, width, 2) / width)[None]
    return np.stack([np.sin(angles), np.cos(angles)], axis=-1).reshape(length, -1)[:, :width]


def measure(
    params: Params, batch: PyTree, *, module: Transformer, label_smoothing: float, tokens_per_target: float
) -> dict[str, Array]:
    """Loss and accuracy, summed over the tokens of each target of (sources, targets), divided by c."""
    sources, targets = batch
    logits = flax_modules.apply(module, {"params": params}, sources, targets)
    log_probabilities = jax.nn.log_softmax(logits)
    of_token = jnp.take_along_axis(log_probabilities, targets[..., None], axis=-1)[..., 0]
    losses = -(1 - label_smoothing) * of_token - label_smoothing * jnp.mean(log_probabilities, axis=-1)
    is_right = jnp.argmax(logits, axis=-1).astype(targets.dtype) == targets
    weights = (targets != PADDING).astype(logits.dtype) / tokens_per_target
    return {
        "loss": jnp.sum(weights * losses, axis=1),
        "accuracy": jnp.sum(weights * is_right.astype(weights.dtype), axis=1),
    }


def loss(params: Params, batch: PyTree, **bound: Any) -> Array:
    """The mean of `measure` over a mini-batch: float[]."""
    return jnp.mean(measure(params, batch, **bound)["loss"])


@partial(jax.jit, static_argnames=("module", "max_length"))
def translate(params: Params, sources: Array, *, module: Transformer, max_length: int) -> Array:
    """Greedy decoding: the most likely next token, again and again; recomputes the past for each.

    Args:
        params: of `module`.
        sources: int[b, s].
        module: the transformer, with the sizes of its training; `build` binds it in `problem.init`.
        max_length: >= 1, tokens to write at most.

    Returns:
        int32[b, max_length]: tokens, `END`, then `PADDING`.
    """

    def run(method: str, *inputs: Array) -> Array:
        return flax_modules.apply(module, {"params": params}, *inputs, method=method)

    def write(before: Array, place: Array) -> tuple[Array, None]:
        logits = lax.dynamic_index_in_dim(run("decode", memory, sources, before), place, 1, keepdims=False)
        # a sentence holds words and END; PADDING and START are what the model cannot mean
        token = jnp.argmax(logits.at[:, jnp.array([PADDING, START])].set(-jnp.inf), axis=-1).astype(jnp.int32)
        last = lax.dynamic_index_in_dim(before, place, 1, keepdims=False)
        token = jnp.where((last == END) | (last == PADDING), PADDING, token)
        return lax.dynamic_update_index_in_dim(before, token, place + 1, 1), None

    memory = run("encode", sources)
    written = jnp.full((sources.shape[0], max_length + 1), PADDING, jnp.int32).at[:, 0].set(START)
    written, _ = lax.scan(write, written, jnp.arange(max_length, dtype=jnp.int32))
    return written[:, 1:]


def build(
    *,
    num_workers: int,
    dataset: data.Dataset | None = None,
    batch_size: int = 32,
    split: str = "iid",
    alpha: float | None = None,
    seed: int = 0,
    strategy: str = "auto",
    chunk: int | None = None,
    mesh: jax.sharding.Mesh | None = None,
    width: int = 32,
    num_heads: int = 2,
    num_layers: int = 1,
    hidden_width: int = 64,
    is_tied: bool = True,
    label_smoothing: float = 0.1,
) -> base.Problem:
    """A transformer that turns sources into targets. `evaluate` is per token of the test set.

    Args:
        num_workers: n >= 1.
        dataset: int rows as inputs (sources [m, s]) and targets [m, t], as described above, `num_classes` the
            number of tokens V; default `sequences.reversal()`.
        batch_size: >= 1, pairs of a mini-batch of one worker.
        split: "iid", or by the number of tokens of the target: "by_label" or "dirichlet", see `data.shard`.
        alpha: > 0, concentration of the Dirichlet split.
        seed: of the split.
        strategy: how the oracle evaluates the workers, see `oracles.from_loss`.
        chunk: see `oracles.from_loss`.
        mesh: see `oracles.from_loss`.
        width: a multiple of `num_heads`, features of a token; 512 in the source.
        num_heads: >= 1, heads of each attention; 8 in the source.
        num_layers: >= 1, layers of the encoder, and of the decoder; 6 in the source.
        hidden_width: >= 1, units of the feed-forward sublayers; 2048 in the source.
        is_tied: the embedding of tokens is also the last layer.
        label_smoothing: ε in [0, 1]; 0.1 in the source.

    Raises:
        TypeError, ValueError: naming the argument, its value and its range.

    Example:
        >>> import jax
        >>> from elastic_jax import stacked
        >>> from elastic_jax.problems import transformer
        >>> problem = transformer.build(num_workers=4)
        >>> stacked.num_elements(jax.eval_shape(problem.init, jax.random.key(0)))
        22016
    """
    dataset = sequences.reversal() if dataset is None else sequences.check(dataset)
    num_heads = arguments.integer("num_heads", num_heads, low=1)
    width = arguments.integer("width", width, low=1)
    if width % num_heads:
        raise ValueError(f"width = {width} is out of range; it must be a multiple of num_heads = {num_heads}")
    module = Transformer(
        num_tokens=dataset.num_classes,
        width=width,
        num_heads=num_heads,
        num_layers=arguments.integer("num_layers", num_layers, low=1),
        hidden_width=arguments.integer("hidden_width", hidden_width, low=1),
        is_tied=arguments.flag("is_tied", is_tied),
    )
    smoothing = arguments.real("label_smoothing", label_smoothing, low=0.0, high=1.0)
    num_tokens = sequences.lengths(dataset.train_targets)
    bound: dict[str, Any] = {
        "module": module,
        "label_smoothing": smoothing,
        "tokens_per_target": float(num_tokens.mean()),
    }
    test_tokens = float(sequences.lengths(dataset.test_targets).mean())
    shapes = [(1, rows.shape[1]) for rows in (dataset.train_inputs, dataset.train_targets)]
    return supervised.build(
        init=partial(
            flax_modules.init,
            module=module,
            inputs=tuple(jax.ShapeDtypeStruct(shape, jnp.int32) for shape in shapes),
        ),
        loss=partial(loss, **bound),
        measure=partial(measure, **bound),
        test_measure=partial(measure, **(bound | {"tokens_per_target": test_tokens})),
        constants=base.Constants(optimal_value=0.0),
        num_workers=num_workers,
        dataset=dataset,
        labels=num_tokens,
        batch_size=batch_size,
        split=split,
        alpha=alpha,
        seed=seed,
        strategy=strategy,
        chunk=chunk,
        mesh=mesh,
    )
