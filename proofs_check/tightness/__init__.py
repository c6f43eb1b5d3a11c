"""How near a bound can be approached: instances made on purpose to use it up, found by search, kept and run again.

`search.best(kind, setting)` looks for the gradients, or the noise, and the schedule for which ‖x_t - v_t^i‖² comes
closest to the bound that the variant declares. What it finds is an `instances.Instance`: saved in `FOUND`, and run
again by everyone who proves: `hardest` gives statements these runs beside their own.

Left out are settings whose bound is an average over random schedules: a single one may exceed it.
"""

from proofs_check.tightness import instances as instances
from proofs_check.tightness import kinds as kinds
from proofs_check.tightness import search as search
from proofs_check.tightness.instances import FOUND as FOUND
from proofs_check.tightness.instances import hardest as hardest
