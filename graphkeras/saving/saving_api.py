"""`save_model`, `load_model`, `save_weights`, `load_weights`: the format follows from the file's name."""

from __future__ import annotations

import io
import os
import zipfile
from typing import Any

from graphkeras.saving import saving_lib
from graphkeras.utils.io_utils import ask_to_proceed_with_overwrite, logger

_H5 = (".h5", ".hdf5")


def save_model(model: Any, filepath: Any, overwrite: bool = True, zipped: bool | None = None, **kwargs: Any) -> None:
    """Write a model to a file: architecture, weights, compile settings and the optimizer's state.

    Args:
        model: the model.
        filepath: path that ends in `.keras`. A path that ends in `.h5` or `.hdf5` writes the older HDF5 format.
        overwrite: whether an existing file is replaced without asking.
        zipped: False writes a folder in place of a zip archive.

    Raises:
        ValueError: for other endings.

    Example:

    >>> import os, tempfile, graphkeras as keras
    >>> model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
    >>> path = os.path.join(tempfile.mkdtemp(), "model.keras")
    >>> keras.saving.save_model(model, path)
    >>> keras.saving.load_model(path).count_params()
    8
    """
    include_optimizer = kwargs.pop("include_optimizer", True)
    _check_save_format(kwargs.pop("save_format", False), filepath)
    if kwargs:
        raise ValueError(f"The following argument(s) are not supported: {list(kwargs)}")
    if isinstance(filepath, io.IOBase):
        saving_lib.save_model(model, filepath)
        return
    path = os.fspath(filepath)
    if path.startswith("hf://"):
        raise ValueError(f"Uploading to the Hugging Face Hub is not available; save to a file. Received: {path}")
    zipped = True if zipped is None else zipped
    if zipped and not path.endswith((".keras", *_H5)):
        raise ValueError(
            "Invalid filepath extension for saving. Please add either a `.keras` extension for the native Keras format "
            f"(recommended) or a `.h5` extension. Received: filepath={path}."
        )
    if path.endswith(_H5):
        logger.warning(
            "You are saving your model as an HDF5 file. This file format is considered legacy: use the native Keras "
            "format, e.g. `model.save('my_model.keras')`."
        )
    if os.path.exists(path) and not overwrite and not ask_to_proceed_with_overwrite(path):
        return
    if path.endswith(_H5) and zipped:
        from graphkeras.saving import legacy_h5

        legacy_h5.save_model(model, path, include_optimizer)
    else:
        saving_lib.save_model(model, path, zipped=zipped)


def _check_save_format(save_format: Any, filepath: Any) -> None:
    if not save_format:
        return
    if not str(filepath).endswith((".keras", *_H5)):
        raise ValueError(
            "The `save_format` argument is deprecated in Keras 3. Please remove this argument and pass a file path "
            f"with either `.keras` or `.h5` extension. Received: save_format={save_format}"
        )
    logger.warning("The `save_format` argument is deprecated: the format follows from the file's name.")


