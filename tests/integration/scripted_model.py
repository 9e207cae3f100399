"""A model that says what it is told: for what clients make of replies that no small model writes.

Each piece of a script is a token whose successor is the next piece, whatever came before:
embeddings are one-hot, the layers add nothing, and the LM head maps each token to the one that
follows it. A prompt that ends with the token <|NAME|> begins script NAME.
"""

import json
import struct

import programs

END = "<|end|>"  # of the project's own model, whose tokenizer the prompts are for
TEMPLATE = ("{%- for m in messages %}<|user|>{{ m.content or '' }}<|end|>{% endfor -%}"
            "{%- for t in tools or [] %}{{ t.function.name }}{% endfor -%}"
            "{{ '<|' ~ script ~ '|>' }}")

# Of a model that calls tools: it says script "call" to a user and "answer" to a tool, unless it is
# told what to say. Like most, it knows one turn of the system, at the beginning. The comment is how
# its format is found.
AGENT_TEMPLATE = (
    "{%- for m in messages %}"
    "{%- if m.role == 'system' and not loop.first %}{{ raise_exception('a later system') }}"
    "{% endif %}<|user|>{{ m.content or '' }}<|end|>{% endfor -%}"
    "{{ '<|' ~ (script or ('answer' if messages[-1].role == 'tool' else 'call')) ~ '|>' }}"
    "{#- <tool_call>\n{\"name\": ..., \"arguments\": ...}\n</tool_call> <think></think> -#}")


def pieces_of(text, taken, size=9):
    """The text cut into tokens that no script has yet."""
    pieces = []
    while text:
        length = size
        while text[:length] in taken and length < len(text):
            length += 1
        if text[:length] in taken:  # at the end: with what is before it
            text = pieces.pop() + text
            length = len(text)
        taken.add(text[:length])
        pieces.append(text[:length])
        text = text[length:]
    return pieces


def bf16(rows, columns, ones):
    """A matrix of zeros but for {(row, column): value}."""
    data = bytearray(2 * rows * columns)
    for (row, column), value in ones.items():
        high = struct.pack("<f", value)[2:]
        data[2 * (row * columns + column):2 * (row * columns + column) + 2] = high
    return [rows, columns], bytes(data)


def write_scripted_model(folder, scripts, template=TEMPLATE, special=()):
    """`scripts`: name to text, or to a list of texts that are tokens as they are. `special`: those
    that are special tokens."""
    own = programs.ROOT / "models" / programs.MODEL
    tokenizer = json.loads((own / "tokenizer.json").read_text())
    ids = {token["content"]: token["id"] for token in tokenizer["added_tokens"]}
    first_id = json.loads((own / "config.json").read_text())["vocab_size"]
    taken, follows = set(ids), {}
    for name, script in scripts.items():
        pieces = pieces_of(script, taken) if isinstance(script, str) else script
        chain = [f"<|{name}|>", *pieces, END]
        for token in chain[:-1]:
            if token in ids:
                raise ValueError(f"two scripts have the token {token!r}")
            ids[token] = first_id + len(follows)
            follows[token] = chain[chain.index(token) + 1]
            tokenizer["added_tokens"].append(
                {"id": ids[token], "content": token, "single_word": False, "lstrip": False,
                 "rstrip": False, "normalized": False,
                 "special": token == chain[0] or token in special})
    hidden = (len(follows) + 16) // 16 * 16
    vocab = first_id + len(follows)
    tensors = {"model.norm.weight": ([hidden], struct.pack("<H", 0x3F80) * hidden)}
    embedding, head = {}, {(ids[END], 0): 4.0}
    for token in range(first_id):
        embedding[token, 0] = 1.0
    for column, (token, successor) in enumerate(follows.items(), 1):
        embedding[ids[token], column] = 1.0
        head[ids[successor], column] = 4.0
    tensors["model.embed_tokens.weight"] = bf16(vocab, hidden, embedding)
    tensors["lm_head.weight"] = bf16(vocab, hidden, head)
    layers, width = 4, 16
    for layer in range(layers):
        for name, shape in {"input_layernorm": [hidden], "post_attention_layernorm": [hidden],
                            "self_attn.q_proj": [width, hidden], "self_attn.k_proj": [width, hidden],
                            "self_attn.v_proj": [width, hidden], "self_attn.o_proj": [hidden, width],
                            "mlp.gate_proj": [width, hidden], "mlp.up_proj": [width, hidden],
                            "mlp.down_proj": [hidden, width]}.items():
            size = 2 * shape[0] * (shape[1] if len(shape) > 1 else 1)
            tensors[f"model.layers.{layer}.{name}.weight"] = (shape, bytes(size))
    config = json.loads((own / "config.json").read_text())
    config.update(vocab_size=vocab, hidden_size=hidden, intermediate_size=width,
                  num_hidden_layers=layers, num_attention_heads=1, num_key_value_heads=1,
                  head_dim=width, max_position_embeddings=4096, tie_word_embeddings=False)
    header, data = {}, b""
    for name, (shape, values) in tensors.items():
        header[name] = {"dtype": "BF16", "shape": shape,
                        "data_offsets": [len(data), len(data) + len(values)]}
        data += values
    text = json.dumps(header).encode()
    (folder / "model.safetensors").write_bytes(len(text).to_bytes(8, "little") + text + data)
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    (folder / "chat_template.jinja").write_text(template)
