"""An attack on any mechanism that can be called: learn to tell its outputs in two worlds apart.

`learn` gets outputs with the record and outputs without it, tries a pool of small score families,
and returns the best one as an `Attack`. Its scores on *other* outputs, never on these, go to an
estimator. Whatever is learnt here, the bound stays valid: only its size depends on the attack.
"""

from .learn import Attack as Attack
from .learn import learn as learn
