"""A folder with a tiny random CLIP that knows some words, for comparisons without any asset."""

import torch

BEGIN, END = 1, 62


def save_clip(path, words):
    """Write model, tokenizer and image processor to `path`."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import (
        CLIPConfig,
        CLIPModel,
        CLIPTextConfig,
        CLIPVisionConfig,
        PreTrainedTokenizerFast,
    )
    from transformers.models.clip import CLIPImageProcessorPil
    from transformers.utils import logging

    logging.disable_progress_bar()
    torch.manual_seed(0)
    text = CLIPTextConfig(
        vocab_size=64, hidden_size=16, num_hidden_layers=1, num_attention_heads=2,
        intermediate_size=24, max_position_embeddings=16, bos_token_id=BEGIN, eos_token_id=END,
        pad_token_id=0,
    )  # fmt: skip
    vision = CLIPVisionConfig(
        hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16,
        image_size=16, patch_size=8,
    )  # fmt: skip
    config = CLIPConfig(
        text_config=text.to_dict(), vision_config=vision.to_dict(), projection_dim=12
    )
    model = CLIPModel(config).eval().requires_grad_(False)
    with torch.no_grad():  # as far apart as the words of a trained model
        model.text_model.embeddings.token_embedding.weight.normal_()
    model.save_pretrained(path)
    numbers = {"<s>": BEGIN, "</s>": END, "?": 0}
    numbers |= {word: 3 + place for place, word in enumerate(words)}
    tokenizer = Tokenizer(models.WordLevel(numbers, unk_token="?"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", BEGIN), ("</s>", END)]
    )
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="?").save_pretrained(path)
    square = {"height": 16, "width": 16}
    CLIPImageProcessorPil(size={"shortest_edge": 16}, crop_size=square).save_pretrained(path)


WORDS = (".", "cat", "a", "photo", "of", *"0123456789")
DP_FPL = """
title = "Tiny | <b>DP-FPL</b>"
[claim]
adjacency = "zero-out"
unit = "example"
delta = 1e-5
[system]
name = "dp_fpl"
clip_norm = 0.5
rank = 1
claims = [0.4]
[data]
source = "optdigits"
clients = 5
classes_each = 2
train_per_class = 4
test_per_class = 5
[model]
encoder = "clip"
context_length = 2
template = "a photo"
[training]
epochs = 2
batch_size = 4
learning_rate = 1.0
[compare]
epsilons = [8.0]
seeds = 3
"""

SECFPP = """
title = "Tiny SecFPP"
[claim]
adjacency = "zero-out"
unit = "client"
delta = 1e-5
[system]
name = "secfpp"
rounds = 2
period = 2
dimension = 4
iterations = 1
clusters = 2
split_above = 0.05
merge_below = 0.01
[data]
source = "digit_domains"
clients = 8
train_per_class = 2
test_per_class = 1
[model]
encoder = "clip"
context_length = 2
template = "a photo"
[training]
epochs = 1
batch_size = 20
learning_rate = 0.5
[compare]
epsilons = [8.0]
seeds = 3
"""
