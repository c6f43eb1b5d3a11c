"""Compressors: what they lose, what they leave on average, and what error feedback makes of it."""

from proofs_check.compression import contraction as contraction
from proofs_check.compression import exact_identities as exact_identities
from proofs_check.compression import folded_step_size as folded_step_size
from proofs_check.compression import memory_norms as memory_norms
from proofs_check.compression import memory_recursion as memory_recursion
from proofs_check.compression import unbiased_quantizer as unbiased_quantizer
