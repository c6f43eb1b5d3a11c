"""Greedy decoding of a transformer that keeps what it has computed of the past.

    token_t = argmax_w logits_t[w],    logits_t = decode(memory, START token_1 ... token_{t-1})[t]

word by word until `END`: what `transformer.translate` does. There each token is computed from all before it; here keys
and values of the past are kept, in every layer, so that a token costs one place of the decoder and not all of them:

    q_t, k_t, v_t  = projections of the normalised hidden_t,    K_t = K_{t-1} k_t,    V_t = V_{t-1} v_t
    hidden_t      += softmax(q_t K_t^T / √d) V_t                d the features of a head

and the keys and values of the source once for all. Sentences are decoded in groups of about one length, each until
its last has come to its end.

Source: Vaswani et al., Attention Is All You Need, NeurIPS 2017, arXiv 1706.03762, section 3.1.
Departures: no beam search.
"""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jax import Array, lax

from elastic_jax import arguments
from elastic_jax.base import Params, PyTree
from elastic_jax.problems import flax_modules, sequences, transformer
from elastic_jax.problems.sequences import END, PADDING, START
from elastic_jax.problems.transformer import Transformer

TO_ITSELF, TO_SOURCE = "MultiHeadDotProductAttention_0", "MultiHeadDotProductAttention_1"
"""The two attentions of a layer of the decoder, as flax numbers them."""


def greedy(params: Params, sources: Any, *, module: Transformer, max_length: int, batch_size: int = 64) -> np.ndarray:
    """The translation of each source, each token the most likely one after those before it.

    Args:
        params: of `module`, [...].
        sources: int[m, s], words and `PADDING`.
        module: the transformer, with the sizes of its training; `transformer.build` binds it in `problem.init`.
        max_length: >= 1, tokens to write at most.
        batch_size: >= 1, sentences decoded at once.

    Returns:
        int32[m, max_length]: tokens, `END`, then `PADDING`; no `END` where the sentence is cut.

    Raises:
        TypeError, ValueError: naming the argument, its value and its range.
    """
    arguments.instance("module", module, Transformer, 'e.g. problem.init.keywords["module"]')
    max_length = arguments.integer("max_length", max_length, low=1)
    batch_size = arguments.integer("batch_size", batch_size, low=1)
    rows = np.asarray(sources)
    if rows.ndim != 2 or not np.issubdtype(rows.dtype, np.integer):
        raise ValueError(f"sources has shape {list(rows.shape)} and dtype {rows.dtype}; it must be integers [m, s]")
    if not len(rows):
        return np.zeros((0, max_length), np.int32)
    order = np.argsort(sequences.lengths(rows), kind="stable")
    found = np.zeros((len(rows), max_length), np.int32)
    for begin in range(0, len(rows), batch_size):
        own = order[begin : begin + batch_size]
        # the last group is filled up with its own sentences: one program serves all
        filled = jnp.asarray(rows[np.resize(own, batch_size)], jnp.int32)
        found[own] = np.asarray(_write(params, filled, module=module, max_length=max_length))[: len(own)]
    return found


class Writing(NamedTuple):
    """Sentences on their way."""

    place: Array
    """int32[]. t: tokens written."""
    last: Array
    """int32[b]. The last of them, `START` at first."""
    written: Array
    """int32[b, max_length]."""
    past: PyTree
    """For each layer keys and values, [b, max_length, heads, features]; zero from t on."""