def load_model(filepath: Any, custom_objects: Any = None, compile: bool = True, safe_mode: bool = True) -> Any:
    """Read a model that `save_model` (of graphkeras or Keras) wrote.

    Args:
        filepath: path of a `.keras` file, of a folder (`zipped=False`), or of a `.h5` file of Keras 2 or 3.
        custom_objects: dict from name to class or function, for those that are not registered.
        compile: whether the model is compiled, with the optimizer's state, as it was when it was saved.
        safe_mode: whether Python lambdas in the file are refused. Loading one runs code from the file.

    Nothing else in a file can run code: classes and functions come from this package and from what is registered.

    Example:

    >>> import os, tempfile, graphkeras as keras
    >>> model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
    >>> path = os.path.join(tempfile.mkdtemp(), "model.keras")
    >>> model.save(path)
    >>> x = keras.ops.ones((1, 3))
    >>> bool(keras.ops.all(keras.models.load_model(path)(x) == model(x)))
    True
    """
    if isinstance(filepath, io.IOBase):
        return saving_lib.load_model(filepath, custom_objects, compile, safe_mode)
    path = os.fspath(filepath)
    is_zip = path.endswith(".keras") and os.path.isfile(path) and zipfile.is_zipfile(path)
    if is_zip or (os.path.isdir(path) and os.path.exists(os.path.join(path, "config.json"))):
        return saving_lib.load_model(path, custom_objects, compile, safe_mode)
    if path.endswith(_H5):
        from graphkeras.saving import legacy_h5

        return legacy_h5.load_model(path, custom_objects, compile, safe_mode)
    if path.endswith(".keras"):
        state = "is not a zip archive, so it is damaged or of another format" if os.path.exists(path) else "is missing"
        problem = "Cannot read the file" if os.path.exists(path) else "File not found"
        raise ValueError(
            f"{problem}: filepath={path}. Please ensure the file is an accessible `.keras` zip file: it {state}."
        )
    raise ValueError(
        f"File format not supported: filepath={path}. Models are read from `.keras` files and `.h5` files. "
        "A TensorFlow SavedModel has to be converted with the version of Keras that wrote it: "
        "`model.save('name.keras')`."
    )


def save_weights(model: Any, filepath: Any, overwrite: bool = True, max_shard_size: Any = None, **kwargs: Any) -> None:
    """Write the weights of a model, and its optimizer's state, to a file.

    Args:
        model: the model (or layer), built.
        filepath: path that ends in `.weights.h5`; in `.weights.json` with `max_shard_size`.
        overwrite: whether an existing file is replaced without asking.
        max_shard_size: the largest size of a file in GB; several are written when the weights are larger.
        objects_to_skip: layers that are left out.
    """
    path = os.fspath(filepath)
    if max_shard_size is None and not path.endswith(".weights.h5"):
        raise ValueError(f"The filename must end in `.weights.h5`. Received: filepath={path}")
    if max_shard_size is not None and not path.endswith(("weights.h5", "weights.json")):
        raise ValueError(
            f"The filename must end in `.weights.json` when `max_shard_size` is specified. Received: filepath={path}"
        )
    if os.path.exists(path) and not overwrite and not ask_to_proceed_with_overwrite(path):
        return
    saving_lib.save_weights_only(model, path, max_shard_size, **kwargs)


def load_weights(model: Any, filepath: Any, skip_mismatch: bool = False, **kwargs: Any) -> None:
    """Read weights into a built model.

    Args:
        model: the model (or layer).
        filepath: path of a `.weights.h5`, `.weights.json`, `.keras` or older `.h5` file.
        skip_mismatch: leave what does not fit as it is, with a warning.
        objects_to_skip: layers that are left as they are.
        by_name: for older `.h5` files: find layers by their names, not by their order.

    Raises:
        ValueError: when the weights do not fit; names the file and the layers.
    """
    path = os.fspath(filepath)
    objects_to_skip = kwargs.pop("objects_to_skip", None)
    by_name = kwargs.pop("by_name", None)
    if kwargs:
        raise ValueError(f"Invalid keyword arguments: {kwargs}")
    new_format = path.endswith((".keras", ".weights.h5", ".weights.json"))
    if not new_format and not path.endswith(_H5):
        raise ValueError(
            f"File format not supported: filepath={path}. Weights are read from `.keras`, `.weights.h5`, "
            "`.weights.json` and older `.h5` files."
        )
    if objects_to_skip is not None and not path.endswith((".weights.h5", ".weights.json")):
        raise ValueError(f"`objects_to_skip` only supports loading '.weights.h5' files. Received: {path}")
    if by_name is not None and new_format:
        raise ValueError(f"`by_name` only supports loading legacy '.h5' or '.hdf5' files. Received: {path}")
    if new_format:
        saving_lib.load_weights_only(model, path, skip_mismatch=skip_mismatch, objects_to_skip=objects_to_skip)
    else:
        from graphkeras.saving import legacy_h5

        legacy_h5.load_weights(model, path, skip_mismatch=skip_mismatch, by_name=bool(by_name))
