"""Pairs that meet: identities, potential and rates of SwarmSGD, and the quantiser that it needs."""

from proofs_check.swarms import lattice as lattice
