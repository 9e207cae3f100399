"""Two hundred JSON schemas of the kinds that clients send, each with an end in sight: strings and
arrays are bounded, so that a small model gets to it."""

import itertools

STRING = {"type": "string", "maxLength": 12}
INTEGER = {"type": "integer", "minimum": -999, "maximum": 999}
NUMBER = {"type": "number", "minimum": 0, "maximum": 100}
BOOLEAN = {"type": "boolean"}
COLOUR = {"enum": ["red", "green", "blue"]}


def obj(properties, required=None, **more):
    return {"type": "object", "properties": properties,
            "required": list(properties) if required is None else required, **more}


def array(items, least=0, most=3, **more):
    return {"type": "array", "items": items, "minItems": least, "maxItems": most, **more}


def flat():
    """Objects of plain values: all of them required, none, some, and closed ones."""
    values = {"name": STRING, "age": INTEGER, "score": NUMBER, "ok": BOOLEAN, "colour": COLOUR,
              "nothing": {"type": "null"}}
    for names in itertools.combinations(values, 2):
        properties = {name: values[name] for name in names}
        yield obj(properties)
        yield obj(properties, [names[0]], additionalProperties=False)
    for name in values:
        yield obj({name: values[name]}, [])


def arrays():
    for items in (STRING, INTEGER, NUMBER, BOOLEAN, COLOUR, obj({"x": INTEGER})):
        yield array(items)
        yield array(items, 2, 2)
        yield obj({"list": array(items, 1, 4)})
    yield array(array(INTEGER, 1, 2), 1, 2)
    yield {"type": "array", "prefixItems": [STRING, INTEGER], "items": False, "minItems": 2,
           "maxItems": 2}


def enums():
    yield COLOUR
    yield {"enum": [1, 2.5, "three", None, True, [4], {"five": 5}]}
    yield {"const": "only this"}
    yield {"const": {"a": [1, 2]}}
    for count in (1, 2, 17, 60):
        yield {"type": "string", "enum": [f"value {i}" for i in range(count)]}
        yield obj({"pick": {"enum": [i * i for i in range(count)]}})
    yield obj({"kind": {"const": "point"}, "x": INTEGER, "y": INTEGER})
    yield {"enum": ["Zürich", "東京", "quote \" and \\", "new\nline", "emoji 🙂"]}


def numbers():
    for low, high in ((0, 9), (1, 10), (-5, 5), (17, 17), (100, 1000), (-1000, -1), (0, 1)):
        yield {"type": "integer", "minimum": low, "maximum": high}
        yield obj({"n": {"type": "integer", "exclusiveMinimum": low - 1,
                         "exclusiveMaximum": high + 1}})
        yield {"type": "number", "minimum": low, "maximum": high}
    yield {"type": "integer", "multipleOf": 5, "minimum": 0, "maximum": 100}


def strings():
    for least, most in ((0, 0), (1, 1), (3, 8), (20, 20), (0, 40)):
        yield {"type": "string", "minLength": least, "maxLength": most}
    for pattern in ("^[a-z]{2,5}$", "^[A-Z]{3}-[0-9]{4}$", "^(yes|no)$", "^\\d{5}$",
                    "^#[0-9a-f]{6}$", "^[\\w]{1,8}\\.(txt|md)$"):
        yield {"type": "string", "pattern": pattern}
        yield obj({"code": {"type": "string", "pattern": pattern}, "n": INTEGER})
    for kind in ("date", "ipv4", "uuid"):  # a time may have any number of digits
        yield obj({"when": {"type": "string", "format": kind}})