@partial(jax.jit, static_argnames=("module", "max_length"))
def _write(params: Params, sources: Array, *, module: Transformer, max_length: int) -> Array:
    memory = flax_modules.apply(module, {"params": params}, sources, method="encode")
    is_word = sources != PADDING
    of_source = [_keys_and_values(params[f"decoder_{i}"][TO_SOURCE], memory) for i in range(module.num_layers)]
    shape = (len(sources), max_length, module.num_heads, module.width // module.num_heads)
    nothing = jnp.zeros(shape, memory.dtype)
    table = jnp.asarray(transformer.positions(max_length, module.width), memory.dtype)

    def goes_on(state: Writing) -> Array:
        return (state.place < max_length) & jnp.any(~_has_ended(state.last))

    def write(state: Writing) -> Writing:
        hidden = module.width**0.5 * params["embedding"]["embedding"][state.last] + table[state.place][None]
        is_past = jnp.broadcast_to(jnp.arange(max_length, dtype=jnp.int32) <= state.place, state.written.shape)
        past = []
        for i, before in enumerate(state.past):
            layer = params[f"decoder_{i}"]
            normed = _norm(layer["LayerNorm_0"], hidden)
            now = _keys_and_values(layer[TO_ITSELF], normed)
            past.append(jax.tree.map(partial(_put, place=state.place), before, now))
            hidden = hidden + _attend(layer[TO_ITSELF], normed, past[-1], is_past)
            normed = _norm(layer["LayerNorm_1"], hidden)
            hidden = hidden + _attend(layer[TO_SOURCE], normed, of_source[i], is_word)
            inner = nn.relu(_dense(layer["Dense_0"], _norm(layer["LayerNorm_2"], hidden)))
            hidden = hidden + _dense(layer["Dense_1"], inner)
        hidden = _norm(params["decoder_norm"], hidden)
        logits = hidden @ (params["embedding"]["embedding"].T if module.is_tied else params["last"]["kernel"])
        # a sentence holds words and END; PADDING and START are what the model cannot mean
        token = jnp.argmax(logits.at[:, jnp.array([PADDING, START])].set(-jnp.inf), axis=-1).astype(jnp.int32)
        token = jnp.where(_has_ended(state.last), PADDING, token)
        return Writing(state.place + 1, token, _put(state.written, token, place=state.place), past)

    start = Writing(
        place=jnp.zeros((), jnp.int32),
        last=jnp.full(len(sources), START, jnp.int32),
        written=jnp.full((len(sources), max_length), PADDING, jnp.int32),
        past=[(nothing, nothing)] * module.num_layers,
    )
    return lax.while_loop(goes_on, write, start).written


def _has_ended(last: Array) -> Array:
    return (last == END) | (last == PADDING)


def _put(rows: Array, now: Array, *, place: Array) -> Array:
    return lax.dynamic_update_index_in_dim(rows, now, place, 1)


def _keys_and_values(attention: Params, hidden: Array) -> tuple[Array, Array]:
    """[b, ..., width] -> two of [b, ..., heads, features]."""
    keys, values = (_project(attention[name], hidden) for name in ("key", "value"))
    return keys, values


def _attend(attention: Params, queries: Array, seen: tuple[Array, Array], is_seen: Array) -> Array:
    """[b, width], and keys and values [b, s, heads, features] of which bool[b, s] are seen -> [b, width]."""
    query, (keys, values) = _project(attention["query"], queries), seen
    scores = jnp.einsum("bhf,bshf->bhs", query, keys) / query.shape[-1] ** 0.5
    weights = jax.nn.softmax(jnp.where(is_seen[:, None], scores, jnp.finfo(scores.dtype).min), axis=-1)
    heads = jnp.einsum("bhs,bshf->bhf", weights, values)
    return jnp.einsum("bhf,hfw->bw", heads, attention["out"]["kernel"]) + attention["out"]["bias"][None]


def _project(dense: Params, hidden: Array) -> Array:
    """[..., width] -> [..., heads, features]."""
    projected = jnp.einsum("...w,whf->...hf", hidden, dense["kernel"])
    return projected + jnp.broadcast_to(dense["bias"], projected.shape)


def _dense(dense: Params, hidden: Array) -> Array:
    return hidden @ dense["kernel"] + dense["bias"][None]


def _norm(norm: Params, hidden: Array) -> Array:
    normed: Array = flax_modules.apply(nn.LayerNorm(), {"params": norm}, hidden)
    return normed
