"""What it costs that workers are brought together now and then, and not wholly: Cooperative SGD and its relatives."""

from __future__ import annotations

from proofs_check.tables.table import Row, Table

NETWORK = (
    Row(
        "rows mixed by W after every H-th step, v of them auxiliary",
        "A(H, W, v): W has ζ = ‖W − J‖₂ < 1, workers are alike",
        "α² L² σ² [H (1 + ζ²)/(1 − ζ²) − 1], where η L + 5 (α L H/(1 − ζ))² ≤ 1",
        "(1 − 1/r) of it, where η L + 2 (α L (H/(1 − ζ) − 1))² ≤ 1",
        ("CO:T2",),
    ),
    Row(
        "the same, workers differ by κ²",
        "A(H, W, v): (1/n) Σ ‖∇fᵢ − ∇f‖² ≤ κ²",
        "",
        "[(1 − D) S + (1 − 1/r) α² L² σ² N + D κ²]/(1 − 2 D) in all, D = 6 (α L (H/(1 − ζ) − 1))² ≤ 1/4",
        ("CO:T3",),
    ),
    Row(
        "averages of all every H steps, or neighbours' in each",
        "A(H, J, 0) against A(1, W, 0)",
        "averages are better if ζ² > (H − 1)/(H + 1)",
        "true of the bounds; of the floors if all modes are alike",
        ("CO:T4",),
    ),
    Row(
        "local SGD on identical data, convex",
        "workers are apart for H − 1 steps",
        "2 L α² (H − 1) σ²/c, or 4 α² L (H − 1) σ²",
        "(3/4) α² L (1 − 1/n) (H − 1) σ²",
        ("CO:T5",),
    ),
    Row(
        "local SGD on different data, convex",
        "s² = (1/n) Σ ‖∇fᵢ(x*)‖²",
        "16 α² L (H − 1)² (σ² + s²)",
        "(12/5) α² L (H − 1) (σ² + 3 H s²)",
        ("CO:T6",),
    ),
)

CONSENSUS = (
    Row(
        "any doubly stochastic mixing",
        "rows leave their mean by their gradients, and come back by ζ",
        "",
        "‖(I − J) X₊‖ ≤ ζ (‖(I − J) X‖ + α ‖(I − J) G‖) in every step of every run",
        ("CO:I3",),
    ),
    Row(
        "gradients that are noise alone",
        "what apart means where nothing pulls back",
        "",
        "(H − 1)/2 α² σ² (n − 1) of W = J, mode by mode of any W",
        ("CO:I5",),
    ),
    Row(
        "mixings that are drawn or take turns",
        "E‖(I − J) W X‖² ≤ (1 − p) ‖(I − J) X‖²",
        "",
        "p of each, exactly",
        ("CO:P1",),
    ),
    Row(
        "a sample of c workers averages",
        "the others keep what they have",
        "",
        "1 − p = (n − c)/(n − 1)",
        ("CO:S2",),
    ),
    Row(
        "elastic averaging",
        "workers and an anchor, tied by springs a",
        "ζ = n/(n + 2) at the best a = 2/(n + 2)",
        "",
        ("CO:S1",),
    ),
    Row(
        "averages that come one round late",
        "communication is hidden behind H steps",
        "",
        "drawn by a to a late anchor: 1 − a of the step and of the differences",
        ("CO:O1",),
    ),
)

TABLE = Table(
    title="Cooperative SGD",
    about="Workers go on by themselves and a matrix W mixes their rows every H steps; x is the mean of all rows. The "
    "upper rows are what that adds to the mean of ‖∇f(x)‖² of fully synchronous SGD, S = 2 Δ/(η T) + η L σ²/n, or"
    " to f(x) − f* (Wang, Joshi, Cooperative SGD, JMLR 2021, arXiv 1808.07576; for local SGD Khaled, Mishchenko, "
    "Richtárik, AISTATS 2020, arXiv 1909.04746); the lower ones are how far apart rows are.",
    symbols="n workers, r = n + v rows, J the average of all; N = H (1 + ζ²)/(1 − ζ²) − 1; η = α n/r; L the "
    "smoothness, c the strong convexity, σ² the variance of a gradient. The papers' forms are stated from memory.",
    headings=("system", "the papers", "proved here"),
    parts=(("What the network adds to the error", NETWORK), ("How far apart rows are", CONSENSUS)),
)
