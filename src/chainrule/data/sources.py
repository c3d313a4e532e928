"""Where the data sets come from: their files, the folders they customarily lie in, mirrors and checksums."""

from chainrule.data.fetch import Remote, Source


def _idx_source(folders: tuple[str, ...], mirrors: tuple[str, ...], checksums: dict[str, str]) -> Source:
    """MNIST's four files, each downloaded as `.gz`. The mirrors end in a slash."""
    remotes = (
        Remote(f"{file}.gz", tuple(f"{url}{file}.gz" for url in mirrors), sum) for file, sum in checksums.items()
    )
    return Source((tuple(checksums),), folders, tuple(remotes))


MNIST = _idx_source(
    ("mnist", "MNIST/raw", "MNIST", "raw"),
    (
        "https://ossci-datasets.s3.amazonaws.com/mnist/",
        "https://storage.googleapis.com/cvdf-datasets/mnist/",
        "https://dataset.bj.bcebos.com/mnist/",
    ),
    {
        "train-images-idx3-ubyte": "sha256:440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
        "train-labels-idx1-ubyte": "sha256:3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
        "t10k-images-idx3-ubyte": "sha256:8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
        "t10k-labels-idx1-ubyte": "sha256:f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
    },
)

FASHION_MNIST = _idx_source(
    ("fashion-mnist", "fashion_mnist", "FashionMNIST/raw", "FashionMNIST", "raw"),
    (
        "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
        "https://github.com/zalandoresearch/fashion-mnist/raw/master/data/fashion/",
        "https://dataset.bj.bcebos.com/fashion_mnist/",
    ),
    {
        "train-images-idx3-ubyte": "md5:8d4fb7e6c68d591d4c3dfef9ec88bf0d",
        "train-labels-idx1-ubyte": "md5:25c81989df183df01b3e8a0aad5dffbe",
        "t10k-images-idx3-ubyte": "md5:bef4ecab320f06d8554ea6380940ec79",
        "t10k-labels-idx1-ubyte": "md5:bb300cfdad3c16e7a12a480ee83cd310",
    },
)

CIFAR10_PYTHON = (*(f"data_batch_{i}" for i in range(1, 6)), "test_batch")
CIFAR10_BINARY = tuple(f"{file}.bin" for file in CIFAR10_PYTHON)

CIFAR10 = Source(
    (CIFAR10_PYTHON, CIFAR10_BINARY),
    (
        "cifar-10-batches-py",
        "cifar-10-batches-bin",
        "cifar10",
        *(f"cifar10/cifar-10-batches-{k}" for k in ("py", "bin")),
    ),
    (
        Remote(
            "cifar-10-python.tar.gz",
            (
                "https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz",
                "https://dataset.bj.bcebos.com/cifar/cifar-10-python.tar.gz",
            ),
            "md5:c58f30108f718f92721af3b95e74349a",
        ),
    ),
)
