# SPDX-License-Identifier: Apache-2.0
"""HDF5 files of plain contiguous arrays, written with nothing but Python: what nemafit reads, and what h5py, h5dump and every
HDF5 library from 1.8 on read. Superblock 2, object headers 2 (checksummed), compact links; HDF5 File Format Specification 3."""

import os
import shutil
import struct

UNDEFINED = b"\xff" * 8
INT32, INT64, UINT8 = "<i4", "<i8", "|u1"
_CODES = {INT32: (4, True), INT64: (8, True), UINT8: (1, False)}


def lookup3(data):
    """Bob Jenkins' hashlittle(data, 0), the checksum of HDF5's metadata."""

    def rot(x, k):
        return ((x << k) | (x >> (32 - k))) & 0xFFFFFFFF

    def sub(x, y):
        return (x - y) & 0xFFFFFFFF

    a = b = c = (0xDEADBEEF + len(data)) & 0xFFFFFFFF
    while len(data) > 12:
        x, y, z = struct.unpack("<3I", data[:12])
        a, b, c = (a + x) & 0xFFFFFFFF, (b + y) & 0xFFFFFFFF, (c + z) & 0xFFFFFFFF
        for k, turn in ((4, 0), (6, 1), (8, 2), (16, 0), (19, 1), (4, 2)):
            if turn == 0:
                a = sub(a, c) ^ rot(c, k)
                c = (c + b) & 0xFFFFFFFF
            elif turn == 1:
                b = sub(b, a) ^ rot(a, k)
                a = (a + c) & 0xFFFFFFFF
            else:
                c = sub(c, b) ^ rot(b, k)
                b = (b + a) & 0xFFFFFFFF
        data = data[12:]
    if not data:
        return c
    x, y, z = struct.unpack("<3I", data + bytes(12 - len(data)))
    a, b, c = (a + x) & 0xFFFFFFFF, (b + y) & 0xFFFFFFFF, (c + z) & 0xFFFFFFFF
    c = sub(c ^ b, rot(b, 14))
    a = sub(a ^ c, rot(c, 11))
    b = sub(b ^ a, rot(a, 25))
    c = sub(c ^ b, rot(b, 16))
    a = sub(a ^ c, rot(c, 4))
    b = sub(b ^ a, rot(a, 14))
    return sub(c ^ b, rot(b, 24))


def _integer(dtype):
    size, signed = _CODES[dtype]
    return struct.pack("<BBHIHH", 0x10, 0x08 if signed else 0, 0, size, 0, 8 * size)


def _space(shape):
    return struct.pack("<BBBB", 2, len(shape), 0, 1 if shape else 0) + b"".join(struct.pack("<Q", n) for n in shape)


def _header(messages):
    body = b"".join(struct.pack("<BHB", kind, len(data), 0) + data for kind, data in messages)
    head = b"OHDR" + struct.pack("<BBI", 2, 2, len(body)) + body
    return head + struct.pack("<I", lookup3(head))


def _attribute(name, value):
    if isinstance(value, str):
        text = value.encode()
        kind, data = struct.pack("<BBHI", 0x13, 1, 0, len(text)), text
    else:
        kind, data = _integer(INT64), struct.pack("<q", value)
    label, space = name.encode() + b"\0", _space(())
    return 0x0C, struct.pack("<BBHHHB", 3, 0, len(label), len(kind), len(space), 0) + label + kind + space + data


def _dataset(dtype, shape, address, size):
    return _header([
        (0x01, _space(shape)),
        (0x03, _integer(dtype)),
        (0x05, struct.pack("<BBBB", 2, 1, 1, 0)),  # storage at once, no fill value
        (0x08, struct.pack("<BBQQ", 3, 1, address, size)),
    ])


def _group(links, attributes):
    messages = [(0x02, b"\0\0" + UNDEFINED + UNDEFINED), (0x0A, b"\0\0")]
    for name, address in links:
        messages.append((0x06, struct.pack("<BBB", 1, 0, len(name)) + name.encode() + struct.pack("<Q", address)))
    return _header(messages + [_attribute(name, value) for name, value in attributes])


def write(path, arrays, attributes):
    """Write {name: (dtype, shape, source)} and [(attribute, int or str)]. A source is bytes, an open binary file that is read
    from its start, or the name of another array, of which this one becomes a second link. Whole or not at all: a temporary
    beside it, fsync, rename."""
    own = {name: array for name, array in arrays.items() if not isinstance(array[2], str)}
    heads, at = {}, 48
    for name, (dtype, shape, _) in own.items():
        heads[name] = at
        at += len(_dataset(dtype, shape, 0, 0))
    links = [(name, heads[array[2] if isinstance(array[2], str) else name]) for name, array in arrays.items()]
    root_at = at
    root = _group(links, attributes)
    at += len(root)
    places, sizes = {}, {}
    for name, (dtype, shape, _) in own.items():
        at = -(-at // 4096) * 4096
        size = _CODES[dtype][0]
        for n in shape:
            size *= n
        places[name], sizes[name] = at, size
        at += size
    block = b"\x89HDF\r\n\x1a\n" + struct.pack("<BBBBQ", 2, 8, 8, 0, 0) + UNDEFINED + struct.pack("<QQ", at, root_at)
    temporary = "%s.%d.tmp" % (path, os.getpid())
    try:
        with open(temporary, "xb") as file:
            file.write(block + struct.pack("<I", lookup3(block)))
            for name, (dtype, shape, _) in own.items():
                file.write(_dataset(dtype, shape, places[name], sizes[name]))
            file.write(root)
            for name, (_, _, source) in own.items():
                file.write(bytes(places[name] - file.tell()))
                if isinstance(source, (bytes, bytearray)):
                    file.write(source)
                else:
                    source.seek(0)
                    shutil.copyfileobj(source, file, 1 << 22)
                if file.tell() != places[name] + sizes[name]:
                    raise ValueError("%s: %d bytes, expected %d" % (name, file.tell() - places[name], sizes[name]))
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        if os.path.exists(temporary):
            os.unlink(temporary)
        raise
