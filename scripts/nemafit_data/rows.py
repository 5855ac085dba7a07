# SPDX-License-Identifier: Apache-2.0
"""Rows of equal length from documents of any length, kept in temporary files until their number is known."""

import array
import tempfile

NOT_LEARNT = -100


class Rows:
    """Documents that may be cut anywhere (plain text) fill rows without a gap. Others are laid into the open row that they fill
    best; one longer than a row is cut into parts, of which those are left out in which nothing is learnt. Each document, and
    each part of it in another row, is a segment."""

    OPEN = 64  # rows that wait to be filled

    def __init__(self, length, padding, pack, folder):
        self.length, self.padding, self.pack = length, padding, pack
        self.files = {name: tempfile.TemporaryFile(dir=folder) for name in ("input_ids", "labels", "segment_ids")}
        self.open = []  # lists of (ids, learnt)
        self.stream = []
        self.rows = self.tokens = self.learnt = self.left_out = self.documents = 0
        self.plain = True  # every place is learnt
        self.one = True  # one segment and no padding in each row

    def _write(self, parts):
        ids, labels, segments = [], [], []
        for number, (some, learnt) in enumerate(parts, 1):
            ids += some
            labels += [i if is_learnt else NOT_LEARNT for i, is_learnt in zip(some, learnt)]
            segments += [number] * len(some)
        gap = self.length - len(ids)
        self.tokens += len(ids)
        self.learnt += sum(label != NOT_LEARNT for label in labels)
        self.plain = self.plain and NOT_LEARNT not in labels and not gap
        self.one = self.one and len(parts) == 1 and not gap
        for name, values, fill in (("input_ids", ids, self.padding), ("labels", labels, NOT_LEARNT), ("segment_ids", segments, 0)):
            some = array.array("i", values + [fill] * gap)
            if some.itemsize != 4:
                raise SystemExit("nemafit-tokenize: this Python has no 32-bit integers")
            if array.array("H", [1]).tobytes() != b"\1\0":
                some.byteswap()
            self.files[name].write(some.tobytes())
        self.rows += 1

    def _size(self, parts):
        return sum(len(ids) for ids, _ in parts)

    def _place(self, part):
        fits = [parts for parts in self.open if self._size(parts) + len(part[0]) <= self.length] if self.pack else []
        if fits:
            fullest = max(fits, key=self._size)
            fullest.append(part)
            if self._size(fullest) == self.length:
                self.open.remove(fullest)
                self._write(fullest)
            return
        self.open.append([part])
        if len(self.open) > self.OPEN or not self.pack or len(part[0]) == self.length:
            fullest = max(self.open, key=self._size)
            self.open.remove(fullest)
            self._write(fullest)

    def add(self, ids, learnt, anywhere):
        self.documents += 1
        if anywhere and self.pack:
            at = 0
            while at < len(ids):
                room = self.length - self._size(self.stream)
                self.stream.append((ids[at : at + room], learnt[at : at + room]))
                at += room
                if self._size(self.stream) == self.length:
                    self._write(self.stream)
                    self.stream = []
            return
        for at in range(0, len(ids), self.length):
            part = ids[at : at + self.length], learnt[at : at + self.length]
            if any(part[1][1:]):  # the first of a segment is nobody's target
                self._place(part)
            else:
                self.left_out += 1

    def finish(self):
        for parts in ([self.stream] if self.stream else []) + self.open:
            self._write(parts)
        self.stream, self.open = [], []
