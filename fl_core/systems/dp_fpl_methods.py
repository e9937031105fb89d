"""The methods of a DP-FPL comparison: what each learns, what it shares, and with how much noise.

All of it but the encoder follows from the file alone.
"""

from ...mechanisms.dpsgd import DpSgd
from ...mechanisms.prompt import PromptGradients
from ...mechanisms.released.dp_fpl import AsReleasedDpFpl
from ..algorithms.fed_otp import Transport, two_contexts
from ..algorithms.fed_pgp import low_rank_form
from ..algorithms.pfed_prompt import PromptsWithMemory
from ..kernels.prompts import Form, Prompts, one_context, shared_and_own
from ..models.dual_encoder import DualEncoder
from ..models.text_tower import ClassText
from .base import NO_RECORDS, RowPlan
from .dp_fpl import FED_OTP, PFED_PROMPT, DpFplFile, DpFplSection
from .dp_fpl_noise import Unnoised, calibrated

SHARED: dict[str, tuple[str, ...]] = {
    "promptfl": ("context",),
    PFED_PROMPT: ("context",),  # that of promptfl
    FED_OTP: ("shared",),
    "fedotp-as-in-code": ("shared",),
    "fedpgp-as-in-code": ("shared",),
}
"""What the methods whose clients sample by chance average; the others take shuffled batches."""


def method(row: RowPlan) -> str:
    """What a row runs, with or without records."""
    return row.name.removesuffix(NO_RECORDS)


def multiplier(file: DpFplFile, row: RowPlan) -> float:
    """Noise of the sum over the clip bound that just meets the row's budget.

    Raises:
        ParameterError: no multiplier that is tried meets it, or all do.
    """
    if row.asked is None:
        return 1.0  # not used
    sampled = method(row) in SHARED
    return calibrated(
        epsilon=row.asked,
        delta=file.claim.delta,
        adjacency=row.adjacency,
        sampling_rate=1.0 / file.batches if sampled else 1.0,
        rounds=file.steps if sampled else file.training.epochs,
    )


def sampled(file: DpFplFile, row: RowPlan, size: int) -> DpSgd:
    """Clip and noise of clients that sample; none of noise without a budget."""
    kind = Unnoised if row.asked is None else DpSgd
    return kind(
        clip_norm=file.system.clip_norm,
        noise_multiplier=multiplier(file, row),
        sampling_rate=1.0 / file.batches,
        expected_batch=size,
    )


def in_batches(file: DpFplFile, row: RowPlan) -> PromptGradients:
    """Clip and noise of clients with shuffled batches."""
    return PromptGradients(
        clip_norm=file.system.clip_norm,
        noise_multiplier=multiplier(file, row),
        batch=file.training.batch_size,
    )


def released(file: DpFplFile, claim: float) -> AsReleasedDpFpl:
    """The public program with this claim."""
    return AsReleasedDpFpl(
        epsilon=claim,
        delta=file.claim.delta,
        rounds=file.training.epochs,
        batch=file.training.batch_size,
        clip_norm=file.system.released_clip_norm,
        lr=file.system.released_learning_rate,
    )


def kernel(name: str, system: DpFplSection, dual: DualEncoder, text: ClassText) -> Prompts:
    """Prompts of a method whose clients sample.

    Args:
        name: of the method.
        system: public constants.
        dual: the encoder.
        text: the classes, with room for the contexts.

    Raises:
        ConfigError: the method looks at places, of which the encoder gives no features.
    """
    length, width = text.length, text.tower.width
    if name == PFED_PROMPT:
        return PromptsWithMemory(
            text=text,
            form=one_context(length, width),
            scale=dual.scale,
            weight=system.memory_weight,
            sharpness=system.memory_sharpness,
        )
    if name == FED_OTP:
        dual.whole_and_places()  # there must be some
        transport = Transport(
            places=dual.places,
            share=system.transport_share,
            temperature=system.transport_temperature,
        )
        form = two_contexts(length, width)
        return Prompts(text=text, form=form, scale=dual.scale, score=transport)
    forms: dict[str, Form] = {
        "promptfl": one_context(length, width),
        "fedotp-as-in-code": shared_and_own(length, width),
        "fedpgp-as-in-code": low_rank_form(length, width, system.rank),
    }
    return Prompts(text=text, form=forms[name], scale=dual.scale)