def nested():
    for depth in range(1, 9):
        schema = obj({"value": INTEGER})
        for _ in range(depth):
            schema = obj({"inner": schema, "flag": BOOLEAN}, ["inner"])
        yield schema
    address = obj({"street": STRING, "zip": {"type": "string", "pattern": "^[0-9]{5}$"}})
    person = obj({"name": STRING, "address": address, "tags": array(COLOUR)}, ["name", "address"])
    yield person
    yield obj({"people": array(person, 1, 2)})
    yield obj({f"field_{i}": (STRING, INTEGER, BOOLEAN, COLOUR)[i % 4] for i in range(12)})
    yield obj({f"maybe_{i}": (INTEGER, BOOLEAN)[i % 2] for i in range(40)}, ["maybe_0"])


def references():
    point = obj({"x": INTEGER, "y": INTEGER})
    for key in ("$defs", "definitions"):
        reference = {"$ref": f"#/{key}/point"}
        yield obj({"from": reference, "to": reference}, **{key: {"point": point}})
        yield array(reference, 1, 2) | {key: {"point": point}}
        yield {"$ref": f"#/{key}/point", key: {"point": point}}
    yield obj({"value": INTEGER, "next": {"anyOf": [{"type": "null"}, {"$ref": "#"}]}},
              ["value"], additionalProperties=False)
    tree = obj({"leaf": INTEGER, "children": array({"$ref": "#/$defs/tree"}, 0, 1)}, ["leaf"])
    yield {"$ref": "#/$defs/tree", "$defs": {"tree": tree}}
    yield obj({"a": {"$ref": "#/properties/b"}, "b": COLOUR})
    yield obj({"odd": {"$ref": "#/$defs/with~1slash"}}, **{"$defs": {"with/slash": INTEGER}})


def unions():
    pairs = itertools.combinations((STRING, INTEGER, BOOLEAN, array(INTEGER),
                                    obj({"x": INTEGER})), 2)
    for first, second in pairs:
        yield {"anyOf": [first, second]}
        yield obj({"either": {"anyOf": [first, second]}})
    yield obj({"shape": {"oneOf": [
        obj({"kind": {"const": "circle"}, "r": INTEGER}, additionalProperties=False),
        obj({"kind": {"const": "square"}, "side": INTEGER}, additionalProperties=False)]}})
    for types in (["string", "null"], ["integer", "boolean"], ["number", "null"]):
        yield obj({"value": {"type": types, "maxLength": 9, "minimum": 0, "maximum": 99}})
    yield {"allOf": [obj({"x": INTEGER, "y": BOOLEAN})]}


def open_objects():
    yield obj({"known": INTEGER}, additionalProperties=False)
    yield {"type": "object", "additionalProperties": INTEGER, "maxProperties": 3}
    yield {"type": "object", "additionalProperties": BOOLEAN, "minProperties": 1,
           "maxProperties": 2, "propertyNames": {"pattern": "^[a-z]{1,4}$"}}
    yield {"type": "object", "patternProperties": {"^x_[a-z]{1,3}$": INTEGER},
           "additionalProperties": False, "maxProperties": 3}
    yield obj({"title": STRING, "default": INTEGER, "type": COLOUR, "properties": BOOLEAN})
    yield {"title": "T", "description": "With words.", "examples": [{"a": 1}],
           **obj({"a": {"type": "integer", "default": 3, "minimum": 0, "maximum": 9}})}


def mixed():
    """Pairs of what is above, as members and as elements."""
    values = [array(COLOUR, 1, 2), obj({"x": INTEGER}), {"type": ["integer", "null"]},
              {"type": "string", "pattern": "^[a-z]{1,3}$"}, {"enum": [1, "one", None]}, BOOLEAN]
    for first, second in itertools.combinations(values, 2):
        yield obj({"first": first, "second": second})
        yield array({"anyOf": [first, obj({"wrapped": second})]}, 1, 2)
    for value in values:
        yield obj({"deep": obj({"deeper": obj({"deepest": value})})})


def all_schemas():
    kinds = (mixed, flat, arrays, enums, numbers, strings, nested, references, unions, open_objects)
    return [schema for kind in kinds for schema in kind()]
