"""AISFormer's masks: learned queries find an object, its visible part and its occluder (Tran et al., 2022).

Source: UARK-AICV/AISFormer, `detectron2/modeling/roi_heads/aisformer/aisformer.py`, with a transformer of one layer and
two heads, as its KINS configuration has it. Left out: a 1x1 convolution of one channel that the source makes and never
calls. Ours: the terms of the occluder are over the regions that have one. Masks are of no class.

Shape shorthand in this module: B images, P slots of positive regions, n detections, N regions, C channels, M mask cells
a side, T = M M cells, Q queries.
"""

import dataclasses
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.nn import initializers
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Int, Key

from amodal_jax import losses as loss
from amodal_jax.errors import require
from amodal_jax.losses import Mean
from amodal_jax.models.attention import MultiHeadAttention, dropout, split_keys
from amodal_jax.models.branch import Branch
from amodal_jax.models.heads.convolutions import HeadConfig, first_layer
from amodal_jax.models.layers import Conv, Deconv2x2, Dense, make_norm, normal_0001, relu, torch_uniform
from amodal_jax.models.mask_heads import MaskConfig
from amodal_jax.models.mask_targets import MaskKind, MaskTargets, OccluderRule
from amodal_jax.models.roi_pooling import RegionFeatures

if TYPE_CHECKING:
    from amodal_jax.models.config import ModelConfig

POSITIONS = 50
"""Rows and columns that a position is learned of."""
QUERIES = 4
"""Queries; nothing is asked of the last, as in the source."""
ASKED = ("inmodal", "occluder", "amodal")
"""What the first queries learn to find."""


@dataclasses.dataclass(frozen=True)
class AISFormerConfig(MaskConfig):
    """AISFormer's mask stage; `model.heads` holds its channels and the normalisation of its convolution."""

    attention_heads: int = 2
    """Heads of each attention."""
    feedforward_channels: int = 2048
    """Channels between the two dense layers of encoder and decoder."""
    dropout: float = 0.1
    """Rate of dropout in encoder and decoder."""
    occluders: OccluderRule = "overlap"
    """What the query of the occluder learns to find: all that "overlap" an object, as in the source, or those that hide
    it by the records' "orders"."""
    occluder_weight: float = 0.25
    """Weight of the occluder's mask in the loss."""
    invisible_weight: float = 0.25
    """Weight of the invisible part's mask in the loss."""
    rematerialise: bool = True
    """Whether training computes the encoder twice instead of keeping its attention, of 0.63 GB an image and copy."""

    def __post_init__(self):
        for name in ("attention_heads", "feedforward_channels"):
            require(getattr(self, name) > 0, f"model.mask.{name}", "must be positive")
        for name in ("occluder_weight", "invisible_weight"):
            require(getattr(self, name) >= 0, f"model.mask.{name}", "must not be negative")
        require(0 <= self.dropout < 1, "model.mask.dropout", "must be within [0, 1)")

    def check(self, model: "ModelConfig") -> None:
        """Refuses what does not fit the transformer.

        Raises:
          ConfigError: names the fields.
        """
        for name in ("amodal_mask", "inmodal_mask"):
            needed = getattr(model.heads, name)
            require(
                needed,
                f"model.heads.{name}",
                'must be true with model.mask.kind = "aisformer", whose queries find both',
            )
        channels = model.heads.channels
        require(
            channels % 2 == 0,
            "model.heads.channels",
            f'must be even with model.mask.kind = "aisformer", as half of them are for rows: not {channels}',
        )
        require(
            channels % self.attention_heads == 0,
            "model.mask.attention_heads",
            f"must divide model.heads.channels = {channels}",
        )
        require(
            2 * model.roi.mask_size <= POSITIONS,
            "model.roi.mask_size",
            f'must be at most {POSITIONS // 2} with model.mask.kind = "aisformer", which knows {POSITIONS} rows',
        )

    def build(self, model: "ModelConfig") -> "AISFormerMasks":
        """The mask stage of a network."""
        return AISFormerMasks(self, model.heads, model.dtype)


class Table(nn.Module):
    """Learned vectors [rows, C], in float32."""

    rows: int
    """Vectors."""
    channels: int
    """C."""
    initialiser: initializers.Initializer
    """Initialiser of the values."""

    @nn.compact
    def __call__(self) -> Float[Array, "rows C"]:
        return self.param("values", self.initialiser, (self.rows, self.channels), jnp.float32)


def of_each_region(learned: Float[Array, "T C"], regions: int, dtype: DTypeLike) -> Float[Array, "N T C"]:
    """Learned vectors once for each region, of another type only then: their gradient sums over regions in float32."""
    return jnp.broadcast_to(learned, (regions, *learned.shape)).astype(dtype)


