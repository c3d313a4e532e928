"""How fast chainrule is, beside other libraries: `python -m bench --help`.

The processes that are measured start with the environment kept here: what a library sets for itself when it is loaded
(chainrule chooses a BLAS core type) must not reach the others.
"""

import os

ENVIRONMENT = dict(os.environ)
