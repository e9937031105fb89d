"""Trained shadows on disk, keyed by everything that determines them.

A file is named after the hash of what went in, its models, and the hash of what it holds; one
that does not fit its name is trained again. Files are safetensors, which hold numbers and no
code, readable by their owner only: models of private records are private.
"""

import hashlib
import json
import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import torch

from ..fl_core.checkpoint import digest
from ..fl_core.clients import ClientData
from ..fl_core.counters import Counter
from ..fl_core.kernels.base import Params
from .shadow_batches import Key
from .shadow_recipe import Recipe

_HEX = 32  # 128 bits of each hash: short enough for any file system
_PROGRAMS = (
    "attacks/shadow*.py",
    "fl_core/*.py",
    "fl_core/kernels/*.py",
    "fl_core/models/*.py",
    "mechanisms/*.py",
)
_RECORDS, _STEPS = 16, 3  # of the trial training


@dataclass(frozen=True)
class Cache:
    """The chunks of one shadow training.

    Attributes:
        folder: made if it is missing.
        run: hash of everything that determines the training, hex.
    """

    folder: Path
    run: str

    @classmethod
    def of(
        cls, folder: Path, recipe: Recipe, data: ClientData, *, design_sha256: str, key: Key
    ) -> "Cache":
        """The cache of a training.

        A function (the loss, a module's forward pass) has no hash. What it does has: a few steps
        of two disturbed models on the first records of the pool go into it. Two of one name that
        agree on these to the last bit are taken for the same.
        """
        trial = _Trial(recipe, data, key)
        settings = [
            design_sha256,
            key.fingerprint,
            repr(recipe.training),
            str(recipe.dtype),
            _name(recipe.loss),
            _name(type(recipe.kernel)),
            {name: list(shape) for name, shape in recipe.kernel.shapes().items()},
            digest({"x": data.x, "y": data.y, "index": data.index, "lengths": data.lengths}),
            # Also what shows in a later step only; an optimiser that does not name its settings
            # prints its address, and is then never found again.
            repr(trial.optimizer),
            digest(trial.run()),
            data.x.device.type,
            str(torch.__version__),
            _source_sha256(),
        ]
        return cls(folder, hashlib.sha256(json.dumps(settings).encode()).hexdigest())

    def load(self, rows: range, say: Callable[[str], None]) -> Params | None:
        """The chunk's models on the processor, or None if there are none."""
        from safetensors.torch import load

        for file in sorted(self.folder.glob(f"{self._stem(rows)}-*.safetensors")):
            content = file.read_bytes()
            if hashlib.sha256(content).hexdigest()[:_HEX] == file.stem.rpartition("-")[2]:
                return load(content)
            say(f"{file.name} is damaged; training these models again")
            file.unlink(missing_ok=True)
        return None

    def save(self, rows: range, params: Params, say: Callable[[str], None]) -> None:
        """Keep a chunk; a kill at any moment leaves the whole file or none."""
        from safetensors.torch import save

        content = save({name: v.detach().cpu().contiguous() for name, v in params.items()})
        name = f"{self._stem(rows)}-{hashlib.sha256(content).hexdigest()[:_HEX]}.safetensors"
        partial = None
        try:
            self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            handle, partial = tempfile.mkstemp(dir=self.folder, prefix=".new-")  # mode 0600
            with os.fdopen(handle, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            os.replace(partial, self.folder / name)
        except OSError as error:  # a full disk costs the next run time, and nothing else
            say(f"models could not be kept in the cache ({type(error).__name__})")
            if partial is not None:
                Path(partial).unlink(missing_ok=True)

    def _stem(self, rows: range) -> str:
        return f"{self.run[:_HEX]}-{rows.start}-{rows.stop}"


class _Trial:
    """Two initial models that take a few steps from a disturbed start.

    Disturbed, since an adapter that starts as the identity would hide its own settings.
    """

    def __init__(self, recipe: Recipe, data: ClientData, key: Key) -> None:
        two = data.take(torch.arange(2, device=data.index.device) % len(data))
        self._recipe, self._data, self._params = recipe, data, recipe.start(two, key)
        for number, (name, value) in enumerate(self._params.items()):
            counter = replace(Counter.of(key, "trial"), round=number)
            noise = counter.normal(two.clients, two.replicas, value[0].numel())
            self._params[name] = value + 0.1 * noise.to(value).view(value.shape)
        self.optimizer = recipe.optimizer(self._params)

    def run(self) -> Params:
        """The models afterwards."""
        x, y = self._data.x[:_RECORDS], self._data.y[:_RECORDS]
        batch = x.unsqueeze(0).expand(2, *x.shape), y.unsqueeze(0).expand(2, *y.shape)
        weights = next(iter(self._params.values())).new_full((2, len(x)), 1.0 / len(x))
        for _ in range(_STEPS):
            found = self._recipe.kernel.gradients(
                self._params, *batch, weights, self._recipe.loss, {}
            )
            self.optimizer.update(self._params, found, slice(0, 2))
        return self._params


def _name(thing: object) -> str:
    return f"{getattr(thing, '__module__', '')}.{getattr(thing, '__qualname__', repr(thing))}"


@lru_cache
def _source_sha256() -> str:
    """SHA-256 of the programs that train: other numbers must not come from the cache."""
    root = Path(__file__).resolve().parents[1]
    found = hashlib.sha256()
    for path in sorted(path for pattern in _PROGRAMS for path in root.glob(pattern)):
        found.update(path.relative_to(root).as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
    return found.hexdigest()
