"""What every storage must do, as tests that a class of tests inherits; it says which `storage` they are made on."""

import pickle
import threading
from io import UnsupportedOperation

import numpy as np
import pytest
import zarr
from zarr.storage import MemoryStore

from cascade.storage import open_storage

ODD = "a b/ü#?%41+&=*[x]~'\\.png"
"""A key of which each part of a URL, a pattern or a shell would make something else."""


class StorageConformance:
    """Tests of a storage in which there is nothing yet."""

    @pytest.fixture
    def storage(self):
        raise NotImplementedError

    def test_file_is_read_back(self, storage):
        storage.write("a/b/c.bin", b"one")
        storage.write("a/b/c.bin", b"two")
        assert storage.read("a/b/c.bin") == b"two"
        storage.write("empty", b"")
        assert storage.read("empty") == b""

    def test_same_place_is_found_by_others(self, storage):
        storage.write("a", b"x")
        for other in (storage.absolute(), pickle.loads(pickle.dumps(storage))):
            assert other.read("a") == b"x"
        assert str(storage.path) == storage.url
        assert storage.folder in (None, storage.path)
        assert open_storage(storage) is storage

    def test_missing_file_is_an_error_that_names_it(self, storage, tmp_path):
        with pytest.raises(FileNotFoundError, match=r"none\.bin"):
            storage.read("a/none.bin")
        with pytest.raises(FileNotFoundError, match=r"none\.bin"):
            storage.download("a/none.bin", tmp_path / "copy", max_bytes=1)
        with pytest.raises(FileNotFoundError, match=r"none\.bin"):
            list(storage.read_many(["a/none.bin"]))
        storage.delete("a/none.bin")
        storage.delete_below("a")

    @pytest.mark.parametrize("key", ["", "/", "/a", "a/", "a//b", ".", "./a", "a/../b", ".."])
    def test_key_that_may_lead_out_is_refused(self, storage, key, tmp_path):
        for use in (
            storage.read,
            lambda key: storage.write(key, b"x"),
            lambda key: storage.create(key, b"x"),
            lambda key: storage.download(key, tmp_path / "copy", max_bytes=1),
            lambda key: list(storage.read_many([key])),
            storage.delete,
            storage.delete_below,
        ):
            with pytest.raises(ValueError, match=r"expected the key of a file, such as ledger/batch-00000\.json"):
                use(key)
        if key:
            for use in (storage.names, lambda key: list(storage.files_below(key)), storage.zarr):
                with pytest.raises(ValueError, match="expected the key of a file"):
                    use(key)
        assert storage.names() == []

    def test_odd_key_is_a_key(self, storage):
        assert storage.create(ODD, b"x")
        assert storage.read(ODD) == b"x"
        folder, _, name = ODD.rpartition("/")
        assert storage.names() == [folder]
        assert storage.names(folder) == [name]
        assert list(storage.files_below()) == [ODD]
        storage.delete(ODD)
        assert storage.names(folder) == []

    def test_file_is_created_once(self, storage):
        assert storage.create("ledger/1.json", b"mine")
        assert not storage.create("ledger/1.json", b"yours")
        assert storage.create("ledger/1.json", b"mine")  # it is there as given
        assert storage.read("ledger/1.json") == b"mine"
        assert storage.names("ledger") == ["1.json"]

    def test_of_many_that_create_a_file_one_succeeds(self, storage):
        results = {}
        threads = [
            threading.Thread(target=lambda n=n: results.update({n: storage.create("ledger/1.json", b"%d" % n)}))
            for n in range(8)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(results.values()) == [False] * 7 + [True]
        assert results[int(storage.read("ledger/1.json"))]

    def test_names_are_those_of_one_folder_and_files_those_below(self, storage):
        for key in ("top.txt", "a/1", "a/2", "a/b/3", "ab/4"):
            storage.write(key, b"x")
        assert storage.names() == ["a", "ab", "top.txt"]
        assert storage.names("a") == ["1", "2", "b"]
        assert sorted(storage.files_below("a")) == ["a/1", "a/2", "a/b/3"]
        assert sorted(storage.files_below()) == ["a/1", "a/2", "a/b/3", "ab/4", "top.txt"]

    def test_missing_folder_is_empty(self, storage):
        for folder in ("", "none", "none/below"):
            assert storage.names(folder) == []
            assert list(storage.files_below(folder)) == []

    def test_deleted_file_and_folder_leave_the_others(self, storage):
        for key in ("a/1", "a/2", "a/b/3", "ab/4"):
            storage.write(key, b"x")
        storage.delete("a/1")
        assert storage.names("a") == ["2", "b"]
        storage.delete_below("a")
        assert storage.names() == ["ab"]

    def test_many_are_read_in_the_order_given(self, storage):
        for n in range(20):
            storage.write(f"{n:02d}", b"%d" % n)
        order = [7, 3, 19, 3, 0, *range(20)]
        assert list(storage.read_many(f"{n:02d}" for n in order)) == [b"%d" % n for n in order]

    def test_file_over_the_limit_is_not_read(self, storage, tmp_path):
        storage.write("big", b"x" * 2**20)
        assert len(storage.read("big", max_bytes=2**20)) == 2**20
        storage.write("big", b"x" * (2**20 + 1))
        with pytest.raises(ValueError, match="expected at most 1 MiB, got a larger file"):
            storage.read("big", max_bytes=2**20)
        with pytest.raises(ValueError, match="expected at most 1 MiB, got a larger file"):
            storage.download("big", tmp_path / "copy", max_bytes=2**20)
        assert not (tmp_path / "copy").exists()

    @pytest.mark.parametrize("size", [0, 3, 10])
    def test_download_is_the_file(self, storage, tmp_path, size):
        storage.write("a/file", bytes(range(size)))
        storage.download("a/file", tmp_path / "copy", max_bytes=10)
        assert (tmp_path / "copy").read_bytes() == bytes(range(size))

    def test_appended_data_follows_what_is_there_if_the_storage_can(self, storage):
        if not storage.can_append:
            with pytest.raises(UnsupportedOperation, match="log: object stores cannot append"):
                storage.append("logs/log", b"one\n")
            return
        storage.append("logs/log", b"one\n")
        storage.append("logs/log", b"two\n")
        assert storage.read("logs/log") == b"one\ntwo\n"

    def test_zarr_reads_what_was_written(self, storage):
        array = np.arange(12, dtype=np.uint8).reshape(3, 4)
        written = {}
        zarr.create_group(MemoryStore(written)).create_array("mask", data=array, chunks=(2, 2))
        for key, value in written.items():
            storage.write(f"a/b.zarr/{key}", value.to_bytes())
        np.testing.assert_array_equal(zarr.open_array(storage.zarr("a/b.zarr/mask"), mode="r")[:], array)
        np.testing.assert_array_equal(zarr.open_group(storage.zarr("a/b.zarr"), mode="r")["mask"][:], array)
        with pytest.raises(FileNotFoundError):
            zarr.open_array(storage.zarr("a/none"), mode="r")
        with pytest.raises(FileNotFoundError):
            zarr.open_array(storage.zarr(""), mode="r")

    def test_request_of_others_is_made(self, storage):
        assert storage.retried(lambda: 3, "three") == 3
        with pytest.raises(ValueError, match="mine"):
            storage.retried(lambda: int("mine"), "three")

    def test_folder_that_can_be_listed_is_open_whether_it_is_there_or_not(self, storage):
        storage.check_open()
        storage.write("a/b", b"")
        for folder in ("", "a", "none"):
            storage.check_open(folder)
        with pytest.raises(ValueError, match="expected the key"):
            storage.check_open("../a")
