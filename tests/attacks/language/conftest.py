"""A random causal model that reads bytes, adapters on it, and texts. No download."""

import pytest
import torch

from privassay.fl_core.models.language import LanguageModel
from privassay.fl_core.models.language_kernels import causal
from privassay.fl_core.models.language_tokens import byte_tokenizer

TEXTS = (
    "to be or not to be",
    "ab",
    "that is the question",
    "whether 'tis nobler in the mind",
    "aaaaaaaaaaaaaaaa",
)
LENGTH = 32


@pytest.fixture(scope="session")
def model():
    from transformers import LlamaConfig, LlamaForCausalLM

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        module = LlamaForCausalLM(
            LlamaConfig(
                vocab_size=257, hidden_size=16, num_hidden_layers=2, num_attention_heads=2,
                intermediate_size=24, max_position_embeddings=128, initializer_range=0.5,
            )
        )  # fmt: skip
    return LanguageModel(
        kind="causal", family="llama", module=module.eval().requires_grad_(False),
        tokenizer=byte_tokenizer(), dimension=16, origin="random", sha256="",
    )  # fmt: skip


@pytest.fixture(scope="session")
def kernel(model):
    return causal(model, rank=2, alpha=4.0, max_records=4)


@pytest.fixture(scope="session")
def params(kernel):
    """Three adapters that change the model a lot."""
    generator = torch.Generator().manual_seed(1)
    return {
        name: 0.5 * torch.randn(3, *shape, generator=generator)
        for name, shape in kernel.shapes().items()
    }


@pytest.fixture(scope="session")
def adapted(model, kernel, params):
    """row, tokens -> logits of one text without padding, by transformers and plain hooks."""

    def logits(row, tokens):
        handles = []
        for name, layer in kernel.layers.items():
            a, b = (params[f"{name}.lora_{f}.weight"][row] for f in "AB")
            handles.append(
                layer.register_forward_hook(lambda m, i, o, a=a, b=b: o + 2.0 * (i[0] @ a.T) @ b.T)
            )
        with torch.no_grad():
            found = model.module(input_ids=tokens.view(1, -1), use_cache=False).logits[0]
        for handle in handles:
            handle.remove()
        return found.double()

    return logits