class Perceptron(nn.Module):
    """Dense layers with a ReLU between them."""

    features: tuple[int, ...]
    """Channels of each layer's output."""
    kernel_init: initializers.Initializer | None = None
    """Initialiser of the kernels; torch's of a dense layer when None."""
    dropout: float = 0.0
    """Rate of dropout after each ReLU."""
    dtype: DTypeLike = jnp.float32
    """Type of the arithmetic."""

    @nn.compact
    def __call__(self, x: Float[Array, "N _ _"], keys: Key[Array, " B"] | None = None) -> Float[Array, "N _ _"]:
        for number, features in enumerate(self.features, start=1):
            inputs = torch_uniform(x.shape[-1])
            dense = Dense(features, self.dtype, self.kernel_init or inputs, inputs, name=f"dense{number}")
            x = dense(x)
            if number < len(self.features):
                x = dropout(relu(x), self.dropout, keys)
        return x


class TransformerLayer(nn.Module):
    """What encoder and decoder have in common: each step is added to its input and the sum normalised."""

    config: AISFormerConfig
    """The stage's settings."""
    dtype: DTypeLike
    """Type of the arithmetic."""

    def attention(self, name: str) -> MultiHeadAttention:
        """An attention layer of that name."""
        return MultiHeadAttention(self.config.attention_heads, self.config.dropout, self.dtype, name=name)

    def add(self, x: Array, step: Array, keys: Key[Array, " B"] | None, name: str) -> Array:
        """The normalised sum of a step's input and output, with dropout of the latter."""
        return layer_norm(self.dtype, name)(x + dropout(step, self.config.dropout, keys))

    def feed_forward(self, x: Array, keys: list[Key[Array, " B"] | None]) -> Array:
        """The dense layers, as the last step."""
        features = (self.config.feedforward_channels, x.shape[-1])
        dense = Perceptron(features, dropout=self.config.dropout, dtype=self.dtype, name="feed_forward")
        return self.add(x, dense(x, keys[0]), keys[1], "feed_forward_norm")


class Encoder(TransformerLayer):
    """Every cell of a region attends to all of them."""

    @nn.compact
    def __call__(
        self, cells: Float[Array, "N T C"], position: Float[Array, "T C"], keys: Key[Array, " B"] | None
    ) -> Float[Array, "N T C"]:
        attention_keys, step_keys, *dense_keys = split_keys(keys, 4)
        placed = cells + of_each_region(position, len(cells), self.dtype)
        attended = self.attention("self_attention")(placed, placed, cells, attention_keys)
        x = self.add(cells, attended, step_keys, "self_attention_norm")
        return self.feed_forward(x, dense_keys)


class Decoder(TransformerLayer):
    """Queries attend to each other and to the cells of a region."""

    @nn.compact
    def __call__(
        self,
        queries: Float[Array, "Q C"],
        cells: Float[Array, "N T C"],
        position: Float[Array, "T C"],
        keys: Key[Array, " B"] | None,
    ) -> Float[Array, "N Q C"]:
        self_keys, self_step, cross_keys, cross_step, *dense_keys = split_keys(keys, 6)
        # They begin at zero. Thus, all that the first attention passes on is its values' bias, whatever it attends to;
        # it is there because the source's has it.
        x = jnp.zeros((len(cells), *queries.shape), self.dtype)
        asked = of_each_region(queries, len(cells), self.dtype)
        placed = cells + of_each_region(position, len(cells), self.dtype)
        x = self.add(x, self.attention("self_attention")(x + asked, x + asked, x, self_keys), self_step, "self_norm")
        attended = self.attention("cross_attention")(x + asked, placed, cells, cross_keys)
        x = self.add(x, attended, cross_step, "cross_norm")
        return self.feed_forward(x, dense_keys)


def layer_norm(dtype: DTypeLike, name: str) -> nn.LayerNorm:
    """Layer normalisation as torch's: its statistics in float32, the variance of centred values."""
    return nn.LayerNorm(epsilon=1e-5, dtype=dtype, use_fast_variance=False, name=name)


class PixelEmbedding(nn.Module):
    """What each cell is multiplied by the embedding of a mask with."""

    dtype: DTypeLike
    """Type of the arithmetic."""

    @nn.compact
    def __call__(self, cells: Float[Array, "N T C"]) -> Float[Array, "N T C"]:
        dense = Dense(cells.shape[-1], self.dtype, normal_0001, name="dense")
        return dense(layer_norm(self.dtype, "norm")(cells))


