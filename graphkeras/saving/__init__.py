"""Saving and loading: configs, custom objects, weights and model files."""

from graphkeras.saving.object_registration import (
    CustomObjectScope as CustomObjectScope,
)
from graphkeras.saving.object_registration import (
    custom_object_scope as custom_object_scope,
)
from graphkeras.saving.object_registration import (
    get_custom_objects as get_custom_objects,
)
from graphkeras.saving.object_registration import (
    get_registered_name as get_registered_name,
)
from graphkeras.saving.object_registration import (
    get_registered_object as get_registered_object,
)
from graphkeras.saving.object_registration import (
    register_keras_serializable as register_keras_serializable,
)
from graphkeras.saving.serialization_lib import (
    deserialize_keras_object as deserialize_keras_object,
)
from graphkeras.saving.serialization_lib import (
    serialize_keras_object as serialize_keras_object,
)
