"""Attention pooling: golden values of the authors' code, and the plain formula with all keys, values and answers."""

import numpy as np

from tests.trainer.models.examples import fill_with_sequences, sequence
from trainer.device import jt, var
from trainer.models.roi_heads.bbox_heads.attention_pool import AttentionPool2d

GOLDEN = [
    [-3.049026, -3.342691, -2.137311, 0.025327],
    [4.11717, 3.553996, 1.394164, -1.393577],
    [-2.367906, -1.576928, -0.079498, 1.451503],
]


def plain(pool: AttentionPool2d, features: np.ndarray) -> np.ndarray:
    """CLIP's own way: multi-head attention among all tokens, of which the first answer is kept."""
    weights = {name: value.numpy().astype(np.float64) for name, value in pool.named_parameters()}
    tokens = features.reshape(*features.shape[:2], -1).transpose(0, 2, 1).astype(np.float64)
    tokens = np.concatenate([tokens.mean(1, keepdims=True), tokens], 1) + weights["positional_embedding"]

    def project(layer: str) -> np.ndarray:
        x = tokens @ weights[f"{layer}.weight"].T + weights[f"{layer}.bias"]
        return x.reshape(*x.shape[:2], pool.heads, -1).transpose(0, 2, 1, 3)

    query, key, value = (project(layer) for layer in ("q_proj", "k_proj", "v_proj"))
    scores = query @ key.transpose(0, 1, 3, 2) / np.sqrt(query.shape[-1])
    attention = np.exp(scores - scores.max(-1, keepdims=True))
    attention /= attention.sum(-1, keepdims=True)
    answers = (attention @ value).transpose(0, 2, 1, 3).reshape(tokens.shape)
    return (answers @ weights["c_proj.weight"].T + weights["c_proj.bias"])[:, 0]


def test_golden_values() -> None:
    pool = AttentionPool2d(2, 8, 2, 4)
    fill_with_sequences(pool)
    np.testing.assert_allclose(pool(var(sequence((3, 8, 2, 2), step=0.31))).numpy(), GOLDEN, rtol=1e-5, atol=1e-5)


def test_the_short_way_gives_the_same_as_attention_among_all_tokens() -> None:
    pool = AttentionPool2d(7, 128, 2, 32)
    features = np.random.default_rng(0).standard_normal((5, 128, 7, 7)).astype(np.float32) * 3
    np.testing.assert_allclose(pool(var(features)).numpy(), plain(pool, features), rtol=1e-4, atol=1e-5)


def test_every_parameter_gets_a_gradient_except_the_keys_bias_which_cannot_matter() -> None:
    pool = AttentionPool2d(2, 64, 1, 8)
    output = pool(jt.randn(3, 64, 2, 2))
    named = dict(pool.named_parameters())
    gradients = jt.grad((output * jt.randn(3, 8)).sum(), list(named.values()))
    sizes = {name: np.abs(gradient.numpy()).max() for name, gradient in zip(named, gradients, strict=True)}
    assert sizes.pop("k_proj.bias") < 1e-5 * max(sizes.values())
    assert min(sizes.values()) > 1e-4
