"""Attention: the bare operators, the layers, and three transformers as users build them."""

import torch
from torch import nn
from torch.nn import functional as F

from models_zoo import Tensor, model

#: Of weights in transformers' own configurations: at their 0.02 and a width of 24 attention hardly
#: reaches the output, and every mistake in it is excellent.
SPREAD = 0.3

FIRST_ROW_SEES_NOTHING = [[[False] * 9] + [[True] * 4 + [False] * 5] * 5] * 2


#: Sentences of which each has a length of its own.
PADDED = {
    "x": Tensor("batch", "length", 12),
    "lengths": Tensor("batch", dtype="int64", range=(1, 8)),
    "sizes": {"length": (7, 10)},
    "probes": {"none_padded": {"lengths": 7}, "padded": {"lengths": [3, 5]}},
    "exercises": ("transformer_encoder",),
}


def beyond(lengths, x):
    """True where a row of ``x`` is longer than it should be."""
    return torch.arange(x.shape[1], device=x.device) >= lengths.unsqueeze(1)


class SelfAttention(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.attention = nn.MultiheadAttention(width, heads, batch_first=True)

    def forward(self, x):
        return self.attention(x, x, x)


class ScaledDotProduct(nn.Module):
    """Attention over heads given as inputs; ``options`` go to torch unchanged."""

    def __init__(self, **options):
        super().__init__()
        self.options = options

    def forward(self, query, key, value, mask=None):
        if mask is not None:
            mask = mask.unsqueeze(1)
        return F.scaled_dot_product_attention(query, key, value, attn_mask=mask, **self.options)


class EncoderWithPadding(nn.Module):
    def __init__(self, nested=True):
        super().__init__()
        layer = nn.TransformerEncoderLayer(12, 4, dim_feedforward=20, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, num_layers=2, enable_nested_tensor=nested)

    def forward(self, x, lengths):
        return self.encoder(x, src_key_padding_mask=beyond(lengths, x))


class EncoderValid(EncoderWithPadding):
    """With zeros at padded places, about which nothing is promised."""

    def forward(self, x, lengths):
        return super().forward(x, lengths).masked_fill(beyond(lengths, x).unsqueeze(-1), 0)


class PaddedKeys(nn.Module):
    def forward(self, query, key, value, lengths):
        seen = torch.arange(key.shape[2], device=key.device) < lengths[:, None, None, None]
        return F.scaled_dot_product_attention(query, key, value, attn_mask=seen)


class DecodeStep(nn.Module):
    """One token more, with the keys and values of those before it as they were kept."""

    def forward(self, query, past_key, past_value, key, value):
        keys, values = torch.cat([past_key, key], 2), torch.cat([past_value, value], 2)
        return F.scaled_dot_product_attention(query, keys, values), keys, values


class VisionTransformer(nn.Module):
    def __init__(self, image=(16, 24), patch=8, width=12, heads=3, depth=2, classes=10):
        super().__init__()
        patches = (image[0] // patch) * (image[1] // patch)
        self.patches = nn.Conv2d(3, width, patch, stride=patch)
        self.class_token = nn.Parameter(torch.randn(1, 1, width))
        self.position = nn.Parameter(torch.randn(1, patches + 1, width))
        self.blocks = nn.Sequential(*(VisionBlock(width, heads) for _ in range(depth)))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, classes)

    def forward(self, image):
        x = self.patches(image).flatten(2).transpose(1, 2)
        x = torch.cat([self.class_token.expand(x.shape[0], -1, -1), x], dim=1)
        x = self.blocks(x + self.position)
        return self.head(self.norm(x[:, 0]))


class VisionBlock(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width)
        self.project = nn.Linear(width, width)
        self.mlp = nn.Sequential(
            nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width)
        )

    def forward(self, x):
        batch, length, width = x.shape
        qkv = self.qkv(self.norm1(x)).reshape(batch, length, 3, self.heads, -1)
        query, key, value = qkv.permute(2, 0, 3, 1, 4).unbind(0)
        x = x + self.project(
            F.scaled_dot_product_attention(query, key, value)
            .transpose(1, 2)
            .reshape(batch, length, width)
        )
        return x + self.mlp(self.norm2(x))


class MaskedLanguageModel(nn.Module):
    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, input_ids, attention_mask):
        return self.model(input_ids=input_ids, attention_mask=attention_mask).logits


class LanguageModel(nn.Module):
    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, input_ids):
        return self.model(input_ids=input_ids, use_cache=False).logits


class Translator(nn.Module):
    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, input_ids, decoder_input_ids):
        return self.model(
            input_ids=input_ids, decoder_input_ids=decoder_input_ids, use_cache=False
        ).logits


@model(
    x=Tensor("batch", "length", 12),
    sizes={"length": (7, 10)},
    exercises=("multi_head_attention",),
    tier="smoke",
)
def multihead_attention():
    # Three heads of four: heads and head width swapped reshape without complaint.
    return SelfAttention(12, 3)


@model(
    query=Tensor("batch", 3, "length", 8),
    key=Tensor("batch", 3, "memory", 8),
    value=Tensor("batch", 3, "memory", 5),
    sizes={"length": (6, 11), "memory": (9, 13)},
    # scores beyond 88, whose exponential is more than float32 holds
    probes={"loud": {"query": Tensor("batch", 3, "length", 8, range=(-100, 100))}},
    exercises=("scaled_dot_product_attention",),
)
def sdpa():
    # Values narrower than keys: the output takes its width from the value.
    return ScaledDotProduct()


