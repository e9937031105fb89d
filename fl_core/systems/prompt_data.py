"""Pictures of clients as frozen features, dealt out anew by each seed, and the prompts' encoder."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ...accountant.errors import ConfigError
from ...mechanisms.base import Key, SeededKey
from ..algorithms.prompt_evaluation import accuracy
from ..clients import ClientData
from ..data import sources
from ..data.digits import public_patches
from ..data.features import feature_pool
from ..data.pool import Pool
from ..kernels.base import Params
from ..kernels.prompts import Prompts
from ..models.backbone import Backbone
from ..models.devise import substitute
from ..models.dual_encoder import DualEncoder, load_clip
from ..models.model_folder import is_hub_name
from ..models.text_tower import ClassText
from .base import Say
from .prompt_files import SUBSTITUTE, TEXT_LAYERS, DataSection, ModelSection

_PUBLIC = 160  # pictures that centre the substitute's features; nobody's
_WHITE = 255  # photographs of things have bright backgrounds

Values = tuple[tuple[float, ...], ...]


@dataclass(frozen=True, kw_only=True, eq=False)
class Dealt:
    """Training and test records; rows are (seed, client), and the number of a seed is a replica's.

    Attributes:
        train, test: disjoint in each seed; seeds share a pool.
        classes: names, as prompts say them.
    """

    train: ClientData
    test: ClientData
    classes: tuple[str, ...]

    def values(self, kernel: Prompts, prompts: Params) -> dict[str, Values]:
        """Local and neighbour accuracy, of each seed and client."""
        found = accuracy(kernel, prompts, self.test)
        return {
            "local": self.by_seed(found.local),
            "neighbour": self.by_seed(found.neighbour),
        }

    def by_seed(self, values: Tensor) -> Values:
        """float[rows] as a row per seed."""
        seeds = len(self.test.replicas.unique())
        return tuple(tuple(row) for row in values.view(seeds, -1).tolist())


@dataclass(frozen=True, kw_only=True, eq=False)
class Hands:
    """Who holds which pictures in which seed.

    Attributes:
        pictures: those that somebody holds.
        train, test: of each row (seed, client), places in `pictures`; disjoint in each seed.
        clients: of a seed.
    """

    pictures: Pool
    train: tuple[NDArray[np.int64], ...]
    test: tuple[NDArray[np.int64], ...]
    clients: int

    def encoded(self, encoder: Backbone, say: Say) -> Dealt:
        """The same with features; `say` is told what happens."""
        return self._with(torch.tensor(feature_pool(self.pictures, encoder, say).x))

    def by_places(self, dual: DualEncoder, say: Say) -> tuple[Dealt, Dealt]:
        """The same with features of whole pictures, and with those of places; encoded once."""
        found = torch.tensor(feature_pool(self.pictures, dual.whole_and_places(), say).x)
        whole = dual.images.dimension
        return self._with(found[:, :whole].clone()), self._with(found[:, whole:].clone())

    def _with(self, x: Tensor) -> Dealt:
        y = torch.tensor(self.pictures.y)
        clients = [row % self.clients for row in range(len(self.train))]
        replicas = [row // self.clients for row in range(len(self.train))]
        train, test = (
            ClientData.of(x, y, rows, clients=clients, replicas=replicas)
            for rows in (self.train, self.test)
        )
        return Dealt(train=train, test=test, classes=self.pictures.classes)


def load_pool(data: DataSection) -> tuple[Pool, NDArray[np.uint8]]:
    """All pictures, and public ones of the same kind that no client holds.

    Raises:
        AssetError: a data set is missing. ConfigError: another number of class names.
    """
    if data.source == "fashion_mnist":
        pool, public = _on_white(sources.load("fashion_mnist")), _on_white_test()
    elif data.source == "optdigits":
        pool = sources.load("optdigits", per_class=174, seed=data.seed)
        public = public_patches(_PUBLIC, data.seed)
    elif data.source == "digit_domains":
        pool = sources.load("digit_domains", per_class=174, seed=data.seed)
        public = public_patches(_PUBLIC, data.seed)
    else:
        pool = sources.load("emoji")
        public = public_patches(_PUBLIC, data.seed)
    if data.class_names:
        if len(data.class_names) != len(pool.classes):
            raise ConfigError(
                f"data.class_names has {len(data.class_names)} names, but the classes are "
                f"{', '.join(pool.classes)}"
            )
        pool = replace(pool, classes=tuple(data.class_names))
    return pool, public


def load_encoder(
    model: ModelSection, classes: Sequence[str], public: NDArray[np.uint8], folder: Path
) -> DualEncoder:
    """The dual encoder of a file; a CLIP model's folder is beside the file.

    Raises:
        AssetError: an asset is missing. ConfigError: the folder holds no CLIP model, or its text
            encoder has no room for the contexts before these classes, or cannot tell them apart.
    """
    if model.encoder == SUBSTITUTE:
        layers = None if model.text_layers == TEXT_LAYERS else model.text_layers
        dual = substitute(public, image_size=model.image_size, text_layers=layers)
    else:
        local = folder / model.encoder
        if not local.is_dir() and not is_hub_name(model.encoder):
            raise ConfigError(
                f'model.encoder is {model.encoder!r}, but must be "{SUBSTITUTE}", the folder of a '
                "CLIP model beside the file, or its name on the hub as owner/model.\n  There is no "
                "such folder."
            )
        dual = load_clip(str(local) if local.is_dir() else model.encoder)
    # Before pictures are encoded, which takes minutes.
    for length in (model.context_length, len(dual.text.words(model.template))):
        class_text(dual, classes, length)
    return dual


def deal(pool: Pool, held: Sequence[NDArray[np.int64]], data: DataSection, *, seeds: int) -> Hands:
    """Deal each client's records anew by each seed, by class; in a seed each goes to one place.

    Args:
        pool: pictures.
        held: those that each client may get, disjoint.
        data: how many of each class of a client.
        seeds: how often records are dealt.

    Raises:
        ConfigError: there are too few pictures of a class.
    """
    each = data.train_per_class + data.test_per_class
    train: list[list[NDArray[np.int64]]] = [[] for _ in range(seeds)]
    test: list[list[NDArray[np.int64]]] = [[] for _ in range(seeds)]
    for client, mine in enumerate(held):
        for seed in range(seeds):
            order = _key(data).child(seed, client).generator().permutation(len(mine))
            mixed = mine[order]
            by_class = [mixed[pool.y[mixed] == c] for c in np.unique(pool.y[mixed])]
            short = min(map(len, by_class))
            if short < each:
                raise ConfigError(
                    f"client {client + 1} has {short} pictures of a class, but "
                    f"data.train_per_class + data.test_per_class = {each}.\n  Lower one of them."
                )
            train[seed].append(np.concatenate([part[: data.train_per_class] for part in by_class]))
            test[seed].append(
                np.concatenate([part[data.train_per_class : each] for part in by_class])
            )
    rows = [part for by_client in (*train, *test) for part in by_client]
    used = np.unique(np.concatenate(rows))
    places = [np.searchsorted(used, part) for part in rows]
    return Hands(
        pictures=pool.take(used),
        train=tuple(places[: len(rows) // 2]),
        test=tuple(places[len(rows) // 2 :]),
        clients=len(held),
    )


def class_text(dual: DualEncoder, classes: Sequence[str], length: int) -> ClassText:
    """Prompts of `length` vectors for these classes.

    Raises:
        ConfigError: the text encoder takes fewer tokens.
    """
    text = dual.text.classes(tuple(classes), length=length)
    needed = text.real.shape[1]
    for name, places in dual.text.module.named_parameters():
        if "position_embedding" in name and len(places) < needed:
            raise ConfigError(
                f"prompts of {length} context vectors and a class name are {needed} tokens long, "
                f"but the text encoder takes {len(places)}.\n  Lower model.context_length, or "
                "shorten model.template or the class names."
            )
    return text


def by_hand(dual: DualEncoder, dealt: Dealt, template: str) -> tuple[Prompts, Params]:
    """The hand-written prompt, the same for every row: zero-shot."""
    from ..kernels.prompts import one_context

    words = dual.text.words(template)
    text = class_text(dual, dealt.classes, len(words))
    kernel = Prompts(text=text, form=one_context(*words.shape), scale=dual.scale)
    return kernel, {"context": words.expand(len(dealt.test), -1, -1)}


def merged(data: ClientData) -> ClientData:
    """One client per replica that holds what all of them held."""
    parts = []
    for replica in data.replicas.unique().tolist():
        rows = (data.replicas == replica).nonzero()[:, 0].tolist()
        parts.append(torch.cat([data.index[r, : data.lengths[r]] for r in rows]).numpy())
    count = len(parts)
    return ClientData.of(
        data.x, data.y, parts, clients=[0] * count, replicas=data.replicas.unique().tolist()
    )


def everybody(prompts: Params, data: ClientData) -> Params:
    """The prompts of one row per replica, for every row of `data`."""
    place = torch.searchsorted(data.replicas.unique(sorted=True), data.replicas)
    return {name: value[place] for name, value in prompts.items()}


def _on_white(pool: Pool) -> Pool:
    return replace(pool, x=_WHITE - pool.x, provenance=f"{pool.provenance}, on white")


def _on_white_test() -> NDArray[np.uint8]:
    found: NDArray[np.uint8] = _WHITE - sources.load("fashion_mnist", part="test").x[:_PUBLIC]
    return found


def _key(data: DataSection) -> Key:
    return SeededKey(data.seed).child("dealt records")
