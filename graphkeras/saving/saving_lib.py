"""Models to `.keras` files (or folders) and weights to `.weights.h5`, and back. The formats are those of Keras 3."""

from __future__ import annotations

import contextlib
import datetime
import io
import json
import os
import pathlib
import tempfile
import warnings
import zipfile
from collections.abc import Iterator
from typing import Any

from graphkeras.saving import archive as zips
from graphkeras.saving.safe_h5 import h5py, open_file
from graphkeras.saving.serialization_lib import ObjectSharingScope, deserialize_keras_object, serialize_keras_object
from graphkeras.saving.stores import AssetFolder, H5Store, ShardReader, ShardWriter
from graphkeras.saving.walk import StateReader, StateWriter

FORMAT_VERSION = "3.15.1"  # the version of Keras whose format is written, for readers that look at it


# -- writing ---------------------------------------------------------------------------------------
def save_model(model: Any, filepath: Any, zipped: bool = True) -> None:
    """Write a model to a `.keras` file, a folder, or an open binary file."""
    if not model.built:
        warnings.warn(
            "You are saving a model that has not yet been built. It might not contain any weights yet. Consider "
            "building the model first by calling it on some data.",
            stacklevel=3,
        )
    if isinstance(filepath, io.IOBase):
        _write_archive(model, filepath)
        return
    path = os.fspath(filepath)
    if zipped and not path.endswith(".keras"):
        raise ValueError(f"Invalid `filepath` argument: expected a `.keras` extension. Received: filepath={path}")
    if not zipped and path.endswith(".keras"):
        raise ValueError(
            f"When using `zipped=False`, the `filepath` argument should not end in `.keras`. Received: filepath={path}"
        )
    if zipped:
        with zips.replacing(path) as temporary, open(temporary, "wb") as file:
            _write_archive(model, file)
    else:
        _write_folder(model, pathlib.Path(path))


def _texts(model: Any) -> dict[str, str]:
    with ObjectSharingScope():
        config = serialize_keras_object(model)
    saved = datetime.datetime.now().strftime("%Y-%m-%d@%H:%M:%S")
    return {
        zips.METADATA: json.dumps({"keras_version": FORMAT_VERSION, "date_saved": saved}),
        zips.CONFIG: json.dumps(config),
    }


def _write_archive(model: Any, file: Any) -> None:
    with (
        zipfile.ZipFile(file, "w") as archive,
        tempfile.TemporaryDirectory() as folder,
        tempfile.SpooledTemporaryFile(max_size=zips.IN_MEMORY) as weights,
    ):
        for name, text in _texts(model).items():
            archive.writestr(name, text)
        with h5py().File(weights, "w") as h5:
            StateWriter(H5Store(h5), AssetFolder(folder)).save(model)
        zips.write_member(archive, zips.WEIGHTS, weights)
        zips.write_assets(archive, folder)


