"""`Task`: who holds which records, as frozen public features, ready for stacked training."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ..accountant.errors import ConfigError
from . import projection
from .config import AuditFile
from .data.images import ImageSet
from .models.backbone import Backbone, load_backbone
from .models.cache import cached_features
from .projection import PublicProjection

Say = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class Task:
    """Records of every client as rows of tensors.

    Attributes:
        clients: names, one per row.
        class_names: one per label.
        train_x: float64[clients, n, dim] projected features; train_y: int64[clients, n].
        test_x: float64[clients, m, dim]; test_y: int64[clients, m].
        train: the images of each client; test: likewise.
        backbone: the frozen encoder.
        project: the public projection behind it.
        group_sizes: dimensions of the two public groups.
        public_group_norms: median norm of each group over the public images.
        hashes: SHA-256 of the images of each client and of the encoder's weights.
        encoder_fingerprint: fingerprint of the encoder in memory, before anything ran.
    """

    clients: tuple[str, ...]
    class_names: tuple[str, ...]
    train_x: Tensor
    train_y: Tensor
    test_x: Tensor
    test_y: Tensor
    train: tuple[ImageSet, ...]
    test: tuple[ImageSet, ...]
    backbone: Backbone
    project: PublicProjection
    group_sizes: tuple[int, ...]
    public_group_norms: tuple[float, ...]
    hashes: dict[str, str]
    encoder_fingerprint: str

    def __post_init__(self) -> None:
        for what, names in (("clients", self.clients), ("classes", self.class_names)):
            if len(set(names)) != len(names):
                # Noise and ledger go by these names: equal ones would share both.
                raise ConfigError(f"names of {what} must differ, but are {names}")

    @property
    def classes(self) -> int:
        """Number of labels."""
        return len(self.class_names)

    def client_index(self, name: str, *, key: str) -> int:
        """Row of a client.

        Raises:
            ConfigError: there is no such client; `key` is the key of the audit file that named it.
        """
        if name not in self.clients:
            raise ConfigError(f"{key} names client {name!r}, but the clients are {self.clients}")
        return self.clients.index(name)

    def encode(self, images: Tensor) -> Tensor:
        """Differentiable features, float64[n, dim], of float[n, 3, height, width] in [0, 1]."""
        centre = torch.from_numpy(self.project.centre)
        directions = torch.from_numpy(self.project.directions)
        return (self.backbone.encode(images).double() - centre) @ directions / self.project.scale


def build(audit: AuditFile, *, folder: Path, say: Say) -> Task:
    """The task of an audit file; features come from the cache where they were computed before.

    Args:
        audit: the audit file.
        folder: relative paths in it start here.
        say: is told what happens.

    Raises:
        ConfigError: the data do not fit the file; AssetError: a model or data set is missing.
    """
    train, test = _images(audit, folder)
    held = {s.name: sorted(s.classes[i] for i in set(s.labels.tolist())) for s in train}
    if len({tuple(names) for names in held.values()}) > 1:
        raise ConfigError(
            f"all clients need the same classes, but hold {held}.\n"
            "  Add the missing pictures, or lower data.clients."
        )
    local = folder / audit.model.backbone  # a model folder beside the audit file
    name = str(local) if local.is_dir() else audit.model.backbone
    backbone = load_backbone(name, image_size=audit.model.image_size)
    project, public = _projection(audit, backbone, say)

    def rows(sets: tuple[ImageSet, ...]) -> Tensor:
        found = [project(cached_features(backbone, s.images, say=say)) for s in sets]
        return torch.from_numpy(np.stack(found))

    sizes = group_sizes(audit)
    norms = [np.linalg.norm(part, axis=1) for part in np.split(public, [sizes[0]], axis=1)]
    return Task(
        clients=tuple(s.name for s in train),
        class_names=train[0].classes,
        train_x=rows(train),
        train_y=torch.from_numpy(np.stack([s.labels for s in train])),
        test_x=rows(test),
        test_y=torch.from_numpy(np.stack([s.labels for s in test])),
        train=train,
        test=test,
        backbone=backbone,
        project=project,
        group_sizes=sizes,
        public_group_norms=tuple(float(np.median(n)) for n in norms),
        hashes={f"{s.name} train": s.sha256 for s in train}
        | {f"{s.name} test": s.sha256 for s in test}
        | {"encoder": backbone.sha256},
        encoder_fingerprint=backbone.fingerprint(),
    )


def group_sizes(audit: AuditFile) -> tuple[int, int]:
    """Dimensions of the leading group and of the rest.

    Raises:
        ConfigError: one would be empty.
    """
    leading = round(audit.release.leading_fraction * audit.model.dimensions)
    if not 0 < leading < audit.model.dimensions:
        raise ConfigError(
            f"release.leading_fraction = {audit.release.leading_fraction} of "
            f"{audit.model.dimensions} dimensions leaves a group empty"
        )
    return leading, audit.model.dimensions - leading


def _projection(
    audit: AuditFile, backbone: Backbone, say: Say
) -> tuple[PublicProjection, np.ndarray]:
    from .data.digits import public_patches

    patches = public_patches(audit.model.public_images, seed=0)
    features = cached_features(backbone, patches, say=say)
    project = projection.fit(features, audit.model.dimensions)
    return project, project(features)


def _images(audit: AuditFile, folder: Path) -> tuple[tuple[ImageSet, ...], tuple[ImageSet, ...]]:
    from .data import splits

    data = audit.data
    if data.source == "optdigits":
        sets = splits.optdigits_clients(
            data.clients, per_class=data.train_per_class + data.test_per_class, seed=data.seed
        )
    else:
        sets = _domains(audit, folder)
    pairs = [
        splits.train_test(
            each,
            train_per_class=data.train_per_class,
            test_per_class=data.test_per_class,
            seed=data.seed,
        )
        for each in sets
    ]
    return tuple(pair.train for pair in pairs), tuple(pair.test for pair in pairs)


def _domains(audit: AuditFile, folder: Path) -> list[ImageSet]:
    from .data import digits
    from .data.folder import load_folder

    data = audit.data
    found = {} if data.source == "digit_domains" else load_folder(folder / str(data.path))
    names = list(found) or list(digits.DOMAINS)
    if data.clients > len(names):
        raise ConfigError(
            f"data.clients = {data.clients}, but there are {len(names)} domains "
            f"({', '.join(names)}); one client holds one domain.\n"
            f"  Set data.clients to at most {len(names)}."
        )
    if found:
        return [found[name] for name in names[: data.clients]]
    per_class = data.train_per_class + data.test_per_class
    return [
        digits.load_domain(name, per_class=per_class, seed=data.seed)
        for name in names[: data.clients]
    ]
