"""Recognise files that people mistake for checkpoints by their first bytes, and say how to get the tensors."""

_STARTS = {
    b"\x89HDF\r\n\x1a\n": "an HDF5 file, as Keras writes them; load it there and save its arrays with safetensors",
    b"\x93NUMPY": "a NumPy array; save it by name: safetensors.numpy.save_file({'conv.weight': array}, …)",
    b"GGUF": "a GGUF file of a quantised language model; use the checkpoint that it was converted from",
    b"version https://git-lfs": "the pointer that Git LFS keeps in place of a file; get the file: git lfs pull",
    b"<": "a web page or XML instead of the checkpoint; check the link, and download the checkpoint again",
    b"\x1f\x8b": "compressed by gzip; unpack it first",
    b"BZh": "compressed by bzip2; unpack it first",
    b"\xfd7zXZ": "compressed by xz; unpack it first",
    b"\x28\xb5\x2f\xfd": "compressed by zstd; unpack it first",
    b"7z\xbc\xaf": "a 7-Zip archive; unpack it first",
}
_AT_4 = {b"TFL3": "a TensorFlow Lite model; use the checkpoint that it was exported from"}
_AT_257 = {b"ustar": "a tar archive; unpack it first"}
_ONNX = "an ONNX graph, whose tensors need not have the names and shapes of a model's; use the checkpoint of that model"
LENGTH = 262  # the number of first bytes that `describe` needs


def describe(start: bytes) -> str | None:
    """Return the kind of a file and how to get its tensors, from its first `LENGTH` bytes, or None for unknown files.

    >>> describe(b"GGUF\\x03")
    'a GGUF file of a quantised language model; use the checkpoint that it was converted from'
    """
    for position, starts in ((0, _STARTS), (4, _AT_4), (257, _AT_257)):
        for mark, description in starts.items():
            if start[position:].startswith(mark):
                return description
    # protobuf: field 1 is the format version; the producer, the domain, the graph or the operators follow
    if (
        start[:1] == b"\x08"
        and 0 < int.from_bytes(start[1:2]) < 64
        and start[2:3] in (b"\x12", b"\x1a", b"\x22", b"\x3a", b"\x42")
    ):
        return _ONNX
    return None
