"""Recognising code that was written for Python 2, as many layers of Caffe's time were."""

from __future__ import annotations

import re

_HINT = (
    "This looks like Python 2, but Python 3 runs it: convert the file (2to3 does most of it), or "
    "correct the line by hand"
)

# What a line that Python 3 cannot parse looks like, and what to write instead.
_SYNTAX = (
    (r"^\s*print\b(?!\s*\()", "print(...)"),
    (r"^\s*exec\s+[\"'\w]", "exec(...)"),
    (r"^\s*except\s+.+,\s*\w+\s*:", "except X as error:"),
    (r"^\s*raise\s+\w+\s*,", "raise X(...)"),
    (r"<>", "!="),
    (r"\b(0[xX][0-9a-fA-F]+|\d+)[lL]\b", "whole numbers without L"),
    (r"\b0\d+\b", "octal numbers as 0o17"),
    (r"`[^`]+`", "repr(...)"),
    (r"\bur[\"']", "strings without u before r"),
)

# Names that are gone, and what has taken their place.
_MODULES = {
    "cPickle": "pickle",
    "cStringIO": "io",
    "StringIO": "io",
    "ConfigParser": "configparser",
    "Queue": "queue",
    "HTMLParser": "html.parser",
    "Tkinter": "tkinter",
    "SocketServer": "socketserver",
    "__builtin__": "builtins",
    "commands": "subprocess",
    "copy_reg": "copyreg",
    "thread": "_thread",
    "urllib2": "urllib.request",
    "urlparse": "urllib.parse",
    "xmlrpclib": "xmlrpc.client",
}
_BUILTINS = {
    "basestring": "str",
    "cmp": "(a > b) - (a < b)",
    "execfile": "exec(open(file).read())",
    "file": "open",
    "long": "int",
    "raw_input": "input",
    "reduce": "functools.reduce",
    "reload": "importlib.reload",
    "unichr": "chr",
    "unicode": "str",
    "xrange": "range",
}
_ATTRIBUTES = {
    "has_key": "key in d",
    "iteritems": "items()",
    "iterkeys": "keys()",
    "itervalues": "values()",
    "izip": "zip",
    "imap": "map",
    "ifilter": "filter",
    "maketrans": "str.maketrans",
    "maxint": "sys.maxsize",
}
_LISTS = re.compile(r"'(dict_keys|dict_values|dict_items|map|filter|zip|range|odict_keys)'")


def python2_hint(error: BaseException) -> str:
    """What to do about an exception that Python 2 code raises in Python 3; '' for any other."""
    instead = _instead(error)
    return f"{_HINT}: {instead}." if instead else ""


def _instead(error: BaseException) -> str:
    if isinstance(error, SyntaxError):
        line = error.text or ""
        known = (instead for form, instead in _SYNTAX if re.search(form, line))
        return next(known, "tabs or spaces, not both" if isinstance(error, TabError) else "")
    name = getattr(error, "name", None) or ""
    if isinstance(error, ModuleNotFoundError):
        return _MODULES.get(name, "")
    if isinstance(error, NameError):
        return _BUILTINS.get(name, "")
    text = str(error)
    if isinstance(error, AttributeError | ImportError):
        gone = next((old for old in _ATTRIBUTES if f"'{old}'" in text), "")
        return _ATTRIBUTES.get(gone, "")
    if isinstance(error, TypeError) and _LISTS.search(text):
        return "list(...) around it"
    if isinstance(error, TypeError) and "'float' object cannot be interpreted" in text:
        return "// for a division of whole numbers"
    if isinstance(error, UnicodeDecodeError) and error.encoding == "ascii":
        return "pickle.load(file, encoding='latin1')"
    return ""
