# SPDX-License-Identifier: Apache-2.0
"""Tokenizers: text to ids, and what each id spells. `Bytes` needs nothing; `HuggingFace` the packages tokenizers and, for chat
templates, jinja2."""

import hashlib
import json
import os


class Bytes:
    """An id is a byte, 256 ends a document: what data.format = 'text' does."""

    vocab_size, end, begin, padding, sha256, template = 257, 256, None, 256, None, None
    special = {"eos_token": "", "bos_token": ""}

    def encode(self, text):
        """Ids, and for each the characters (first, last + 1) of the text that it belongs to."""
        ids, spans = [], []
        for at, letter in enumerate(text):
            for byte in letter.encode("utf-8", "surrogatepass"):
                ids.append(byte)
                spans.append((at, at + 1))
        return ids, spans

    def pieces(self):
        return [bytes([i]) for i in range(256)] + [b"<end>"]


def _unicode_to_bytes():
    """The printable stand-ins that byte-level BPE uses for bytes."""
    plain = list(range(0x21, 0x7F)) + list(range(0xA1, 0xAD)) + list(range(0xAE, 0x100))
    table = {chr(b): b for b in plain}
    odd = [b for b in range(256) if b not in plain]
    table.update({chr(256 + n): b for n, b in enumerate(odd)})
    return table


def _name(token):
    return token.get("content") if isinstance(token, dict) else token


def _has(part, kind):
    if isinstance(part, dict):
        return part.get("type") == kind or any(_has(value, kind) for value in part.values())
    return isinstance(part, list) and any(_has(value, kind) for value in part)


def file_of(directory):
    """The tokenizer.json of a checkpoint directory, or the file itself."""
    return directory if os.path.isfile(directory) else os.path.join(directory, "tokenizer.json")


class HuggingFace:
    """tokenizer.json of a checkpoint directory, with tokenizer_config.json beside it if there is one."""

    def __init__(self, directory, end=None):
        import tokenizers

        path = file_of(directory)
        with open(path, "rb") as file:
            raw = file.read()
        self.sha256 = hashlib.sha256(raw).hexdigest()
        self.description = json.loads(raw)
        self.tokenizer = tokenizers.Tokenizer.from_str(raw.decode())
        self.tokenizer.no_padding()
        self.tokenizer.no_truncation()
        config = {}
        beside = os.path.join(os.path.dirname(path), "tokenizer_config.json")
        if os.path.exists(beside):
            with open(beside, encoding="utf-8") as file:
                config = json.load(file)
        self.special = {key: _name(config.get(key)) or "" for key in ("eos_token", "bos_token", "unk_token", "pad_token")}
        if end:
            self.special["eos_token"] = end
        if not self.special["eos_token"]:
            raise ValueError("%s names no eos_token: say which token ends a document with --end TOKEN" % beside)
        self.end = self._id(self.special["eos_token"])
        self.begin = self._id(self.special["bos_token"]) if config.get("add_bos_token") and self.special["bos_token"] else None
        self.padding = self._id(self.special["pad_token"]) if self.special["pad_token"] else self.end
        vocabulary = self.tokenizer.get_vocab(with_added_tokens=True)
        self.vocab_size = max(vocabulary.values()) + 1
        self.vocabulary = {number: token for token, number in vocabulary.items()}
        self.template = config.get("chat_template")
        if isinstance(self.template, list):
            self.template = next((t["template"] for t in self.template if t.get("name") == "default"), None)
        jinja = os.path.join(os.path.dirname(path), "chat_template.jinja")
        if not self.template and os.path.exists(jinja):
            with open(jinja, encoding="utf-8") as file:
                self.template = file.read()

    def _id(self, token):
        number = self.tokenizer.token_to_id(token)
        if number is None:
            raise ValueError("the tokenizer has no token '%s'" % token)
        return number

    def encode(self, text):
        made = self.tokenizer.encode(text, add_special_tokens=False)
        return made.ids, made.offsets

    def pieces(self):
        added = {token["id"]: token["content"] for token in self.description.get("added_tokens", [])}
        byte_level = _has(self.description.get("decoder"), "ByteLevel") or _has(self.description.get("pre_tokenizer"), "ByteLevel")
        table = _unicode_to_bytes()
        out = []
        for number in range(self.vocab_size):
            token = self.vocabulary.get(number, "")
            if number in added:
                out.append(added[number].encode())
            elif byte_level and all(letter in table for letter in token):
                out.append(bytes(table[letter] for letter in token))
            elif len(token) == 6 and token.startswith("<0x") and token.endswith(">"):
                out.append(bytes([int(token[3:5], 16)]))
            else:
                out.append(token.replace("\u2581", " ").encode())
        return out
