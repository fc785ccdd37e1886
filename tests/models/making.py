"""Models that tests generate: any shape, random weights, each loads in the real engine.

Every function writes one GGUF file at `path` and returns it. Sizes are small by default;
whatever a test is about can be set.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .drafting import Draft

if TYPE_CHECKING:
    from pathlib import Path


def _attention(
    draft: Draft,
    at: str,
    *,
    width: int,
    heads: int,
    kv_heads: int,
    head: int,
    normed: bool = False,
) -> None:
    draft.matrix(f"{at}.attn_q.weight", heads * head, width)
    draft.matrix(f"{at}.attn_k.weight", kv_heads * head, width)
    draft.matrix(f"{at}.attn_v.weight", kv_heads * head, width)
    draft.matrix(f"{at}.attn_output.weight", width, heads * head, scale=0.5)
    if normed:
        draft.vector(f"{at}.attn_q_norm.weight", head)
        draft.vector(f"{at}.attn_k_norm.weight", head)


def _feed_forward(draft: Draft, at: str, width: int, inner: int) -> None:
    draft.matrix(f"{at}.ffn_gate.weight", inner, width)
    draft.matrix(f"{at}.ffn_up.weight", inner, width)
    draft.matrix(f"{at}.ffn_down.weight", width, inner, scale=0.5)


def _experts(draft: Draft, at: str, width: int, inner: int, experts: int) -> None:
    draft.matrix(f"{at}.ffn_gate_inp.weight", experts, width, exact=True)
    draft.matrix(f"{at}.ffn_gate_exps.weight", experts, inner, width)
    draft.matrix(f"{at}.ffn_up_exps.weight", experts, inner, width)
    draft.matrix(f"{at}.ffn_down_exps.weight", experts, width, inner, scale=0.5)


def make_llama(
    path: Path,
    *,
    layers: int = 2,
    width: int = 64,
    heads: int = 4,
    kv_heads: int = 2,
    head: int | None = None,
    inner: int = 128,
    experts: int = 0,
    experts_used: int = 2,
    context_tokens: int = 4096,
    vocabulary: int = 2048,
    weights: str = "f16",
    tied: bool = True,
    template: str | None = None,
    normed: bool = False,
    tensors_per_file: int = 0,
    seed: int = 0,
) -> Path:
    """Plain llama; with `experts` a mixture of experts; with `normed` a qwen3.

    With `tensors_per_file` it is split; what is returned is the first part.
    """
    head = head or width // heads
    family = ("qwen3moe" if experts else "qwen3") if normed else "llama"
    draft = Draft(path, family, weights=weights, seed=seed, tensors_per_file=tensors_per_file)
    draft.set(
        context_length=context_tokens,
        embedding_length=width,
        block_count=layers,
        feed_forward_length=inner,
        attention__head_count=heads,
        attention__head_count_kv=kv_heads,
        attention__key_length=head,
        attention__value_length=head,
        attention__layer_norm_rms_epsilon=1e-5,
        rope__dimension_count=head,
        rope__freq_base=1e6,
        expert_count=experts or None,
        expert_used_count=experts_used if experts else None,
        expert_feed_forward_length=inner if experts and normed else None,
    )
    draft.chat_tokenizer(vocabulary, template=template)
    draft.matrix("token_embd.weight", vocabulary, width)
    for i in range(layers):
        at = f"blk.{i}"
        draft.vector(f"{at}.attn_norm.weight", width)
        _attention(draft, at, width=width, heads=heads, kv_heads=kv_heads, head=head, normed=normed)
        draft.vector(f"{at}.ffn_norm.weight", width)
        if experts:
            _experts(draft, at, width, inner, experts)
        else:
            _feed_forward(draft, at, width, inner)
    draft.vector("output_norm.weight", width)
    if not tied:
        draft.matrix("output.weight", vocabulary, width)
    return draft.save()


def make_slow(path: Path, *, context_tokens: int = 4096, seed: int = 0) -> Path:
    """A llama of 100 million weights in 44 MB, whose type is slow to unpack.

    It takes 13 ms of processor time for a token, so 5 to 10 ms with two threads, and wide
    layers keep the threads from waiting for one another.
    """
    return make_llama(
        path,
        layers=8,
        width=1024,
        heads=8,
        kv_heads=4,
        inner=3072,
        context_tokens=context_tokens,
        weights="iq3_s",
        seed=seed,
    )


def make_sliding(
    path: Path,
    *,
    family: str = "gemma3",
    layers: int = 7,
    width: int = 64,
    heads: int = 4,
    kv_heads: int = 2,
    head: int = 16,
    inner: int = 128,
    window: int = 256,
    context_tokens: int = 8192,
    vocabulary: int = 2048,
    weights: str = "f16",
    seed: int = 0,
) -> Path:
    """Sliding-window attention: `gemma3` (every 6th layer sees all) or `gemma2` (every 2nd)."""
    draft = Draft(path, family, weights=weights, seed=seed)
    draft.set(
        context_length=context_tokens,
        embedding_length=width,
        block_count=layers,
        feed_forward_length=inner,
        attention__head_count=heads,
        attention__head_count_kv=kv_heads,
        attention__key_length=head,
        attention__value_length=head,
        attention__layer_norm_rms_epsilon=1e-6,
        attention__sliding_window=window,
        rope__freq_base=1e6,
        attn_logit_softcapping=50.0 if family == "gemma2" else None,
        final_logit_softcapping=30.0 if family == "gemma2" else None,
    )
    draft.chat_tokenizer(vocabulary)
    draft.matrix("token_embd.weight", vocabulary, width)
    for i in range(layers):
        at = f"blk.{i}"
        for norm in ("attn_norm", "post_attention_norm", "ffn_norm", "post_ffw_norm"):
            draft.vector(f"{at}.{norm}.weight", width)
        _attention(
            draft,
            at,
            width=width,
            heads=heads,
            kv_heads=kv_heads,
            head=head,
            normed=family == "gemma3",
        )
        _feed_forward(draft, at, width, inner)
    draft.vector("output_norm.weight", width)
    return draft.save()


def make_latent(
    path: Path,
    *,
    layers: int = 3,
    width: int = 64,
    heads: int = 4,
    latent: int = 32,
    rotary: int = 16,
    plain: int = 16,
    value: int = 16,
    inner: int = 128,
    experts: int = 4,
    context_tokens: int = 4096,
    vocabulary: int = 2048,
    weights: str = "f16",
    seed: int = 0,
) -> Path:
    """Multi-head latent attention: deepseek2, first layer dense, the rest with experts."""
    draft = Draft(path, "deepseek2", weights=weights, seed=seed)
    query_rank = 32
    draft.set(
        context_length=context_tokens,
        embedding_length=width,
        block_count=layers,
        feed_forward_length=inner,
        attention__head_count=heads,
        attention__head_count_kv=1,
        attention__q_lora_rank=query_rank,
        attention__kv_lora_rank=latent,
        attention__key_length=latent + rotary,
        attention__value_length=latent,
        attention__key_length_mla=plain + rotary,
        attention__value_length_mla=value,
        attention__layer_norm_rms_epsilon=1e-6,
        rope__dimension_count=rotary,
        rope__freq_base=1e4,
        leading_dense_block_count=1,
        expert_count=experts,
        expert_used_count=2,
        expert_feed_forward_length=inner // 2,
        expert_shared_count=1,
        expert_weights_scale=1.0,
        expert_gating_func=1,
    )
    draft.chat_tokenizer(vocabulary)
    draft.matrix("token_embd.weight", vocabulary, width)
    for i in range(layers):
        at = f"blk.{i}"
        draft.vector(f"{at}.attn_norm.weight", width)
        draft.matrix(f"{at}.attn_q_a.weight", query_rank, width)
        draft.vector(f"{at}.attn_q_a_norm.weight", query_rank)
        draft.matrix(f"{at}.attn_q_b.weight", heads * (plain + rotary), query_rank)
        draft.matrix(f"{at}.attn_kv_a_mqa.weight", latent + rotary, width)
        draft.vector(f"{at}.attn_kv_a_norm.weight", latent)
        draft.matrix(f"{at}.attn_k_b.weight", heads, latent, plain)
        draft.matrix(f"{at}.attn_v_b.weight", heads, value, latent)
        draft.matrix(f"{at}.attn_output.weight", width, heads * value, scale=0.5)
        draft.vector(f"{at}.ffn_norm.weight", width)
        if i == 0:
            _feed_forward(draft, at, width, inner)
            continue
        _experts(draft, at, width, inner // 2, experts)
        draft.matrix(f"{at}.ffn_gate_shexp.weight", inner // 2, width)
        draft.matrix(f"{at}.ffn_up_shexp.weight", inner // 2, width)
        draft.matrix(f"{at}.ffn_down_shexp.weight", width, inner // 2, scale=0.5)
    draft.vector("output_norm.weight", width)
    draft.matrix("output.weight", vocabulary, width)
    return draft.save()


def _mamba(draft: Draft, at: str, width: int, inner: int, state: int, *, normed: bool) -> None:
    rank = max(width // 16, 1)
    draft.matrix(f"{at}.ssm_in.weight", 2 * inner, width)
    draft.matrix(f"{at}.ssm_conv1d.weight", inner, 4, exact=True)
    draft.vector(f"{at}.ssm_conv1d.bias", inner, value=0.0)
    draft.matrix(f"{at}.ssm_x.weight", rank + 2 * state, inner)
    draft.matrix(f"{at}.ssm_dt.weight", inner, rank, exact=True)
    draft.vector(f"{at}.ssm_dt.bias", inner, value=0.1)
    draft.vector(f"{at}.ssm_a", inner, state, value=-1.0)
    draft.vector(f"{at}.ssm_d", inner)
    draft.matrix(f"{at}.ssm_out.weight", width, inner, scale=0.5)
    if normed:
        draft.vector(f"{at}.ssm_dt_norm.weight", rank)
        draft.vector(f"{at}.ssm_b_norm.weight", state)
        draft.vector(f"{at}.ssm_c_norm.weight", state)


def make_recurrent(
    path: Path,
    *,
    layers: int = 3,
    width: int = 64,
    state: int = 16,
    context_tokens: int = 8192,
    vocabulary: int = 2048,
    weights: str = "f16",
    seed: int = 0,
) -> Path:
    """No attention at all: mamba, a state of fixed size per sequence."""
    draft = Draft(path, "mamba", weights=weights, seed=seed)
    draft.set(
        context_length=context_tokens,
        embedding_length=width,
        block_count=layers,
        feed_forward_length=0,
        attention__head_count=0,
        attention__layer_norm_rms_epsilon=1e-5,
        ssm__conv_kernel=4,
        ssm__inner_size=2 * width,
        ssm__state_size=state,
        ssm__time_step_rank=max(width // 16, 1),
    )
    draft.chat_tokenizer(vocabulary)
    draft.matrix("token_embd.weight", vocabulary, width)
    for i in range(layers):
        draft.vector(f"blk.{i}.attn_norm.weight", width)
        _mamba(draft, f"blk.{i}", width, 2 * width, state, normed=False)
    draft.vector("output_norm.weight", width)
    return draft.save()


def make_hybrid(
    path: Path,
    *,
    family: str = "jamba",
    layers: int = 4,
    width: int = 64,
    heads: int = 4,
    kv_heads: int = 2,
    state: int = 16,
    inner: int = 128,
    context_tokens: int = 8192,
    vocabulary: int = 2048,
    weights: str = "f16",
    seed: int = 0,
) -> Path:
    """Attention in every second layer, in the others a mamba (`jamba`) or a convolution
    (`lfm2`).
    """
    kv_per_layer = [kv_heads if i % 2 else 0 for i in range(layers)]
    draft = Draft(path, family, weights=weights, seed=seed)
    draft.set(
        context_length=context_tokens,
        embedding_length=width,
        block_count=layers,
        feed_forward_length=inner,
        attention__head_count=heads,
        attention__head_count_kv=kv_per_layer,
        attention__layer_norm_rms_epsilon=1e-5,
    )
    if family == "jamba":
        draft.set(
            ssm__conv_kernel=4,
            ssm__inner_size=2 * width,
            ssm__state_size=state,
            ssm__time_step_rank=max(width // 16, 1),
        )
    else:
        draft.set(shortconv__l_cache=3, rope__freq_base=1e6)
    draft.chat_tokenizer(vocabulary)
    draft.matrix("token_embd.weight", vocabulary, width)
    for i, kv in enumerate(kv_per_layer):
        at = f"blk.{i}"
        draft.vector(f"{at}.attn_norm.weight", width)
        draft.vector(f"{at}.ffn_norm.weight", width)
        _feed_forward(draft, at, width, inner)
        if kv:
            _attention(
                draft,
                at,
                width=width,
                heads=heads,
                kv_heads=kv,
                head=width // heads,
                normed=family == "lfm2",
            )
        elif family == "jamba":
            _mamba(draft, at, width, 2 * width, state, normed=True)
        else:
            draft.matrix(f"{at}.shortconv.conv.weight", width, 3, exact=True)
            draft.matrix(f"{at}.shortconv.in_proj.weight", 3 * width, width)
            draft.matrix(f"{at}.shortconv.out_proj.weight", width, width, scale=0.5)
    draft.vector("token_embd_norm.weight" if family == "lfm2" else "output_norm.weight", width)
    return draft.save()


def make_embedding(
    path: Path,
    *,
    layers: int = 2,
    width: int = 768,
    heads: int = 12,
    inner: int = 512,
    context_tokens: int = 512,
    vocabulary: int = 2048,
    weights: str = "q8_0",
    marked: bool = False,
    seed: int = 0,
) -> Path:
    """A bert with mean pooling whose vectors have `width` dimensions.

    With `marked` every text gets a token before and one after it, as those of real ones do.
    """
    draft = Draft(path, "bert", weights=weights, seed=seed)
    draft.set(
        context_length=context_tokens,
        embedding_length=width,
        block_count=layers,
        feed_forward_length=inner,
        attention__head_count=heads,
        attention__layer_norm_epsilon=1e-12,
        attention__causal=False,
        pooling_type=1,
    )
    draft.chat_tokenizer(vocabulary)
    if marked:
        draft.writer.add_add_bos_token(True)
        draft.writer.add_add_eos_token(True)
    draft.writer.add_token_type_count(2)
    draft.matrix("token_embd.weight", vocabulary, width)
    draft.matrix("position_embd.weight", context_tokens, width, scale=0.1, exact=True)
    draft.vector("token_types.weight", 2, width, value=0.0)
    draft.vector("token_embd_norm.weight", width)
    draft.vector("token_embd_norm.bias", width, value=0.0)
    for i in range(layers):
        at = f"blk.{i}"
        _attention(draft, at, width=width, heads=heads, kv_heads=heads, head=width // heads)
        for name in ("attn_q", "attn_k", "attn_v", "attn_output", "ffn_down"):
            draft.vector(f"{at}.{name}.bias", width, value=0.0)
        draft.matrix(f"{at}.ffn_up.weight", inner, width)
        draft.vector(f"{at}.ffn_up.bias", inner, value=0.0)
        draft.matrix(f"{at}.ffn_down.weight", width, inner, scale=0.5)
        for name in ("attn_output_norm", "layer_output_norm"):
            draft.vector(f"{at}.{name}.weight", width)
            draft.vector(f"{at}.{name}.bias", width, value=0.0)
    return draft.save()
