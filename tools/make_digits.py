"""Rebuild src/chainrule/data/digits.npz, byte for byte, from scikit-learn's copy of the digits.

The data: 1,797 handwritten digits, the test part (`optdigits.tes`) of E. Alpaydin and C. Kaynak, Optical Recognition
of Handwritten Digits, UCI Machine Learning Repository, 1998, https://doi.org/10.24432/C50P49, licence CC BY 4.0
(https://creativecommons.org/licenses/by/4.0/). Each was scanned as a 32 x 32 bitmap, and every pixel here is the number
of black ones in a 4 x 4 block: 0 to 16. The values are unchanged; only the file format is another.

Usage: python tools/make_digits.py [FILE]
"""

import sys
from pathlib import Path

import numpy as np
from sklearn.datasets import load_digits


def main(file: Path) -> None:
    """Write the digits to `file`: x uint8 (1797, 8, 8), y uint8 (1797,)."""
    digits = load_digits()
    # Uncompressed, so that the bytes do not depend on the version of zlib.
    np.savez(file, x=digits.images.astype(np.uint8), y=digits.target.astype(np.uint8))


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "src/chainrule/data/digits.npz"))