class AISFormerHead(nn.Module):
    """A convolution and a deconvolution, the transformer, and masks as products of what queries and cells became."""

    config: AISFormerConfig
    """The stage's settings."""
    heads: HeadConfig
    """The branches' settings."""
    dtype: DTypeLike
    """Type of the arithmetic; the output is float32."""

    @nn.compact
    def __call__(
        self, features: RegionFeatures, keys: Key[Array, " B"] | None = None
    ) -> dict[str, Float[Array, "N M M"]]:
        """The logits of the masks, by name; `keys` are for dropout, None in inference."""
        encoder_keys, decoder_keys = split_keys(keys, 2)
        x = self._upsampled(features)
        regions, side, _, channels = x.shape
        position = self._position(side)
        cells = x.reshape(regions, side * side, channels)
        encoder = nn.remat(Encoder) if self.config.rematerialise else Encoder
        memory = encoder(self.config, self.dtype, name="encoder")(cells, position, encoder_keys)
        queries = Table(QUERIES, channels, initializers.normal(1.0), name="queries")()
        found = Decoder(self.config, self.dtype, name="decoder")(queries, memory, position, decoder_keys)

        pixels = PixelEmbedding(self.dtype, name="pixels")(memory + cells)
        xavier = initializers.xavier_uniform()
        embed = Perceptron((channels,) * 3, xavier, dtype=self.dtype, name="mask_embedding")
        embeddings = dict(zip(ASKED, jnp.moveaxis(embed(found[:, : len(ASKED)]), 1, 0), strict=True))
        pair = jnp.concatenate([embeddings["amodal"], embeddings["inmodal"]], axis=-1)[:, None]
        compare = Perceptron((channels,) * 2, xavier, dtype=self.dtype, name="invisible_embedding")
        embeddings["invisible"] = compare(pair)[:, 0]
        products = {
            name: jnp.einsum("nc,ntc->nt", embedding, pixels, preferred_element_type=jnp.float32)
            for name, embedding in embeddings.items()
        }
        return {name: product.reshape(regions, side, side) for name, product in products.items()}

    def _upsampled(self, features: RegionFeatures) -> Float[Array, "N M M C"]:
        channels, norm = self.heads.channels, self.heads.norm

        def layer(name: str):
            conv = Conv(channels, 3, use_bias=norm == "none", dtype=self.dtype, name=name)
            normalise = make_norm(norm, self.dtype, f"{name}_norm")
            return lambda x: relu(normalise(conv(x)))

        return relu(Deconv2x2(channels, dtype=self.dtype, name="deconv")(first_layer(layer, "conv1", features)))

    def _position(self, side: int) -> Float[Array, "T C"]:
        """What is learned of each cell's column, and behind it of its row."""
        half = self.heads.channels // 2

        def table(name: str) -> Float[Array, "M _"]:
            return Table(POSITIONS, half, initializers.uniform(1.0), name=name)()[:side]

        columns = jnp.broadcast_to(table("columns")[None], (side, side, half))
        rows = jnp.broadcast_to(table("rows")[:, None], (side, side, half))
        return jnp.concatenate([columns, rows], axis=-1).reshape(side * side, 2 * half)


class AISFormerMasks(nn.Module):
    """The head, its losses and its masks."""

    config: AISFormerConfig
    """Its settings."""
    heads: HeadConfig
    """The branches' settings."""
    dtype: DTypeLike = jnp.float32
    """Type of the arithmetic."""

    def setup(self):
        self.mask_head = AISFormerHead(self.config, self.heads, self.dtype)

    @property
    def mask_kinds(self) -> tuple[MaskKind, ...]:
        """The kinds of masks that it predicts."""
        return ("amodal", "inmodal")

    @property
    def guidance_layer(self) -> int | None:
        """None: it takes no features of other branches."""
        return None

    @property
    def branches(self) -> tuple[Branch, ...]:
        """Its runs of layers."""
        heads = "model.mask.attention_heads"  # which the shapes of the layers do not tell
        behind_encoder, behind_decoder = ("fpn", "mask_head/encoder"), ("fpn", "mask_head/decoder")
        return (
            Branch("mask_head", ("fpn",), late=("deconv",)),
            Branch("mask_head/encoder", ("fpn", "mask_head"), same_settings=heads),
            Branch("mask_head/decoder", behind_encoder, same_settings=heads),
            Branch("mask_head/pixels", behind_encoder, late=("dense",)),
            Branch("mask_head/mask_embedding", behind_decoder),
            Branch("mask_head/invisible_embedding", ("fpn", "mask_head/mask_embedding")),
        )

    @property
    def summary(self) -> tuple[str, ...]:
        """What it has, in a few words each."""
        return (*(f"{kind} mask" for kind in self.mask_kinds), "AISFormer's queries")

    def losses(
        self,
        features: RegionFeatures,
        targets: MaskTargets,
        guidance: tuple[Any, ...],
        keys: Key[Array, " B"],
    ) -> dict[str, Mean]:
        """A binary cross-entropy for each mask; that of the occluder is over the regions that see one."""
        logits = self.mask_head(features, keys)
        size = logits["amodal"].shape[-1]
        occluder = targets.occluder(size, self.config.occluders)
        hidden = targets.valid & occluder.any(axis=(1, 2))
        terms = {
            f"{kind}_mask": loss.mask(logits[kind], targets.masks(kind, size), targets.valid)
            for kind in self.mask_kinds
        }
        occluder_term = loss.mask(logits["occluder"], occluder, hidden)
        invisible_term = loss.mask(logits["invisible"], targets.invisible(size), targets.valid)
        return terms | {
            "occluder_mask": loss.scaled(occluder_term, self.config.occluder_weight),
            "invisible_mask": loss.scaled(invisible_term, self.config.invisible_weight),
        }

    def masks(
        self, features: RegionFeatures, labels: Int[Array, " Bn"], guidance: tuple[Any, ...]
    ) -> dict[str, Float[Array, "Bn M M"]]:
        """The probabilities of the masks of each kind, whatever the class."""
        logits = self.mask_head(features)
        return {kind: jax.nn.sigmoid(logits[kind]) for kind in self.mask_kinds}
