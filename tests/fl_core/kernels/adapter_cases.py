"""Encoders of four kinds with adapters, and gradients one record at a time."""

import torch
from torch import nn

from privassay.fl_core.kernels.adapters import Adapters
from privassay.fl_core.kernels.encode import token_features
from privassay.fl_core.kernels.layers import Linear, Residual
from privassay.fl_core.kernels.stacked import Stacked, mlp

ROWS, BATCH, CLASSES, DIM = 3, 4, 3, 16


class Towers(nn.Module):
    """No transformer: one layer sees float[n, in], another float[n, tokens, in], and one twice."""

    def __init__(self):
        super().__init__()
        self.embed = nn.Linear(5, 8)
        self.again = nn.Linear(8, 8)
        self.out = nn.Linear(8, DIM)
        self.norm = nn.LayerNorm(DIM)

    def forward(self, x):
        hidden = self.embed(x)
        hidden = self.again(self.again(hidden).tanh()).tanh()
        return self.norm(self.out(hidden.mean(dim=1)))


def towers():
    torch.manual_seed(0)
    x = torch.randn(ROWS, BATCH, 6, 5, dtype=torch.float64)
    return Towers(), ("embed", "again", "out"), lambda module, x: module(x), x


def tokens():
    generator = torch.Generator().manual_seed(0)
    x = torch.randint(1, 50, (ROWS, BATCH, 7), generator=generator)
    x[0, 1, 4:] = 0
    x[2, 3, 1:] = 0
    return x


def bert():
    from transformers import BertConfig, BertModel

    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=50, hidden_size=DIM, num_hidden_layers=2, num_attention_heads=2,
        intermediate_size=24, max_position_embeddings=8,
    )  # fmt: skip
    module = BertModel(config, add_pooling_layer=False)
    return module, ("query", "value"), token_features(0, "first"), tokens()


def llama():
    from transformers import LlamaConfig, LlamaModel

    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=50, hidden_size=DIM, num_hidden_layers=1, num_attention_heads=2,
        num_key_value_heads=1, intermediate_size=24, max_position_embeddings=8,
    )  # fmt: skip
    return (
        LlamaModel(config),
        ("q_proj", "v_proj", "down_proj"),
        token_features(0, "last"),
        tokens(),
    )


def vit():
    from transformers import ViTConfig, ViTModel

    torch.manual_seed(0)
    config = ViTConfig(
        hidden_size=DIM, num_hidden_layers=1, num_attention_heads=2, intermediate_size=24,
        image_size=8, patch_size=4,
    )  # fmt: skip
    module = ViTModel(config, add_pooling_layer=False)
    layers = {
        name.rpartition(".")[2]
        for name, part in module.named_modules()
        if isinstance(part, nn.Linear)
    }
    targets = ("q_proj", "v_proj") if "q_proj" in layers else ("query", "value")
    encode = lambda module, x: module(pixel_values=x).last_hidden_state[:, 0]  # noqa: E731
    return module, targets, encode, torch.randn(ROWS, BATCH, 3, 8, 8, dtype=torch.float64)


ENCODERS = {"towers": towers, "bert": bert, "llama": llama, "vit": vit}
HEADS = {
    "linear": mlp((DIM, CLASSES)),
    "residual": Stacked((Residual("r", DIM, 3),), (Linear("head", DIM, CLASSES),)),
}


def case(make, head="linear", dtype=torch.float64, **settings):
    """A kernel, parameters with factors that are not zero, a batch and a context."""
    module, targets, encode, x = make()
    module = module.to(dtype).eval().requires_grad_(False)
    kernel = Adapters(
        encoder=module, targets=targets, rank=2, alpha=3.0, head=HEADS[head], encode=encode,
        **settings,
    )  # fmt: skip
    generator = torch.Generator().manual_seed(1)
    params = {
        name: 0.4 * torch.randn(ROWS, *shape, generator=generator, dtype=torch.float64).to(dtype)
        for name, shape in kernel.shapes().items()
    }
    x = x.to(dtype) if x.is_floating_point() else x
    y = torch.randint(0, CLASSES, (ROWS, BATCH), generator=generator)
    weights = torch.rand(ROWS, BATCH, generator=generator, dtype=torch.float64).to(dtype)
    weights[1, 2:] = 0.0
    context = {"target": torch.randn(ROWS, DIM, generator=generator, dtype=torch.float64).to(dtype)}
    return kernel, params, x, y, weights, context
