"""An import that fails says why."""

from pathlib import Path

import pytest

from lab_engine.base.imports import import_quickly


def test_the_reason_of_a_failed_import_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "package_of_test_imports").mkdir()
    (tmp_path / "package_of_test_imports" / "part.py").write_text("raise ImportError('libcudnn.so.9: cannot open')")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ImportError, match=r"libcudnn\.so\.9: cannot open"):
        import_quickly("package_of_test_imports.part:function")