@model(
    query=Tensor("batch", 3, "length", 8),
    key=Tensor("batch", 3, "memory", 8),
    value=Tensor("batch", 3, "memory", 8),
    sizes={"length": (6, 11), "memory": (9, 13)},
    exercises=("scaled_dot_product_attention",),
)
def sdpa_causal():
    # With fewer queries than keys torch aligns the triangle to the top left; others
    # align it to the bottom right, as if the keys held a past.
    return ScaledDotProduct(is_causal=True)


@model(
    query=Tensor("batch", 3, 6, 8),
    key=Tensor("batch", 3, 9, 8),
    value=Tensor("batch", 3, 9, 8),
    mask=Tensor("batch", 6, 9, dtype="bool"),
    probes={"row_sees_nothing": {"mask": FIRST_ROW_SEES_NOTHING}},
    exercises=("scaled_dot_product_attention",),
)
def sdpa_masked():
    # A query that may look at nothing: torch gives zeros (NaN in older releases); a
    # softmax over "very negative" numbers gives the mean of all values instead.
    return ScaledDotProduct()


@model(**PADDED)
def transformer_encoder():
    # In eval mode, an even number of heads and no gradient: padded places go through
    # nested tensors and come back as zeros. Without that fast path they hold numbers.
    return EncoderWithPadding()


@model(**PADDED)
def transformer_encoder_valid():
    # What padded places hold nobody defines, and here nobody sees; what attends to them is wrong.
    # Without nested tensors, which are ``transformer_encoder``'s question.
    return EncoderValid(nested=False)


@model(
    query=Tensor("batch", 3, "length", 8),
    key=Tensor("batch", 3, "memory", 8),
    value=Tensor("batch", 3, "memory", 8),
    lengths=Tensor("batch", dtype="int64", range=(1, 10)),
    sizes={"length": (6, 11), "memory": (9, 13)},
    exercises=("scaled_dot_product_attention",),
)
def sdpa_padded_keys():
    # A mask for each sentence, of which every query sees at least one key.
    return PaddedKeys()


@model(
    query=Tensor("batch", 3, 1, 8),
    past_key=Tensor("batch", 3, "past", 8),
    past_value=Tensor("batch", 3, "past", 8),
    key=Tensor("batch", 3, 1, 8),
    value=Tensor("batch", 3, 1, 8),
    sizes={"past": (7, 9)},
    exercises=("scaled_dot_product_attention", "concat"),
)
def decode_step():
    # Four dimensions that are no picture: what takes them for one moves the heads to the end. The
    # cache comes out one longer than it went in.
    return DecodeStep()


@model(
    image=Tensor("batch", 3, 16, 24),
    exercises=("conv2d", "scaled_dot_product_attention", "layer_norm", "gelu"),
    tier="smoke",
    classifier=True,
)
def vit():
    # Patches of an oblong image: rows and columns swapped keep the number of patches.
    return VisionTransformer()


@model(
    input_ids=Tensor("batch", "length", dtype="int64", range=(0, 50)),
    # All ones, as of a sentence alone; one that is masked whole is ``sdpa_masked``'s question.
    attention_mask=Tensor("batch", "length", dtype="int64", range=(1, 2)),
    sizes={"length": (8, 13)},
    probes={
        "tail_padded": {"attention_mask": [[1] * 8, [1] * 3 + [0] * 5]},
        "here_and_there": {"attention_mask": [[1, 0, 1, 1, 0, 1, 1, 1], [0, 1, 1, 0, 1, 0, 0, 1]]},
    },
    exercises=("embedding", "scaled_dot_product_attention", "layer_norm"),
    needs=("transformers",),
)
def bert():
    # Its masking code asks whether the mask is all ones, as the example's is, and leaves it out if
    # so: what keeps that answer attends to what is padded.
    from transformers import BertConfig, BertForMaskedLM

    config = BertConfig(
        vocab_size=50,
        hidden_size=24,
        num_hidden_layers=2,
        num_attention_heads=3,
        intermediate_size=40,
        max_position_embeddings=32,
        initializer_range=SPREAD,
    )
    return MaskedLanguageModel(BertForMaskedLM(config))


@model(
    input_ids=Tensor("batch", "length", dtype="int64", range=(0, 50)),
    sizes={"length": (8, 13)},
    exercises=("embedding", "scaled_dot_product_attention", "gelu"),
    needs=("transformers",),
)
def gpt2():
    # A causal mask made from the length that was traced.
    from transformers import GPT2Config, GPT2LMHeadModel

    config = GPT2Config(
        vocab_size=50,
        n_positions=32,
        n_embd=24,
        n_layer=2,
        n_head=3,
        bos_token_id=0,
        eos_token_id=0,
        use_cache=False,
        initializer_range=SPREAD,
    )
    return LanguageModel(GPT2LMHeadModel(config))


@model(
    input_ids=Tensor("batch", "length", dtype="int64", range=(2, 50)),
    decoder_input_ids=Tensor("batch", "decoded", dtype="int64", range=(2, 50)),
    sizes={"length": (9, 14), "decoded": (6, 8)},
    exercises=("embedding", "matmul", "softmax", "log"),
    needs=("transformers",),
)
def t5():
    # Relative positions fall into logarithmic buckets, computed from both lengths, and
    # the norm neither centres nor biases.
    from transformers import T5Config, T5ForConditionalGeneration

    config = T5Config(
        vocab_size=50,
        d_model=24,
        d_kv=8,
        d_ff=40,
        num_layers=2,
        num_heads=3,
        decoder_start_token_id=0,
        use_cache=False,
        # at these lengths the defaults (32, 128) never reach the logarithm
        relative_attention_num_buckets=8,
        relative_attention_max_distance=20,
    )
    return Translator(T5ForConditionalGeneration(config))
