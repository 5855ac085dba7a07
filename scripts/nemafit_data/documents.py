# SPDX-License-Identifier: Apache-2.0
"""Lines of JSONL, and plain text files, as documents: ids, and which of them are learnt.

    {"text": "..."}                                  every token is learnt, and the end
    {"prompt": "...", "completion": "..."}           the completion and the end are learnt
    {"messages": [{"role": ..., "content": ...}]}    what the assistant says is learnt, through a chat template
"""

import json

ROLES = ("system", "developer", "user", "assistant", "tool")


class Refused(ValueError):
    """A line that is no document; the text says why."""


def _chatml(messages, add_generation_prompt):
    text = "".join("<|im_start|>%s\n%s<|im_end|>\n" % (m["role"], m["content"]) for m in messages)
    return text + ("<|im_start|>assistant\n" if add_generation_prompt else "")


def renderer(template, special):
    """From messages to text. `chatml` is built in; else a template in Jinja, as tokenizer_config.json holds it."""
    if template == "chatml":
        return _chatml
    import jinja2.sandbox

    environment = jinja2.sandbox.ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True)
    environment.filters["tojson"] = lambda x, indent=None: json.dumps(x, ensure_ascii=False, indent=indent)

    def refuse(text):
        raise Refused("the chat template refuses it: %s" % text)

    environment.globals["raise_exception"] = refuse
    compiled = environment.from_string(template)

    def render(messages, add_generation_prompt):
        try:
            return compiled.render(messages=messages, add_generation_prompt=add_generation_prompt, **special)
        except jinja2.TemplateError as error:
            raise Refused("the chat template fails: %s" % error) from error

    return render


def _string(record, key):
    value = record[key]
    if not isinstance(value, str):
        raise Refused('"%s" is %s, expected a string' % (key, type(value).__name__))
    return value


def _check_messages(messages):
    if not isinstance(messages, list) or not messages:
        raise Refused('"messages" is %s, expected a list of messages' % ("empty" if messages == [] else type(messages).__name__))
    for at, message in enumerate(messages):
        if not isinstance(message, dict):
            raise Refused("message %d is %s, expected an object" % (at + 1, type(message).__name__))
        if message.get("role") not in ROLES:
            raise Refused("message %d has the role %r, expected one of %s" % (at + 1, message.get("role"), ", ".join(ROLES)))
        if not isinstance(message.get("content"), str):
            raise Refused('message %d has no text in "content"' % (at + 1))
    if not any(message["role"] == "assistant" for message in messages):
        raise Refused("no message is the assistant's: there is nothing to learn")


class Reader:
    def __init__(self, tokenizer, render):
        self.tokenizer, self.render = tokenizer, render
        self.begin = [tokenizer.begin] if tokenizer.begin is not None else []

    def _plain(self, text):
        ids = self.begin + self.tokenizer.encode(text)[0] + [self.tokenizer.end]
        return ids, [True] * len(ids)

    def _completion(self, prompt, completion):
        # apart, as a model in use meets them: the prompt is cut into tokens before there is a completion
        known = self.begin + self.tokenizer.encode(prompt)[0]
        learnt = self.tokenizer.encode(completion)[0] + [self.tokenizer.end]
        return known + learnt, [False] * len(known) + [True] * len(learnt)

    def _spans(self, messages):
        """The whole text, and the parts of it (first, last + 1) that the assistant says."""
        spans, text = [], self.render(messages, False)
        for at, message in enumerate(messages):
            if message["role"] != "assistant":
                continue
            before, behind = self.render(messages[:at], True), self.render(messages[: at + 1], False)
            if not behind.startswith(before) or not text.startswith(behind):
                raise Refused("the chat template writes message %d in another way when more follow: what the assistant says "
                              "cannot be told from the rest; split the conversation" % (at + 1))
            spans.append((len(before), len(behind)))
        return text, spans

    def _chat(self, messages):
        _check_messages(messages)
        if not self.render:
            raise Refused("the tokenizer has no chat template: give one with --template FILE, or --template chatml")
        text, spans = self._spans(messages)
        ids, places = self.tokenizer.encode(text)
        learnt = [any(first <= a and b <= last for first, last in spans) for a, b in places]
        return ids, learnt

    def document(self, record):
        """Ids and which are learnt, and whether it may be cut anywhere."""
        if not isinstance(record, dict):
            raise Refused("expected an object, found %s" % type(record).__name__)
        if "messages" in record:
            return (*self._chat(record["messages"]), False)
        if "prompt" in record and "completion" in record:
            prompt, completion = _string(record, "prompt"), _string(record, "completion")
            if not completion:
                raise Refused('"completion" is empty: there is nothing to learn')
            return (*self._completion(prompt, completion), False)
        if "text" in record:
            text = _string(record, "text")
            if not text:
                raise Refused('"text" is empty')
            return (*self._plain(text), True)
        raise Refused('expected "text", "prompt" and "completion", or "messages"; found %s'
                      % (", ".join('"%s"' % key for key in list(record)[:8]) or "no key"))

    def lines(self, path):
        """(line number, document or Refused) of each line of a file; a .txt file is one document."""
        if path.endswith(".txt"):
            with open(path, encoding="utf-8", newline="") as file:
                yield 1, self.document({"text": file.read()})
            return
        with open(path, "rb") as file:
            for number, line in enumerate(file, 1):
                if not line.strip():
                    continue
                try:
                    yield number, self.document(json.loads(line))
                except UnicodeDecodeError as error:
                    yield number, Refused("is not UTF-8: byte %d" % (error.start + 1))
                except json.JSONDecodeError as error:
                    yield number, Refused("is not JSON: column %d: %s" % (error.colno, error.msg))
                except Refused as error:
                    yield number, error

    def prompt(self, text):
        return self.begin + self.tokenizer.encode(text)[0]

    def chat_prompt(self, text):
        if not self.render:
            raise Refused("--chat-prompt: the tokenizer has no chat template; give one with --template")
        return self.tokenizer.encode(self.render([{"role": "user", "content": text}], True))[0]
