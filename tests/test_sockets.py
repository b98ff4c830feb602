"""The two doors: one public class a file, which nnU-Net finds, the same object each time, in new processes too."""

import ast
import multiprocessing
import os
import pickle
import sys

import pytest
from foreign_trainers import OWN, open_door, write_broken, write_namesake

from nnunet_ext import sockets
from nnunet_ext.base.method import check_method

KINDS = {"trainers": "nnUNetTrainer", "planners": "ExperimentPlanner"}
NAMES = [(kind, name) for kind in KINDS for name in sockets.names(kind)]


@pytest.fixture
def door(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(sockets.VARIABLE, str(sockets.folder("trainers")))


def find(name: str) -> type:
    """What nnU-Net's own search returns."""
    from nnunetv2.utilities.find_objects import recursive_find_trainer_class_by_name

    return recursive_find_trainer_class_by_name(name)


def test_names():
    assert {"BANetTrainer", "NNUNetBaselineTrainer"} <= set(sockets.names("trainers"))
    assert {"BANetPlanner", "BANetResEncLPlanner", "BANetResEncMPlanner", "LitePlanner"} <= set(
        sockets.names("planners")
    )


@pytest.mark.parametrize("kind", KINDS)
def test_the_folders_hold_nothing_but_sockets(kind):
    found = [file.name for file in sockets.folder(kind).iterdir() if file.name != "__pycache__"]
    assert sorted(found) == [f"{name}.py" for name in sockets.names(kind)]


@pytest.mark.parametrize(("kind", "name"), NAMES)
def test_a_socket_is_one_re_export_of_its_own_name(kind, name):
    body = ast.parse((sockets.folder(kind) / f"{name}.py").read_text()).body
    statement = body[-1]
    assert len(body) - isinstance(body[0], ast.Expr) == 1  # a docstring may go first
    assert isinstance(statement, ast.ImportFrom)
    assert statement.level == 0
    assert [(alias.name, alias.asname) for alias in statement.names] == [(name, name)]
    found = sockets.load(kind, name)
    assert found.__name__ == found.__qualname__ == name
    assert found.__module__ == statement.module
    assert statement.module.startswith("nnunet_ext.")
    assert KINDS[kind] in [parent.__name__ for parent in found.__mro__]


@pytest.mark.parametrize(("kind", "name"), NAMES)
def test_names_are_fit_for_folders_and_modules(kind, name):
    assert name.isidentifier()
    assert "__" not in name
    assert not name.startswith("_")
    assert not name.endswith("_")
    assert name not in sys.stdlib_module_names
    assert name.lower() not in [other.lower() for where, other in NAMES if (where, other) != (kind, name)]


@pytest.mark.parametrize(("kind", "name"), NAMES)
def test_classes_pickle(kind, name):
    found = sockets.load(kind, name)
    assert pickle.loads(pickle.dumps(found)) is found


@pytest.mark.parametrize("name", sockets.names("trainers"))
def test_a_trainers_method_has_a_card(name):
    check_method(sockets.load("trainers", name))


@pytest.mark.parametrize("name", sockets.names("trainers"))
def test_nnunet_finds_the_same_class_each_time(door, name):
    first = find(name)
    assert first is find(name)
    assert first is sockets.load("trainers", name)
    assert pickle.loads(pickle.dumps(first)) is first
    assert name not in sys.modules
    assert str(sockets.folder("trainers")) not in sys.path


def test_a_closed_door(monkeypatch):
    monkeypatch.delenv(sockets.VARIABLE, raising=False)
    with pytest.raises(RuntimeError, match="Could not find requested nnunet trainer BANetTrainer"):
        find("BANetTrainer")


def test_a_spawned_process_finds_it_too(door):
    from nnunetv2.utilities.find_objects import recursive_find_trainer_class_by_name

    with multiprocessing.get_context("spawn").Pool(1) as pool:
        found = pool.apply(recursive_find_trainer_class_by_name, ("BANetTrainer",))
    assert found is sockets.load("trainers", "BANetTrainer")


@pytest.mark.parametrize("kind", KINDS)
def test_unknown_name(kind):
    with pytest.raises(KeyError, match="NoSuchName"):
        sockets.load(kind, "NoSuchName")


class TestOpenDoor:
    """Our folder first, the user's after it."""

    @pytest.mark.parametrize("before", [None, ""])
    def test_closed_before(self, monkeypatch, before):
        monkeypatch.setenv(sockets.VARIABLE, "")
        if before is None:
            monkeypatch.delenv(sockets.VARIABLE)
        sockets.open_door()
        assert os.environ[sockets.VARIABLE] == str(sockets.folder("trainers"))

    def test_the_users_folders_stay(self, monkeypatch):
        own = str(sockets.folder("trainers"))
        monkeypatch.setenv(sockets.VARIABLE, os.pathsep.join(["/a", own, "", "/b"]))
        sockets.open_door()
        sockets.open_door()
        assert os.environ[sockets.VARIABLE].split(os.pathsep) == [own, "/a", "/b"]


class TestPlaces:
    """Checkout and wheel."""

    @pytest.fixture
    def package(self, monkeypatch, tmp_path):
        (tmp_path / "nnunet_ext").mkdir()
        monkeypatch.setattr(sockets, "__file__", str(tmp_path / "nnunet_ext" / "sockets.py"))
        return tmp_path / "nnunet_ext"

    @pytest.mark.parametrize("kind", KINDS)
    def test_in_this_installation(self, kind):
        assert sockets.folder(kind).name == kind
        assert (sockets.folder(kind) / f"{sockets.names(kind)[0]}.py").is_file()

    @pytest.mark.parametrize("kind", KINDS)
    def test_wheel(self, package, kind):
        (package / "_sockets" / kind).mkdir(parents=True)
        (package.parent / kind).mkdir()  # a stranger's folder beside us in site-packages
        assert sockets.folder(kind) == package / "_sockets" / kind

    @pytest.mark.parametrize("kind", KINDS)
    def test_checkout_wins_over_a_stale_copy(self, package, kind):
        (package / "_sockets" / kind).mkdir(parents=True)
        (package.parent / kind).mkdir()
        (package.parent / "pyproject.toml").write_text('[project]\nname = "nnunet_ext"\n')
        assert sockets.folder(kind) == package.parent / kind

    @pytest.mark.parametrize("kind", KINDS)
    def test_another_projects_folder_is_not_ours(self, package, kind):
        (package / "_sockets" / kind).mkdir(parents=True)
        (package.parent / kind).mkdir()
        (package.parent / "pyproject.toml").write_text('[project]\nname = "somebody_else"\n')
        assert sockets.folder(kind) == package / "_sockets" / kind

    def test_neither(self, package):
        expected = r"expected the sockets of nnunet_ext, found no folder; install nnunet_ext again"
        with pytest.raises(FileNotFoundError, match=expected):
            sockets.folder("trainers")


def test_a_broken_library_leaves_stock_trainers_alone(monkeypatch, tmp_path):
    """Sockets whose package cannot be imported fail alone, and say what is missing."""
    (tmp_path / "BANetTrainer.py").write_text("from nnunet_ext_is_broken.ba_net.trainer import BANetTrainer\n")
    monkeypatch.setenv(sockets.VARIABLE, str(tmp_path))
    expected = "nnunetv2.training.nnUNetTrainer.variants.training_length.nnUNetTrainer_Xepochs"
    assert find("nnUNetTrainer_5epochs").__module__ == expected
    with pytest.raises(ModuleNotFoundError, match="No module named 'nnunet_ext_is_broken'"):
        find("BANetTrainer")


class TestBesideOtherPackages:
    """Our folder and a foreign one in ``nnUNet_extTrainer``, in both orders; what nnU-Net finds."""

    @pytest.fixture
    def namesake(self, tmp_path):
        return write_namesake(tmp_path / "namesake")

    @pytest.fixture
    def broken(self, tmp_path):
        return write_broken(tmp_path / "broken")

    def test_ours_before_a_namesake(self, monkeypatch, namesake):
        open_door(monkeypatch, OWN, namesake)
        for name in sockets.names("trainers"):
            assert find(name) is sockets.load("trainers", name)
        assert find("NamesakeTrainer").__module__ == "CoTrTrainer"

    def test_a_namesake_before_ours(self, monkeypatch, namesake):
        """The first folder wins, and its module ``CoTrTrainer`` does not replace ours in the search of our folder."""
        open_door(monkeypatch, namesake, OWN)
        assert find("CoTrTrainer").__module__ == "CoTrTrainer"
        others = [name for name in sockets.names("trainers") if name != "CoTrTrainer"]
        assert [find(name) for name in others] == [sockets.load("trainers", name) for name in others]

    def test_ours_before_a_broken_module(self, monkeypatch, broken):
        open_door(monkeypatch, OWN, broken)
        for name in sockets.names("trainers"):
            assert find(name) is sockets.load("trainers", name)
        with pytest.raises(ImportError, match="no_such_name"):
            find("GoodTrainer")

    @pytest.mark.parametrize("name", ["CoTrTrainer", "BANetTrainer"])
    def test_a_broken_module_before_ours(self, monkeypatch, broken, name):
        open_door(monkeypatch, broken, OWN)
        with pytest.raises(ImportError, match="no_such_name"):
            find(name)

    @pytest.mark.parametrize("kind", ["namesake", "broken"])
    def test_our_commands_put_ours_first(self, monkeypatch, request, kind):
        open_door(monkeypatch, request.getfixturevalue(kind), OWN)
        sockets.open_door()
        for name in sockets.names("trainers"):
            assert find(name) is sockets.load("trainers", name)
