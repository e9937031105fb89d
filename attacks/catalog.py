"""All attacks by name, as "module:class". A new one is one file and one line here."""

from importlib import import_module
from importlib.metadata import entry_points
from typing import Any

from ..accountant import check

ATTACKS: dict[str, str] = {
    "all_rounds": "privassay.attacks.membership.all_rounds:AllRounds",
    "attack_p": "privassay.attacks.membership.attack_p:AttackP",
    "bavaria": "privassay.attacks.membership.bavaria:BaVarIA",
    "calibrated_loss": "privassay.attacks.membership.calibrated:CalibratedLoss",
    "class_feature_theft": "privassay.attacks.prompts.class_feature_theft:ClassFeatureTheft",
    "confidence": "privassay.attacks.membership.loss:Confidence",
    "deep_leakage": "privassay.attacks.inversion.gradients.dlg:DeepLeakage",
    "differencing": "privassay.attacks.prompts.differencing:Differencing",
    "entropy": "privassay.attacks.membership.loss:Entropy",
    "exposure": "privassay.attacks.language.exposure:Exposure",
    "fedmia": "privassay.attacks.membership.fedmia:FedMia",
    "gradient_ascent": "privassay.attacks.membership.gradient_ascent:GradientAscent",
    "gradient_canary": "privassay.attacks.membership.gradient_canary:GradientCanary",
    "gradient_difference": "privassay.attacks.membership.gradient_difference:GradientDifference",
    "gradient_likelihood": (
        "privassay.attacks.inversion.gradients.gradient_likelihood:GradientLikelihood"
    ),
    "gram": "privassay.attacks.prompts.gram:Gram",
    "greedy_extraction": "privassay.attacks.language.extraction:GreedyExtraction",
    "informed_linear": "privassay.attacks.membership.informed_linear:InformedLinear",
    "inverting_gradients": (
        "privassay.attacks.inversion.gradients.inverting_gradients:InvertingGradients"
    ),
    "label_only": "privassay.attacks.membership.label_only:LabelOnly",
    "label_recovery": "privassay.attacks.inversion.gradients.label_recovery:LabelRecovery",
    "latent_inversion": "privassay.attacks.inversion.latent_prior:LatentInversion",
    "likelihood_ratio": "privassay.attacks.membership.likelihood_ratio:LikelihoodRatio",
    "linear_analytic": "privassay.attacks.inversion.gradients.linear_analytic:LinearAnalytic",
    "linear_decoding": "privassay.attacks.inversion.decoder:LinearDecoding",
    "lira": "privassay.attacks.membership.lira:Lira",
    "loss": "privassay.attacks.membership.loss:Loss",
    "mask_reuse": "privassay.attacks.prompts.mask_reuse:ReusedMasks",
    "min_k": "privassay.attacks.language.min_k:MinK",
    "min_k_plus_plus": "privassay.attacks.language.min_k:MinKPlusPlus",
    "nearest_tokens": "privassay.attacks.prompts.nearest_tokens:NearestTokens",
    "neighbourhood": "privassay.attacks.language.neighbourhood:Neighbourhood",
    "neural_decoding": "privassay.attacks.inversion.noisy_decoder:NeuralDecoding",
    "new_token_canary": "privassay.attacks.language.new_token_canary:NewTokenCanary",
    "peer_prompt": "privassay.attacks.prompts.peer_prompt:PeerPrompt",
    "pipra": "privassay.attacks.prompts.pipra:Pipra",
    "planted_prompt": "privassay.attacks.membership.planted_prompt:PlantedPrompt",
    "prompt_distillation": "privassay.attacks.prompts.distillation:PromptDistillation",
    "prompt_membership": "privassay.attacks.prompts.membership:PromptMembership",
    "property_inference": "privassay.attacks.prompts.property_inference:PropertyInference",
    "prototype_distance": "privassay.attacks.membership.prototype_distance:PrototypeDistance",
    "prototype_inversion": "privassay.attacks.inversion.prototype:PrototypeInversion",
    "prototype_match": "privassay.attacks.inversion.identification:PrototypeMatch",
    "quantile_regression": "privassay.attacks.membership.quantile:QuantileRegression",
    "recall": "privassay.attacks.language.recall:Recall",
    "rmia": "privassay.attacks.membership.rmia:Rmia",
    "sampled_exposure": "privassay.attacks.language.exposure:SampledExposure",
    "slice_trilateration": "privassay.attacks.prompts.slice_trilateration:SliceTrilateration",
    "subtraction": "privassay.attacks.prompts.subtraction:Subtraction",
    "text_loss": "privassay.attacks.language.loss:TextLoss",
    "text_reference": "privassay.attacks.language.reference:ReferenceDifference",
    "token_bag": "privassay.attacks.inversion.gradients.token_bag:TokenBag",
    "trilateration": "privassay.attacks.prompts.trilateration:Trilateration",
    "update_cosine": "privassay.attacks.membership.update_cosine:UpdateCosine",
    "update_norm": "privassay.attacks.membership.update_norm:UpdateNorm",
    "update_reconstruction": "privassay.attacks.prompts.update_reconstruction:UpdateReconstruction",
    "user_level": "privassay.attacks.membership.user_level:UserLevel",
    "zlib_ratio": "privassay.attacks.language.zlib_ratio:ZlibRatio",
}


def homes() -> dict[str, str]:
    """Ours, and those that third parties add through the entry points "privassay.attacks"."""
    return {e.name: e.value for e in entry_points(group="privassay.attacks")} | ATTACKS


def load(name: str) -> Any:
    """The class of the attack called `name`.

    Raises:
        ParameterError: there is none; the message names the closest.
    """
    known = homes()
    check.one_of(known, attack=name)
    module, _, attribute = known[name].partition(":")
    return getattr(import_module(module), attribute)


def table() -> str:
    """Markdown: every attack of ours with its adversaries, needs, cost and source."""
    rows = ["| attack | what | adversary | needs | cost | source |", "|---|---|---|---|---|---|"]
    for name in ATTACKS:
        attack = load(name)
        what = (attack.__doc__ or "").strip().splitlines()[0].rstrip(".")
        cells = (
            f"`{name}`",
            what,
            ", ".join(attack.adversaries),
            "; ".join(attack.needs),
            attack.cost,
            attack.source,
        )
        rows.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(rows)


if __name__ == "__main__":
    print(table())
