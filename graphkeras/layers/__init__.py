"""Layers: the building blocks of models. A layer turns tensors into tensors and may own weights."""

from typing import Any

from graphkeras.layers.activations.activation import (
    ELU as ELU,
)
from graphkeras.layers.activations.activation import (
    Activation as Activation,
)
from graphkeras.layers.activations.activation import (
    LeakyReLU as LeakyReLU,
)
from graphkeras.layers.activations.activation import (
    PReLU as PReLU,
)
from graphkeras.layers.activations.activation import (
    ReLU as ReLU,
)
from graphkeras.layers.activations.activation import (
    Softmax as Softmax,
)
from graphkeras.layers.convolutional.conv import (
    Conv1D as Conv1D,
)
from graphkeras.layers.convolutional.conv import (
    Conv2D as Conv2D,
)
from graphkeras.layers.convolutional.conv import (
    Conv3D as Conv3D,
)
from graphkeras.layers.convolutional.conv_transpose import (
    Conv1DTranspose as Conv1DTranspose,
)
from graphkeras.layers.convolutional.conv_transpose import (
    Conv2DTranspose as Conv2DTranspose,
)
from graphkeras.layers.convolutional.conv_transpose import (
    Conv3DTranspose as Conv3DTranspose,
)
from graphkeras.layers.convolutional.depthwise import (
    DepthwiseConv1D as DepthwiseConv1D,
)
from graphkeras.layers.convolutional.depthwise import (
    DepthwiseConv2D as DepthwiseConv2D,
)
from graphkeras.layers.convolutional.depthwise import (
    SeparableConv1D as SeparableConv1D,
)
from graphkeras.layers.convolutional.depthwise import (
    SeparableConv2D as SeparableConv2D,
)
from graphkeras.layers.core.dense import (
    Dense as Dense,
)
from graphkeras.layers.core.einsum_dense import (
    EinsumDense as EinsumDense,
)
from graphkeras.layers.core.embedding import (
    Embedding as Embedding,
)
from graphkeras.layers.core.embedding import (
    ReversibleEmbedding as ReversibleEmbedding,
)
from graphkeras.layers.core.identity import (
    Identity as Identity,
)
from graphkeras.layers.core.identity import (
    Masking as Masking,
)
from graphkeras.layers.core.lambda_layer import (
    Lambda as Lambda,
)
from graphkeras.layers.core.wrapper import (
    Wrapper as Wrapper,
)
from graphkeras.layers.input_layer import (
    Input as Input,
)
from graphkeras.layers.input_layer import (
    InputLayer as InputLayer,
)
from graphkeras.layers.input_spec import (
    InputSpec as InputSpec,
)
from graphkeras.layers.layer import (
    Layer as Layer,
)
from graphkeras.layers.merging.concatenate import (
    Concatenate as Concatenate,
)
from graphkeras.layers.merging.concatenate import (
    concatenate as concatenate,
)
from graphkeras.layers.merging.dot import (
    Dot as Dot,
)
from graphkeras.layers.merging.dot import (
    dot as dot,
)
from graphkeras.layers.merging.elementwise import (
    Add as Add,
)
from graphkeras.layers.merging.elementwise import (
    Average as Average,
)
from graphkeras.layers.merging.elementwise import (
    Maximum as Maximum,
)
from graphkeras.layers.merging.elementwise import (
    Minimum as Minimum,
)
from graphkeras.layers.merging.elementwise import (
    Multiply as Multiply,
)
from graphkeras.layers.merging.elementwise import (
    Subtract as Subtract,
)
from graphkeras.layers.merging.elementwise import (
    add as add,
)
from graphkeras.layers.merging.elementwise import (
    average as average,
)
from graphkeras.layers.merging.elementwise import (
    maximum as maximum,
)
from graphkeras.layers.merging.elementwise import (
    minimum as minimum,
)
from graphkeras.layers.merging.elementwise import (
    multiply as multiply,
)
from graphkeras.layers.merging.elementwise import (
    subtract as subtract,
)
from graphkeras.layers.normalization.batch_normalization import (
    BatchNormalization as BatchNormalization,
)
from graphkeras.layers.normalization.layer_normalization import (
    GroupNormalization as GroupNormalization,
)
from graphkeras.layers.normalization.layer_normalization import (
    LayerNormalization as LayerNormalization,
)
from graphkeras.layers.normalization.layer_normalization import (
    RMSNormalization as RMSNormalization,
)
from graphkeras.layers.normalization.layer_normalization import (
    UnitNormalization as UnitNormalization,
)
from graphkeras.layers.normalization.spectral_normalization import (
    SpectralNormalization as SpectralNormalization,
)
from graphkeras.layers.pooling.adaptive_pooling import (
    AdaptiveAveragePooling1D as AdaptiveAveragePooling1D,
)
from graphkeras.layers.pooling.adaptive_pooling import (
    AdaptiveAveragePooling2D as AdaptiveAveragePooling2D,
)
from graphkeras.layers.pooling.adaptive_pooling import (
    AdaptiveAveragePooling3D as AdaptiveAveragePooling3D,
)
from graphkeras.layers.pooling.adaptive_pooling import (
    AdaptiveMaxPooling1D as AdaptiveMaxPooling1D,
)
from graphkeras.layers.pooling.adaptive_pooling import (
    AdaptiveMaxPooling2D as AdaptiveMaxPooling2D,
)
from graphkeras.layers.pooling.adaptive_pooling import (
    AdaptiveMaxPooling3D as AdaptiveMaxPooling3D,
)
from graphkeras.layers.pooling.global_pooling import (
    GlobalAveragePooling1D as GlobalAveragePooling1D,
)
from graphkeras.layers.pooling.global_pooling import (
    GlobalAveragePooling2D as GlobalAveragePooling2D,
)
from graphkeras.layers.pooling.global_pooling import (
    GlobalAveragePooling3D as GlobalAveragePooling3D,
)
from graphkeras.layers.pooling.global_pooling import (
    GlobalMaxPooling1D as GlobalMaxPooling1D,
)
from graphkeras.layers.pooling.global_pooling import (
    GlobalMaxPooling2D as GlobalMaxPooling2D,
)
from graphkeras.layers.pooling.global_pooling import (
    GlobalMaxPooling3D as GlobalMaxPooling3D,
)
from graphkeras.layers.pooling.pooling import (
    AveragePooling1D as AveragePooling1D,
)
from graphkeras.layers.pooling.pooling import (
    AveragePooling2D as AveragePooling2D,
)
from graphkeras.layers.pooling.pooling import (
    AveragePooling3D as AveragePooling3D,
)
from graphkeras.layers.pooling.pooling import (
    MaxPooling1D as MaxPooling1D,
)
from graphkeras.layers.pooling.pooling import (
    MaxPooling2D as MaxPooling2D,
)
from graphkeras.layers.pooling.pooling import (
    MaxPooling3D as MaxPooling3D,
)
from graphkeras.layers.preprocessing.normalization import (
    Normalization as Normalization,
)
from graphkeras.layers.preprocessing.rescaling import (
    Rescaling as Rescaling,
)
from graphkeras.layers.regularization.activity_regularization import (
    ActivityRegularization as ActivityRegularization,
)
from graphkeras.layers.regularization.dropout import (
    AlphaDropout as AlphaDropout,
)
from graphkeras.layers.regularization.dropout import (
    Dropout as Dropout,
)
from graphkeras.layers.regularization.dropout import (
    GaussianDropout as GaussianDropout,
)
from graphkeras.layers.regularization.dropout import (
    GaussianNoise as GaussianNoise,
)
from graphkeras.layers.regularization.dropout import (
    SpatialDropout1D as SpatialDropout1D,
)
from graphkeras.layers.regularization.dropout import (
    SpatialDropout2D as SpatialDropout2D,
)
from graphkeras.layers.regularization.dropout import (
    SpatialDropout3D as SpatialDropout3D,
)
from graphkeras.layers.reshaping.borders import (
    Cropping1D as Cropping1D,
)
from graphkeras.layers.reshaping.borders import (
    Cropping2D as Cropping2D,
)
from graphkeras.layers.reshaping.borders import (
    Cropping3D as Cropping3D,
)
from graphkeras.layers.reshaping.borders import (
    ZeroPadding1D as ZeroPadding1D,
)
from graphkeras.layers.reshaping.borders import (
    ZeroPadding2D as ZeroPadding2D,
)
from graphkeras.layers.reshaping.borders import (
    ZeroPadding3D as ZeroPadding3D,
)
from graphkeras.layers.reshaping.reshape import (
    Flatten as Flatten,
)
from graphkeras.layers.reshaping.reshape import (
    Permute as Permute,
)
from graphkeras.layers.reshaping.reshape import (
    RepeatVector as RepeatVector,
)
from graphkeras.layers.reshaping.reshape import (
    Reshape as Reshape,
)
from graphkeras.layers.reshaping.up_sampling import (
    UpSampling1D as UpSampling1D,
)
from graphkeras.layers.reshaping.up_sampling import (
    UpSampling2D as UpSampling2D,
)
from graphkeras.layers.reshaping.up_sampling import (
    UpSampling3D as UpSampling3D,
)
from graphkeras.layers.rnn.bidirectional import (
    Bidirectional as Bidirectional,
)
from graphkeras.layers.rnn.gru import (
    GRU as GRU,
)
from graphkeras.layers.rnn.gru import (
    GRUCell as GRUCell,
)
from graphkeras.layers.rnn.lstm import (
    LSTM as LSTM,
)
from graphkeras.layers.rnn.lstm import (
    LSTMCell as LSTMCell,
)
from graphkeras.layers.rnn.rnn import (
    RNN as RNN,
)
from graphkeras.layers.rnn.simple_rnn import (
    SimpleRNN as SimpleRNN,
)
from graphkeras.layers.rnn.simple_rnn import (
    SimpleRNNCell as SimpleRNNCell,
)
from graphkeras.layers.rnn.stacked_rnn_cells import (
    StackedRNNCells as StackedRNNCells,
)
from graphkeras.layers.rnn.time_distributed import (
    TimeDistributed as TimeDistributed,
)
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
