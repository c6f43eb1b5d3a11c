"""What it costs that workers meet in pairs only, and send each other rounded parameters: SwarmSGD and its relatives."""

from __future__ import annotations

from proofs_check.tables.table import Row, Table

SPREAD = (
    Row(
        "one edge at a time averages its two ends",
        "without gradients: λ₂ of the graph's Laplacian, m edges",
        "",
        "E Γ₊ ≤ (1 − λ₂/(2 m)) Γ, attained along the eigenvector of λ₂",
        ("SW:P1",),
    ),
    Row(
        "the same, each after H steps of its own",
        "E‖g‖² ≤ M², all degrees r; with geometric numbers of steps H² becomes 2 H² − H",
        "E Γ ≤ (80 r²/λ₂² + 40 r/λ₂) n α² H² M²",
        "(16 r²/λ₂² + 4 r/λ₂) n α² H² M²",
        ("SW:E1",),
    ),
    Row(
        "the same, at the mean of all",
        "fᵢ with L-Lipschitz gradients, which may differ; T meetings",
        "",
        "n Δ/(α H T) + α² H² M² L² (32 r²/λ₂² + 8 r/λ₂ + 2) + 2 α L H M²/n",
        ("SW:T1",),
    ),
)

NETWORKS = (
    Row(
        "gossip between estimates that compressed differences keep near",
        "C keeps δ of a message, ρ is the gap of W, b = ‖I − W‖₂",
        "E (‖X − X̄‖² + ‖X − X̂‖²) shrinks by 1 − ρ² δ/82",
        "the same, at γ = ρ δ/(16 ρ + ρ² + 4 b² + 2 ρ b² − 8 ρ δ)",
        ("CH:P1",),
    ),
)

TABLE = Table(
    title="Pairs and directed graphs",
    about="How far workers are apart, Γ = Σ ‖xᵢ − x‖², where nobody hears from all, and what that costs; of Nadiradze "
    "et al. (arXiv 1910.12308) and Koloskova et al. (arXiv 1902.00340).",
    symbols="n workers, H steps between meetings, r the degree of the graph, λ₂ the second smallest eigenvalue of its "
    "Laplacian, α the step size, Δ = f(x₀) − f*.",
    headings=("system", "the papers", "proved here"),
    parts=(("Pairs that meet", SPREAD), ("Compressed gossip", NETWORKS)),
)
