"""Which names a C++ file defines for the whole program, and which are defined twice.

Two classes of one qualified name are one class to the linker, which keeps one copy of what both
have inline, whatever the other is. No compiler sees it: each file is right by itself.
"""

import re

TOKEN = re.compile(r"[A-Za-z_]\w*|::|->|\S")
# Comments and literals in one: which of them a quote or slash belongs to is decided by who begins.
NOT_CODE = re.compile(
    r'//[^\n]*|/\*.*?\*/|R"(\w*)\(.*?\)\1"|"(?:\\.|[^"\\\n])*"'
    r"|(?<![0-9A-Fa-f])'(?:\\.|[^'\\\n])+'", re.DOTALL)
DIRECTIVE = re.compile(r"^[ \t]*#(?:[^\n]*\\\n)*[^\n]*", re.MULTILINE)
TYPES = ("class", "struct", "union", "enum")


def blank(match):
    return re.sub(r"[^\n]", " ", match.group(0))


def tokens_of(lines):
    """(line number, token), without comments, literals and directives."""
    text = DIRECTIVE.sub(blank, NOT_CODE.sub(blank, "\n".join(lines)))
    for number, line in enumerate(text.split("\n"), 1):
        for match in TOKEN.finditer(line):
            yield number, match.group(0)


def without_template(statement):
    """The statement after its template<...>, if it has one."""
    while statement[:1] == ["template"]:
        depth = 0
        for at, token in enumerate(statement):
            depth += (token == "<") - (token == ">")
            if token == ">" and depth == 0:
                break
        statement = statement[at + 1:]
    return statement


def parameter_types(tokens):
    """The parameters up to the closing parenthesis, without their names and defaults."""
    parameters, depth = [[]], 0
    for token in tokens:
        depth += (token in "(<[{") - (token in ")>]}")
        if depth < 0:
            break
        if token == "," and depth == 0:
            parameters.append([])
        else:
            parameters[-1].append(token)
    types = []
    for parameter in parameters:
        parameter = parameter[:parameter.index("=")] if "=" in parameter else parameter
        named = len(parameter) > 1 and parameter[-1].isidentifier() and parameter[-2] != "::"
        types.append(" ".join(parameter[:-1] if named else parameter))
    return ", ".join(types)


def defined_name(statement, is_header):
    """What a statement before a "{" defines for every file; None: nothing that could collide."""
    is_template = statement[:1] == ["template"]
    statement = without_template(statement)
    if statement and statement[0] in TYPES:
        name = []
        for token in statement[1 + (statement[1:2] in (["class"], ["struct"])):]:
            if token in (":", "final"):
                break
            name.append(token)
        return "".join(name) or None
    if "(" not in statement or "static" in statement or "=" in statement[:statement.index("(")]:
        return None
    if not (is_header or is_template or {"inline", "constexpr"} & set(statement)):
        return None  # two of these do not link
    opening = statement.index("(")
    begin = opening - 1
    while begin > 1 and (statement[begin - 1] == "::" or statement[begin] == "::"):
        begin -= 1
    if "operator" in statement[:opening]:
        begin = statement.index("operator")
    return f"{''.join(statement[begin:opening])}({parameter_types(statement[opening + 1:])})"


def definitions(path, lines):
    """(line number, qualified name) of the classes and inline functions outside of classes and
    anonymous namespaces."""
    is_header = path.suffix in (".h", ".cuh")
    scopes, statement, parentheses = [], [], 0  # of a scope: a namespace's name, or None
    for number, token in tokens_of(lines):
        parentheses += (token == "(") - (token == ")")
        if token == "{":
            if None not in scopes and "namespace" in statement and "using" not in statement:
                name = "".join(statement[statement.index("namespace") + 1:])
                scopes.append(name or None)
            elif None not in scopes and statement == ["extern"]:
                scopes.append("")
            else:
                if None not in scopes and (name := defined_name(statement, is_header)):
                    yield number, "::".join(scope for scope in [*scopes, name] if scope)
                scopes.append(None)
            statement = []
        elif token == "}":
            if scopes:
                scopes.pop()
            statement = []
        elif token == ";" and parentheses == 0:
            statement = []
        else:
            statement.append(token)


def defined_twice(files):
    """(path, line number, what is wrong); `files` are (path, lines)."""
    first, found = {}, []
    for path, lines in files:
        for number, name in definitions(path, lines):
            other = first.setdefault(name, path)
            if other != path:
                found.append((path, number, f"{name} is defined in {other}, too"))
    return found
