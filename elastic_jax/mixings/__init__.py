"""Mixings: who averages with whom when workers exchange their parameters, the same every time or drawn anew.

    X <- W_k X          row i becomes Σ_j W_k,ij x^j; every W_k is doubly stochastic, so that the mean stays

Rows are the workers, and after them auxiliary rows if there are any (the anchor of elastic averaging). W_k depends on
k, how many mixings there were before, and on coins from the key of the schedule, never on that of the samples. Every
mixing declares how fast it brings rows together: E‖W_{k+b-1} ... W_k X - X̄‖² <= (1 - p) ‖X - X̄‖² for b = `block`.

Source: Wang, Joshi, Cooperative SGD, JMLR 2021, arXiv 1808.07576; Koloskova, Loizou, Boreiri, Jaggi, Stich, A Unified
Theory of Decentralized SGD, ICML 2020, arXiv 2003.10422, for p.
"""

from elastic_jax.mixings.drawn import draw_sample as draw_sample
from elastic_jax.mixings.drawn import matchings as matchings
from elastic_jax.mixings.drawn import pairs as pairs
from elastic_jax.mixings.drawn import partners as partners
from elastic_jax.mixings.drawn import sampled as sampled
from elastic_jax.mixings.fixed import around_ring as around_ring
from elastic_jax.mixings.fixed import average as average
from elastic_jax.mixings.fixed import constant as constant
from elastic_jax.mixings.fixed import cycle as cycle
from elastic_jax.mixings.fixed import elastic as elastic
from elastic_jax.mixings.fixed import exponential as exponential
from elastic_jax.mixings.fixed import hierarchical as hierarchical
from elastic_jax.mixings.fixed import one_peer_exponential as one_peer_exponential
from elastic_jax.mixings.fixed import stable_elasticity as stable_elasticity
from elastic_jax.mixings.matcha import matcha as matcha
from elastic_jax.mixings.measured import measured_contraction as measured_contraction
from elastic_jax.mixings.mixing import Mixing as Mixing
from elastic_jax.mixings.mixing import check as check
from elastic_jax.mixings.spread import spread as spread
