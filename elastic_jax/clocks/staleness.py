"""How stale gradients are at a server that waits for K of P workers."""

from __future__ import annotations

from elastic_jax import arguments

FRESH = ("k_sync", "k_batch_sync", "k_batch_fresh")
RULES = (*FRESH, "k_async", "k_batch_async")


def second_moment(order: str | None, num_workers: int, num_awaited: int, rule: str) -> float | None:
    """E[s²], steps²: of the K gradients of an update the stalest on average, in the long run and at most before.

        k_sync, k_batch_sync, k_batch_fresh     0
        k_async                 "uniform": each is fresh with p = K/P, P(s) = p (1 - p)^s: E[s²] = (1 - p)(2 - p)/p²;
                                "in turn": s = P/K - 1, if K divides P
        k_batch_async           "uniform": the worker of the k-th came A arrivals before, P(A > a) = r^a, r = 1 - 1/P,
                                and s = ⌈(A - k)/K⌉ or 0: E[s²] = r^k (1 + r^K)/(1 - r^K)², most for k = 1;
                                "in turn": A = P, s <= ⌈(P - 1)/K⌉

    For K = 1, the server that applies each gradient as it arrives, (P - 1)(2 P - 1) and (P - 1)².

    Args:
        order: "uniform", "in turn" or None, see `Clock`.
        num_workers: P >= 1.
        num_awaited: K >= 1; at most P where nobody comes twice.
        rule: see `schedules`.

    Returns:
        None where no closed form is known.
    """
    p = arguments.integer("num_workers", num_workers, low=1)
    arguments.one_of("rule", rule, RULES)
    k = arguments.integer("num_awaited", num_awaited, low=1, high=None if "batch" in rule else p)
    if rule in FRESH or p == 1 or (rule == "k_async" and k == p):
        return 0.0
    if order == "uniform":
        if rule == "k_async":
            return (p - k) * (2 * p - k) / k**2
        left = (1 - 1 / p) ** k
        return (1 - 1 / p) * (1 + left) / (1 - left) ** 2
    if order == "in turn" and rule == "k_batch_async":
        return float(-(-(p - 1) // k)) ** 2
    return float(p // k - 1) ** 2 if order == "in turn" and p % k == 0 else None
