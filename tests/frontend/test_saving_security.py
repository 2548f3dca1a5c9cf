"""Files from strangers: nothing in them runs, leads out of them, or is larger than it is."""

import json
import pickle
import stat
import warnings
import zipfile

import h5py
import numpy as np
import pytest

import graphkeras as keras


def dense():
    return keras.Sequential([keras.Input((4,)), keras.layers.Dense(3, name="d")])


@pytest.fixture
def saved(tmp_path):
    path = tmp_path / "model.keras"
    dense().save(path)
    return path


def rewritten(source, target, change=None, extra=()):
    """A copy of an archive with another config and more members."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as new:
        for name in old.namelist():
            data = old.read(name)
            if name == "config.json" and change:
                config = json.loads(data)
                change(config)
                data = json.dumps(config).encode()
            new.writestr(name, data)
        for name, data in extra:
            new.writestr(name, data)
    return target


class Run:
    """Leaves a mark when it is unpickled."""

    done = False

    def __reduce__(self):
        return (setattr, (Run, "done", True))


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("os", "system"),
        ("builtins", "eval"),
        ("subprocess", "Popen"),
        ("keras.utils", "get_file"),
        ("keras.models", "load_model"),
        ("keras.saving", "load_model"),
        ("keras.config", "enable_unsafe_deserialization"),
        ("graphkeras.core.config", "enable_unsafe_deserialization"),
        ("keras.src.saving.lambdas", "load_function"),
        ("numpy", "load"),
    ],
)
@pytest.mark.parametrize("kind", ["class", "function"])
def test_configs_name_no_foreign_code(saved, tmp_path, module, name, kind):
    def change(config):
        layer = config["config"]["layers"][1]
        if kind == "class":
            layer.update(module=module, class_name=name, registered_name=name, config={"args": ["echo"]})
        else:
            function = {"module": module, "class_name": "function", "config": name, "registered_name": name}
            layer["config"]["activation"] = function

    bad = rewritten(saved, tmp_path / "bad.keras", change)
    with pytest.raises((TypeError, ValueError)):
        keras.saving.load_model(bad)
    assert keras.saving.serialization_lib.in_safe_mode() is None


def test_lambdas_need_consent(tmp_path):
    path = tmp_path / "lambda.keras"
    model = keras.Sequential([keras.Input((2,)), keras.layers.Lambda(lambda x: x * 3)])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.save(path)
        model.save(tmp_path / "lambda.h5")
    for file in (path, tmp_path / "lambda.h5"):
        with pytest.raises(ValueError, match="safe_mode=False"):
            keras.saving.load_model(file)
        loaded = keras.saving.load_model(file, safe_mode=False)
        np.testing.assert_array_equal(loaded(np.ones((1, 2), "float32")), 3 * np.ones((1, 2)))


def test_nothing_is_unpickled(saved, tmp_path):
    data = pickle.dumps(Run())
    bad = rewritten(saved, tmp_path / "a.keras", extra=[("model.weights.npz", data), ("assets/x.pkl", data)])
    keras.saving.load_model(bad)
    with h5py.File(tmp_path / "o.weights.h5", "w") as file:
        file.create_dataset("layers/dense/vars/0", data=np.array([data.hex()], dtype=h5py.string_dtype()))
        file.create_dataset("layers/dense/vars/1", data=np.zeros(3))
    with pytest.raises(ValueError, match="expected numbers"):
        dense().load_weights(tmp_path / "o.weights.h5")
    assert not Run.done


@pytest.mark.parametrize(
    "name", ["assets/../../evil.txt", "assets/a/../../../evil.txt", "assets//etc/evil", "assets/C:/x"]
)
def test_members_do_not_leave_the_archive(saved, tmp_path, name):
    bad = rewritten(saved, tmp_path / "bad.keras", extra=[(name, "x")])
    with pytest.raises(ValueError, match="escapes the asset directory"):
        keras.saving.load_model(bad)
    assert not list(tmp_path.parent.glob("evil*"))


def test_links_in_archives(saved, tmp_path):
    bad = tmp_path / "bad.keras"
    rewritten(saved, bad)
    link = zipfile.ZipInfo("assets/link")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(bad, "a") as archive:
        archive.writestr(link, "/etc/passwd")
    with pytest.raises(ValueError, match="is a link"):
        keras.saving.load_model(bad)


@pytest.mark.parametrize("name", ["config.json", "model.weights.h5", "assets/a"])
def test_decompression_bombs(tmp_path, name):
    bad = tmp_path / "bomb.keras"
    with zipfile.ZipFile(bad, "w", zipfile.ZIP_DEFLATED) as archive, archive.open(name, "w") as member:
        for _ in range(70):
            member.write(bytes(1 << 20))
    with pytest.raises(ValueError, match="decompression bomb"):
        keras.saving.load_model(bad)


def weights_file(tmp_path, write):
    path = tmp_path / "bad.weights.h5"
    with h5py.File(path, "w") as file:
        group = file.create_group("layers/dense/vars")
        group.create_dataset("1", data=np.zeros(3))
        write(group, file)
    return path


def external_link(group, file):
    group["0"] = h5py.ExternalLink("other.h5", "/secret")


def soft_link(group, file):
    file["elsewhere"] = np.zeros((4, 3))
    group["0"] = h5py.SoftLink("/elsewhere")


def external_storage(group, file):
    group.create_dataset("0", shape=(4, 3), dtype="f4", external=[("/etc/passwd", 0, 48)])


def virtual(group, file):
    layout = h5py.VirtualLayout((4, 3), "f4")
    layout[...] = h5py.VirtualSource("other.h5", "secret", shape=(4, 3))
    group.create_virtual_dataset("0", layout)


def shape_bomb(group, file):
    group.create_dataset("0", shape=(1 << 20, 1 << 12), dtype="f4", chunks=(1, 1 << 12))


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (external_link, "ExternalLink"),
        (soft_link, "SoftLink"),
        (external_storage, "external Dataset"),
        (virtual, "virtual Dataset"),
        (shape_bomb, "shape bomb"),
    ],
)
def test_hdf5_files_hold_their_data_themselves(tmp_path, write, message):
    path = weights_file(tmp_path, write)
    with pytest.raises(ValueError, match=message):
        dense().load_weights(path)


def test_links_to_groups(tmp_path):
    for ending in (".weights.h5", ".h5"):
        path = tmp_path / f"link{ending}"
        with h5py.File(path, "w") as file:
            file["layers"] = h5py.ExternalLink("other.h5", "/layers")
            file["model_weights"] = h5py.ExternalLink("other.h5", "/model_weights")
        with pytest.raises(ValueError, match="ExternalLink"):
            dense().load_weights(path)


@pytest.mark.parametrize("shard", ["../x.weights.h5", "/tmp/x.weights.h5", "..\\x.weights.h5", 3])
def test_shards_lie_beside_their_index(tmp_path, shard):
    path = tmp_path / "m.weights.json"
    path.write_text(json.dumps({"metadata": {}, "weight_map": {"/layers/dense/vars": [shard]}}))
    with pytest.raises(ValueError, match="beside the index"):
        dense().load_weights(path)
