"""Layers: the building blocks of models. A layer turns tensors into tensors and may own weights."""

# ruff: noqa: F401  (this page is the list of public names)

from typing import Any

from graphkeras.layers.activations.activation import ELU, Activation, LeakyReLU, PReLU, ReLU, Softmax, ThresholdedReLU
from graphkeras.layers.attention.attention import AdditiveAttention, Attention
from graphkeras.layers.attention.grouped_query_attention import GroupedQueryAttention as GroupQueryAttention
from graphkeras.layers.attention.multi_head_attention import MultiHeadAttention
from graphkeras.layers.convolutional.conv import Conv1D, Conv2D, Conv3D
from graphkeras.layers.convolutional.conv_transpose import Conv1DTranspose, Conv2DTranspose, Conv3DTranspose
from graphkeras.layers.convolutional.depthwise import DepthwiseConv1D, DepthwiseConv2D, SeparableConv1D, SeparableConv2D
from graphkeras.layers.core.dense import Dense
from graphkeras.layers.core.einsum_dense import EinsumDense
from graphkeras.layers.core.embedding import Embedding, ReversibleEmbedding
from graphkeras.layers.core.identity import Identity, Masking
from graphkeras.layers.core.lambda_layer import Lambda
from graphkeras.layers.core.wrapper import Wrapper
from graphkeras.layers.input_layer import Input, InputLayer
from graphkeras.layers.input_spec import InputSpec
from graphkeras.layers.layer import Layer
from graphkeras.layers.merging.concatenate import Concatenate, concatenate
from graphkeras.layers.merging.dot import Dot, dot
from graphkeras.layers.merging.elementwise import (
    Add,
    Average,
    Maximum,
    Minimum,
    Multiply,
    Subtract,
    add,
    average,
    maximum,
    minimum,
    multiply,
    subtract,
)
from graphkeras.layers.normalization.batch_normalization import BatchNormalization
from graphkeras.layers.normalization.layer_normalization import (
    GroupNormalization,
    LayerNormalization,
    RMSNormalization,
    UnitNormalization,
)
from graphkeras.layers.normalization.spectral_normalization import SpectralNormalization
from graphkeras.layers.pooling.adaptive_pooling import (
    AdaptiveAveragePooling1D,
    AdaptiveAveragePooling2D,
    AdaptiveAveragePooling3D,
    AdaptiveMaxPooling1D,
    AdaptiveMaxPooling2D,
    AdaptiveMaxPooling3D,
)
from graphkeras.layers.pooling.global_pooling import (
    GlobalAveragePooling1D,
    GlobalAveragePooling2D,
    GlobalAveragePooling3D,
    GlobalMaxPooling1D,
    GlobalMaxPooling2D,
    GlobalMaxPooling3D,
)
from graphkeras.layers.pooling.pooling import (
    AveragePooling1D,
    AveragePooling2D,
    AveragePooling3D,
    MaxPooling1D,
    MaxPooling2D,
    MaxPooling3D,
)
from graphkeras.layers.preprocessing.category_encoding import CategoryEncoding
from graphkeras.layers.preprocessing.discretization import Discretization
from graphkeras.layers.preprocessing.hashing import HashedCrossing, Hashing
from graphkeras.layers.preprocessing.image.color_space import (
    AutoContrast,
    CutMix,
    MixUp,
    RandomGrayscale,
    RandomHue,
    RandomSaturation,
)
from graphkeras.layers.preprocessing.image.distort import (
    MaxNumBoundingBoxes,
    RandomElasticTransform,
    RandomErasing,
    RandomGaussianBlur,
    RandomShear,
)
from graphkeras.layers.preprocessing.image.equalize import ContrastLimitedAdaptiveHistogramEqualization, Equalization
from graphkeras.layers.preprocessing.image.random_affine import (
    RandomFlip,
    RandomRotation,
    RandomTranslation,
    RandomZoom,
)
from graphkeras.layers.preprocessing.image.random_color import RandomBrightness, RandomContrast
from graphkeras.layers.preprocessing.image.sizes import CenterCrop, RandomCrop, Resizing
from graphkeras.layers.preprocessing.image.tone import (
    RandomColorDegeneration,
    RandomInvert,
    RandomPosterization,
    RandomSharpness,
    Solarization,
)
from graphkeras.layers.preprocessing.lookups import IntegerLookup, StringLookup
from graphkeras.layers.preprocessing.normalization import Normalization
from graphkeras.layers.preprocessing.pipeline import Pipeline
from graphkeras.layers.preprocessing.rescaling import Rescaling
from graphkeras.layers.preprocessing.text_vectorization import TextVectorization
from graphkeras.layers.regularization.activity_regularization import ActivityRegularization
from graphkeras.layers.regularization.dropout import (
    AlphaDropout,
    Dropout,
    GaussianDropout,
    GaussianNoise,
    SpatialDropout1D,
    SpatialDropout2D,
    SpatialDropout3D,
)
from graphkeras.layers.reshaping.borders import (
    Cropping1D,
    Cropping2D,
    Cropping3D,
    ZeroPadding1D,
    ZeroPadding2D,
    ZeroPadding3D,
)
from graphkeras.layers.reshaping.reshape import Flatten, Permute, RepeatVector, Reshape
from graphkeras.layers.reshaping.up_sampling import UpSampling1D, UpSampling2D, UpSampling3D
from graphkeras.layers.rnn.bidirectional import Bidirectional
from graphkeras.layers.rnn.conv_lstm import ConvLSTM1D, ConvLSTM2D, ConvLSTM3D
from graphkeras.layers.rnn.gru import GRU, GRUCell
from graphkeras.layers.rnn.lstm import LSTM, LSTMCell
from graphkeras.layers.rnn.rnn import RNN
from graphkeras.layers.rnn.simple_rnn import SimpleRNN, SimpleRNNCell
from graphkeras.layers.rnn.stacked_rnn_cells import StackedRNNCells
from graphkeras.layers.rnn.time_distributed import TimeDistributed
from graphkeras.saving import deserialize_keras_object, serialize_keras_object

