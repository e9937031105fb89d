"""The inversion section: reconstructions from the prototypes of the real run, with controls."""

import base64
import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..accountant.errors import DesignError
from ..attacks.inversion import decoder
from ..attacks.inversion.decoder import LinearDecoder
from ..attacks.inversion.metrics import leakage_gap
from ..attacks.inversion.prototype import invert
from ..fl_core.config import InversionSection
from ..fl_core.data.digits import load_domain, public_patches
from ..fl_core.models.cache import cached_features
from ..fl_core.simulate import one_thread
from ..fl_core.task import Task
from ..fl_core.transcript import View
from ..mechanisms.base import Key, Mechanism
from .results import InversionRow

PUBLIC_SEED = 1_000_003  # of the attacker's own pictures; the clients' come from data.seed
SINGLES = 3  # per class
SINGLE = "one record, no noise (positive control)"


@dataclass(frozen=True)
class _Case:
    case: str
    label: int
    records: Tensor  # float[n, 3, h, w], what the attacked prototype is made of
    targets: tuple[Tensor, Tensor]  # attacked prototype, control


def reconstruct(
    task: Task,
    mechanisms: Mapping[str, Mechanism],
    views: Mapping[str, View],
    section: InversionSection,
    *,
    key: Key,
    progress: Callable[[int, int], None],
) -> tuple[InversionRow, ...]:
    """Invert what the server saw of one client, and a control prototype for each.

    The control is a prototype of the same class at the same client, of records that the attacked
    prototype does not contain (the test set), under fresh noise of the same mechanism: what the
    attack finds there, it did not learn from the records.

    Args:
        task: the records.
        mechanisms: name -> mechanism.
        views: name -> the server's view of the real run.
        section: the audit file's section.
        key: root of the controls' noise.
        progress: called with (steps done, all steps).
    """
    client = task.client_index(section.client, key="inversion.client")
    cases: list[_Case] = []
    for label in section.classes:
        own = task.train_y[client] == label
        other = task.test_y[client] == label
        records = _pictures(task.train[client].images[own.numpy()])
        own_x, other_x = task.train_x[client][own], task.test_x[client][other]
        for i in range(min(SINGLES, len(own_x), len(other_x))):
            cases.append(_Case(SINGLE, label, records[i : i + 1], (own_x[i], other_x[i])))
        for name in section.mechanisms:
            uploads = views[name].uploads
            if uploads is None:
                raise DesignError("inversion needs the server's view, which has the uploads")
            mechanism, rounds = mechanisms[name], uploads.shape[0]
            # Same number of records in both: the control differs in which records, not how many.
            scale = len(own_x) / max(1, len(other_x))
            zeros = torch.zeros(len(other_x), dtype=torch.int64)
            control = mechanism.statistic(other_x, zeros, 1)[0] * scale
            copies = control.expand(rounds, -1)
            noisy = mechanism.perturb(copies, key.child("control", name, label)).mean(dim=0)
            case = f"{name}, mean of {len(own_x)} records"
            seen = uploads[:, client, label].double().mean(dim=0)
            cases.append(_Case(case, label, records, (seen, noisy)))
    targets = torch.stack([target for case in cases for target in case.targets])
    start = _public_decoder(task, cases[0].records.shape[2:])(targets)
    with one_thread():  # small batches: on a busy machine a second thread made this 5 times slower
        images, cosines = invert(
            targets, task.encode, start=start, steps=section.steps, progress=progress
        )
    shown = task.train[client].synthetic
    return tuple(
        _row(task, case, images[2 * i], images[2 * i + 1], float(cosines[2 * i]), shown)
        for i, case in enumerate(cases)
    )


def _row(
    task: Task, case: _Case, image: Tensor, control: Tensor, cosine: float, shown: bool
) -> InversionRow:
    gap = leakage_gap(image, control, case.records)
    pictures = (case.records[gap.nearest], image, control)
    return InversionRow(
        case=case.case,
        label=task.class_names[case.label],
        adversary="server",
        cosine=cosine,
        psnr=gap.attacked,
        control_psnr=gap.control,
        pictures=tuple(map(_png, pictures)) if shown else None,  # type: ignore[arg-type]
    )


def _public_decoder(task: Task, size: torch.Size) -> LinearDecoder:
    """Fitted on rendered digits and patches of photographs that no client holds."""
    digits = load_domain("synth", per_class=100, seed=PUBLIC_SEED).images
    sets = (digits, public_patches(500, seed=PUBLIC_SEED))
    features = [task.project(cached_features(task.backbone, s)) for s in sets]
    images = torch.cat([_pictures(s) for s in sets])
    images = torch.nn.functional.interpolate(images, size=list(size), mode="bilinear")
    return decoder.fit(torch.from_numpy(np.concatenate(features)), images)


def _pictures(images: NDArray[np.uint8]) -> Tensor:
    return torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255.0


def _png(image: Tensor) -> str:
    from PIL import Image

    pixels = (image.clamp(0, 1) * 255).round().to(torch.uint8).permute(1, 2, 0).numpy()
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="PNG", optimize=True)
    return base64.b64encode(buffer.getvalue()).decode()
