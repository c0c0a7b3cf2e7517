"""Locks of files."""

import errno
import fcntl

from amodal_jax.files.lock import try_lock


def test_one_at_a_time_has_it(tmp_path):
    path = tmp_path / "lock"
    with path.open("a+") as first, path.open("a+") as second:
        assert try_lock(first)
        assert not try_lock(second)
    with path.open("a+") as third:
        assert try_lock(third)


def test_without_locks_there_is_a_warning(tmp_path, monkeypatch, caplog):
    def refuse(file, operation):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)
    with (tmp_path / "lock").open("a+") as file:
        assert try_lock(file)
    assert "lock: cannot be locked (No locks available)" in caplog.text