# Other names for the same classes.
AvgPool1D = AveragePooling1D
AvgPool2D = AveragePooling2D
AvgPool3D = AveragePooling3D
Convolution1D = Conv1D
Convolution1DTranspose = Conv1DTranspose
Convolution2D = Conv2D
Convolution2DTranspose = Conv2DTranspose
Convolution3D = Conv3D
Convolution3DTranspose = Conv3DTranspose
GlobalAvgPool1D = GlobalAveragePooling1D
GlobalAvgPool2D = GlobalAveragePooling2D
GlobalAvgPool3D = GlobalAveragePooling3D
GlobalMaxPool1D = GlobalMaxPooling1D
GlobalMaxPool2D = GlobalMaxPooling2D
GlobalMaxPool3D = GlobalMaxPooling3D
MaxPool1D = MaxPooling1D
MaxPool2D = MaxPooling2D
MaxPool3D = MaxPooling3D
SeparableConvolution1D = SeparableConv1D
SeparableConvolution2D = SeparableConv2D


def serialize(layer: Any) -> dict[str, Any]:
    """The config of a layer, from which `deserialize` makes an equal one (without its weights)."""
    return serialize_keras_object(layer)


def deserialize(config: dict[str, Any], custom_objects: dict[str, Any] | None = None) -> Layer:
    """A layer from what `serialize` returned.

    Args:
        config: the dict.
        custom_objects: dict from name to class, for layers that are not registered.

    Raises:
        ValueError: if the config is that of something else.
    """
    layer = deserialize_keras_object(config, custom_objects=custom_objects)
    if not isinstance(layer, Layer):
        raise ValueError(
            "`keras.layers.deserialize` was passed a `config` object that is not a `keras.layers.Layer`. "
            f"Received: {config}"
        )
    return layer
