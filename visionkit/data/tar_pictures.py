"""Pictures inside uncompressed tar files, each read at its place; nothing is unpacked."""

import os
from dataclasses import dataclass

import numpy as np

from visionkit.data.image import decode_image
from visionkit.errors import DataError

BLOCK = 512  # a tar file is made of these; one with name and size stands before each member


@dataclass(frozen=True, eq=False)
class TarPictures:
    """N members of tar files: 16 bytes a picture. Names stay in the tars and are read when a message needs one."""

    shards: tuple[str, ...]  # paths
    shard: np.ndarray  # (N,) int32, which of them
    offset: np.ndarray  # (N,) int64, the first byte
    length: np.ndarray  # (N,) int32, bytes

    def __len__(self) -> int:
        return len(self.shard)

    def read(self, i: int) -> np.ndarray:
        data = self.encoded(i)
        try:
            return decode_image(data, "")
        except DataError:
            return decode_image(data, self.name(i))  # fails again, with the name in its sentence

    def encoded(self, i: int) -> bytes:
        length = int(self.length[i])
        data = self._bytes(i, int(self.offset[i]), length)
        if len(data) < length:
            raise DataError(
                f"image {self.name(i)} cannot be read: the tar file has become shorter since it was indexed."
            )
        return data

    def name(self, i: int) -> str:
        """The tar's path and the member's, as if the tar were a folder."""
        block = self._bytes(i, int(self.offset[i]) - BLOCK, BLOCK)
        member = block[:100].split(b"\0")[0]
        if block[257:262] == b"ustar" and (prefix := block[345:500].split(b"\0")[0]):
            member = prefix + b"/" + member
        return f"{self.shards[self.shard[i]]}/{os.fsdecode(member)}"

    def select(self, rows: np.ndarray) -> "TarPictures":
        return TarPictures(self.shards, self.shard[rows], self.offset[rows], self.length[rows])

    def _bytes(self, i: int, offset: int, length: int) -> bytes:
        path = self.shards[self.shard[i]]
        try:
            file = os.open(path, os.O_RDONLY)
            try:
                return os.pread(file, length, offset)
            finally:
                os.close(file)
        except OSError as error:
            raise DataError(f"{path} cannot be read: {error.strerror or error}.") from None