def _write_folder(model: Any, folder: pathlib.Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in _texts(model).items():
        (folder / name).write_text(text)
    with h5py().File(folder / zips.WEIGHTS, "w") as h5:
        StateWriter(H5Store(h5), AssetFolder(folder / zips.ASSETS)).save(model)


def save_weights_only(
    model: Any, filepath: Any, max_shard_size: float | None = None, objects_to_skip: Any = None
) -> None:
    """Write the weights (and the optimizer's state) to a `.weights.h5` file, or to shards with a `.weights.json`."""
    if not model.built:
        raise ValueError(
            "You are saving a model that has not yet been built. Try building the model first by calling it on some "
            "data or by using `build()`."
        )
    if max_shard_size is not None:
        writer = ShardWriter(filepath, max_shard_size)
        try:
            StateWriter(writer, skip=objects_to_skip or ()).save(model)
        except BaseException:
            writer.close_file()
            raise
        writer.close()
        return
    with zips.replacing(filepath) as temporary, h5py().File(temporary, "w") as h5:
        StateWriter(H5Store(h5), skip=objects_to_skip or ()).save(model)


# -- reading ---------------------------------------------------------------------------------------
def load_model(filepath: Any, custom_objects: Any = None, compile: bool = True, safe_mode: bool = True) -> Any:
    """Read a model from a `.keras` file, a folder, or an open binary file."""
    if not isinstance(filepath, io.IOBase) and os.path.isdir(filepath):
        return _read_folder(pathlib.Path(filepath), custom_objects, compile, safe_mode)
    with zips.open_archive(filepath) as archive:
        text = zips.read_member(archive, zips.CONFIG)
        model = model_from_config(text, custom_objects, compile, safe_mode)
        if zips.WEIGHTS not in archive.namelist():
            raise ValueError(_no_weights(filepath, archive.namelist()))
        with (
            zips.member_file(archive, zips.WEIGHTS) as file,
            open_file(file, "r") as h5,
            tempfile.TemporaryDirectory() as folder,
        ):
            assets = AssetFolder(folder) if zips.extract_assets(archive, pathlib.Path(folder)) else None
            reader = StateReader(H5Store(h5), assets)
            reader.load(model)
    report_failures(reader, filepath)
    return model


def _read_folder(folder: pathlib.Path, custom_objects: Any, compile: bool, safe_mode: bool) -> Any:
    text = (folder / zips.CONFIG).read_bytes()
    model = model_from_config(text, custom_objects, compile, safe_mode)
    if not (folder / zips.WEIGHTS).is_file():
        raise ValueError(_no_weights(folder, os.listdir(folder)))
    assets = folder / zips.ASSETS
    with open_file(folder / zips.WEIGHTS, "r") as h5:
        reader = StateReader(H5Store(h5), AssetFolder(assets) if assets.is_dir() else None)
        reader.load(model)
    report_failures(reader, folder)
    return model


def _no_weights(filepath: Any, names: list[str]) -> str:
    if zips.WEIGHTS_NPZ in names:
        return f"{filepath} holds its weights as {zips.WEIGHTS_NPZ}, which is not read. Expected {zips.WEIGHTS}."
    return f"{filepath} has no {zips.WEIGHTS}. It has: {names[:10]}"


def model_from_config(text: Any, custom_objects: Any, compile: bool, safe_mode: bool) -> Any:
    """The model that the JSON text of a config.json describes."""
    config = json.loads(text)
    if not isinstance(config, dict):
        raise ValueError(f"Invalid {zips.CONFIG}: expected a dict, received a {type(config).__name__}.")
    if not compile:
        config["compile_config"] = None
    with ObjectSharingScope():
        return deserialize_keras_object(config, custom_objects, safe_mode=safe_mode)


def load_weights_only(model: Any, filepath: Any, skip_mismatch: bool = False, objects_to_skip: Any = None) -> None:
    """Read weights from a `.weights.h5`, `.weights.json` or `.keras` file into a built model."""
    if not model.built:
        raise ValueError(
            "You are loading weights into a model that has not yet been built. Try building the model first by calling "
            "it on some data or by using `build()`."
        )
    with _weights_of(filepath) as store:
        reader = StateReader(store, skip=objects_to_skip or ())
        reader.load(model)
    report_failures(reader, filepath, warn_only=skip_mismatch)


@contextlib.contextmanager
def _weights_of(filepath: Any) -> Iterator[Any]:
    path = os.fspath(filepath)
    if path.endswith("weights.json"):
        reader = ShardReader(path)
        try:
            yield reader
        finally:
            reader.close()
    elif path.endswith(".keras") and os.path.isfile(path):
        with zips.open_archive(path) as archive:
            if zips.WEIGHTS not in archive.namelist():
                raise ValueError(_no_weights(path, archive.namelist()))
            with zips.member_file(archive, zips.WEIGHTS) as file, open_file(file, "r") as h5:
                yield H5Store(h5)
    else:
        with open_file(path, "r") as h5:
            yield H5Store(h5)


def report_failures(reader: StateReader, filepath: Any, warn_only: bool = False) -> None:
    """Raise (or warn) when objects could not be loaded, naming file, objects and the first cause."""
    if not reader.errors:
        return
    failed = list(reader.errors.values())
    first, error = failed[0]
    where = getattr(first, "path", None) or getattr(first, "name", None)
    file = filepath if isinstance(filepath, (str, os.PathLike)) else "the file"
    message = (
        f"A total of {len(failed)} objects could not be loaded from {file}. Example error message for object {first} "
        f"(at '{where}'):\n\n{error}\n\nList of objects that could not be loaded:\n{[obj for obj, _ in failed]}\n\n"
        "The model must be built by the same code, and with the same sizes, as the one that was saved. "
        "`load_weights(..., skip_mismatch=True)` loads what fits and leaves the rest as it is."
    )
    if not warn_only:
        raise ValueError(message) from error
    warnings.warn(message, stacklevel=4)
