"""The guard against another package called `kernels`, which would fail far from its cause."""

import sys

import torch

from study.launch import environment


def _install(folder, name):
    """A distribution's metadata, as pip would leave it."""
    info = folder / f"{name}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    (info / "top_level.txt").write_text("kernels\n")


def test_no_clash_here():
    assert environment.clash() is None


def test_a_package_of_the_same_import_name_is_named(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    _install(tmp_path, "kernels")
    assert "pip uninstall kernels" in environment.clash()


def test_our_own_distribution_is_no_clash(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    _install(tmp_path, "archstudy")
    assert environment.clash() is None


def test_kernels_from_elsewhere_is_named(tmp_path, monkeypatch):
    (tmp_path / "kernels").mkdir()
    (tmp_path / "kernels" / "__init__.py").write_text("")
    monkeypatch.syspath_prepend(tmp_path)
    for name in [name for name in sys.modules if name.partition(".")[0] == "kernels"]:
        monkeypatch.delitem(sys.modules, name)
    assert str(tmp_path) in environment.clash()


def test_faults_name_what_would_stop_a_run():
    facts = {
        "device": "cuda:7",
        "device_name": None,
        "store_writable": False,
        "disk_free_bytes": 1000,
    }
    text = "\n".join(environment.faults(facts))
    for words in ("cuda:7", "can't be written", "0.00 GB free"):
        assert words in text
    good = {"device": "cpu", "device_name": "cpu", "store_writable": True}
    assert environment.faults(good | {"disk_free_bytes": 10**12}) == []


def test_a_device_is_here_or_the_legal_ones_are_named(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    for name in ("cpu", "cuda", "cuda:0", "cuda:1", "xpu"):
        assert environment.missing_device(name) is None
    assert environment.missing_device("cuda:2") == (
        "device 'cuda:2' is not here; legal: cpu, cuda, cuda:0, cuda:1"
    )
    assert "device 'mps' is not here" in str(environment.missing_device("mps"))
