"""What a step costs, beside a loop written by hand: `elastic-jax bench`.

The ideal is what a careful user would write without this library: n jitted, donated optax steps, one for each worker,
called from one Python thread or from two, whichever is faster. Both sides draw their mini-batches from the same shards,
run in the same process and are timed in turn, and a ratio is one of medians.
"""
