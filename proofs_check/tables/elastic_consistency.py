"""The constants of elastic consistency: B of E‖x - v‖² <= α² B², those of the paper's Table 1 first."""

from __future__ import annotations

from proofs_check.tables.table import Row, Table

TABLE_1 = (
    Row(
        "shared memory, one gradient a step",
        "reads miss parts of the last τ writes",
        "√d τ M",
        "τ M",
        ("EC:E3",),
    ),
    Row(
        "message passing, asynchronous",
        "messages are at most τ steps late",
        "(n − 1) τ M / n, or O((n − 1) τ σ / n)",
        "K M / n with K ≤ (n − 1) τ missing; 1.5 σ K / n with stand-ins",
        ("EC:E1",),
    ),
    Row(
        "message passing, compressed",
        "error feedback keeps the fraction γ that a compressor loses",
        "√((2 − γ) γ / (1 − γ)³) M",
        "b(γ) M with b(γ) = √γ / (1 − √γ)",
        ("EC:E7",),
    ),
    Row(
        "message passing, synchronous",
        "f workers crash",
        "f M / n, or O(f σ / n)",
        "1.5 σ f / n with stand-ins",
        ("EC:E4",),
    ),
    Row(
        "message passing, synchronous",
        "at most f messages are missing from a view",
        "f M / n, or O(f σ / n)",
        "1.5 σ f / n with stand-ins",
        ("EC:E5",),
    ),
    Row(
        "elastic scheduler, variance bounded",
        "workers go on before all messages of a round have come; their own stand in",
        "O(σ), 3 σ in its lemma",
        "1.5 σ (n − 1) / n",
        ("EC:E11",),
    ),
    Row(
        "elastic scheduler, norm bounded",
        "workers go on once the norm of what is missing is small",
        "O(M)",
        "(n − 1) M / n; β M where at most the fraction β of the norm is missing",
        ("EC:E10",),
    ),
)

BEYOND = (
    Row("parameter server, arrival order", "a view is a whole one, at most τ steps old", "", "τ M", ("EC:E2",)),
    Row(
        "message passing, drops with probability q",
        "what was dropped goes with the next message",
        "",
        "√((n − 1) q + (n − 1)² q²) M / (n (1 − q)), on average over schedules",
        ("EC:E5'",),
    ),
    Row(
        "message passing, asynchronous, with drops",
        "messages are at most τ steps late, f of them are lost",
        "",
        "((n − 1) τ + f) M / n",
        ("EC:E6",),
    ),
    Row(
        "message passing, asynchronous, compressed",
        "late messages over channels in order, and error feedback",
        "",
        "((n − 1) τ / n + b(γ)) M",
        ("EC:E8",),
    ),
    Row(
        "shared memory, compressed",
        "unseen writes, and error feedback",
        "",
        "(n b(γ) + τ κ (1 + b(γ))) M",
        ("EC:E9",),
    ),
    Row("all-reduce", "up to R whole rounds are in flight", "", "R M", ("EC:E12",)),
    Row(
        "synchronous, unbiased compressor",
        "none: views are exact, gradients are noisier",
        "",
        "0, with (1 + ω) σ² + ω ‖∇f‖² for σ²",
        ("EC:E13",),
    ),
    Row(
        "shared memory, biased compressor without error feedback",
        "unseen writes; what is lost is lost for ever",
        "",
        "κ τ M, and a floor 2 γ M² of the rate",
        ("EC:E14",),
    ),
    Row(
        "any of these, gradients not bounded",
        "late messages, unseen writes, or memories, without stand-ins",
        "",
        "none for every step; summed over the run σ is enough",
        ("EC:E1'",),
    ),
)

TABLE = Table(
    title="Elastic consistency",
    about="A worker's view v differs from the global parameters x; elastic consistency bounds it by E‖x − v‖² ≤ α² B², "
    "α the step size. Each row is a system with the constant B that the paper promises (Nadiradze et al., Elastic"
    " Consistency, AAAI 2021, arXiv 2001.05918) and the one that is proved here where it is smaller.",
    symbols="n workers, delays up to τ, d parameters; γ is what a compressor loses, κ its norm, ω the variance of an "
    "unbiased one; M² bounds E‖G‖², σ² is the variance of a gradient.",
    headings=("system", "the paper's B", "proved here"),
    parts=(("Table 1 of the paper", TABLE_1), ("Beyond the table", BEYOND)),
)
