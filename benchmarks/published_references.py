"""Steps with published packages that have parts in C, C++, Cython or Rust: whose reference counts drift?

See docs/verdicts.md for the versions, and for what was found. A scenario whose package is not installed is an error of
its own, so choose by `-k`. What is passed, and what comes back, outlives the calls on purpose.
"""

from __future__ import annotations

import contextlib
import datetime
import decimal
import io
from collections.abc import Callable, Iterator
from typing import Any

from leakcheck import scenario

Steps = Iterator[Callable[[], Any]]


class Own:
    """A value that no package knows."""

    def __init__(self, value: int = 1) -> None:
        self.value = value


OWN, ZONE = Own(), datetime.timezone(datetime.timedelta(hours=3))
MOMENT = datetime.datetime(2026, 1, 1, tzinfo=ZONE)
DOCUMENT = {"a": [1, 2.5, None, True], "text": "x" * 40, "nested": {"key": ("y", "z")}}


def plain(value: Any) -> Any:
    """What an encoder asks for a value that it does not know."""
    return value.value if isinstance(value, Own) else str(value)


def fails(*_: Any) -> Any:
    """A callback of the user's that raises."""
    raise LookupError


@scenario
def numpy_arrays() -> Steps:
    import numpy as np

    kind = np.dtype([("a", "i4"), ("b", "f8")])
    rows, objects = np.zeros(10, kind), np.array([OWN, None, "x"], object)

    def step() -> Any:
        np.asarray(rows["a"], dtype=np.dtype("float64")).sum()
        objects.copy().take([0, 1])
        np.unique(np.array(["b", "a", "b"])).astype(object)
        np.frompyfunc(plain, 1, 1)(objects)
        np.array([MOMENT.replace(tzinfo=None)], "datetime64[us]").astype(object)
        np.einsum("ij,jk", np.eye(3), np.eye(3))
        np.lexsort((rows["b"], rows["a"]))
        with contextlib.suppress(TypeError):
            np.add(rows, rows)
        with contextlib.suppress(LookupError):
            np.frompyfunc(fails, 1, 1)(objects)
        return np.random.default_rng(1).permutation(objects).dtype

    yield step


@scenario
def lxml_documents() -> Any:
    from lxml import etree

    tree = etree.fromstring("<a xmlns:p='urn:p' x='1'><b>t</b><p:c/></a>", etree.XMLParser(remove_blank_text=True))
    etree.XPath("//b[. = $v]")(tree, v="t")
    etree.XSLT(etree.XML("<s:stylesheet version='1.0' xmlns:s='http://www.w3.org/1999/XSL/Transform'/>"))(tree)
    with contextlib.suppress(etree.XMLSyntaxError):
        etree.fromstring("<a>")
    with contextlib.suppress(LookupError):
        tree.xpath("f(.)", extensions={(None, "f"): fails})
    tree.set("x", "2")
    tree.append(etree.Comment("c"))
    return etree.tostring(tree, encoding="unicode")


@scenario
def orjson_codec() -> Any:
    import orjson

    text = orjson.dumps({**DOCUMENT, "own": OWN, "at": MOMENT}, default=plain, option=orjson.OPT_SORT_KEYS)
    with contextlib.suppress(orjson.JSONEncodeError):
        orjson.dumps({"own": OWN}, default=fails)
    with contextlib.suppress(orjson.JSONDecodeError):
        orjson.loads(b"{")
    return orjson.loads(text)


@scenario
def msgspec_codec() -> Steps:
    import msgspec

    row = msgspec.defstruct("Row", [("a", int), ("b", list[str], msgspec.field(default_factory=list))])
    encoder, decoder = msgspec.json.Encoder(enc_hook=plain), msgspec.json.Decoder(row)

    def step() -> Any:
        encoder.encode({"own": OWN, "at": MOMENT, "amount": decimal.Decimal("1.5")})
        msgspec.msgpack.decode(msgspec.msgpack.encode(DOCUMENT))
        with contextlib.suppress(msgspec.ValidationError):
            decoder.decode(b'{"a": "x"}')
        with contextlib.suppress(LookupError):
            msgspec.to_builtins({"own": OWN}, enc_hook=fails)
        return msgspec.structs.replace(decoder.decode(b'{"a": 1, "b": ["x"]}'), a=2)

    yield step


@scenario
def pydantic_models() -> Steps:
    import pydantic

    class Model(pydantic.BaseModel):
        a: int
        b: list[str] = []
        at: datetime.datetime = MOMENT

    adapter = pydantic.TypeAdapter(dict[str, Model])

    def step() -> Any:
        model = Model.model_validate_json('{"a": "1", "b": ["x"]}')
        adapter.validate_python({"x": model})
        with contextlib.suppress(pydantic.ValidationError):
            Model(a=OWN)
        model.model_copy(update={"a": 2}).model_dump_json()
        return model.model_dump(mode="json")

    yield step


@scenario
def pillow_images() -> Any:
    from PIL import Image, ImageDraw, ImageFilter

    with Image.new("RGB", (16, 16), "red") as image:
        ImageDraw.Draw(image).line((0, 0, 9, 9), fill="blue")
        image.filter(ImageFilter.BLUR).convert("P").getpalette()
        image.getcolors()
        image.putpixel((1, 1), (1, 2, 3))
        with contextlib.suppress(Exception):
            image.putpixel((99, 99), OWN)
        image.save(file := io.BytesIO(), "PNG")
        with Image.open(file) as again:
            return again.getpixel((1, 1))


@scenario
def regex_matching() -> Any:
    import regex

    pattern = regex.compile(r"(?<w>\w+)\s(?&w)")
    pattern.sub(lambda found: found["w"], "one two three")
    with contextlib.suppress(LookupError):
        pattern.sub(fails, "one two")
    with contextlib.suppress(regex.error):
        regex.compile("(")
    return pattern.fullmatch("one two").capturesdict()


@scenario
def yaml_documents() -> Any:
    import yaml

    text = yaml.dump(DOCUMENT, Dumper=yaml.CSafeDumper)
    with contextlib.suppress(yaml.YAMLError):
        yaml.load("{", Loader=yaml.CSafeLoader)
    with contextlib.suppress(yaml.YAMLError):
        yaml.dump(OWN, Dumper=yaml.CSafeDumper)
    return yaml.load(text, Loader=yaml.CSafeLoader)


@scenario
def ujson_codec() -> Any:
    import ujson

    text = ujson.dumps({**DOCUMENT, "own": OWN}, default=plain)
    with contextlib.suppress(LookupError):
        ujson.dumps({"own": OWN}, default=fails)
    with contextlib.suppress(ValueError):
        ujson.loads("{")
    return ujson.loads(text)


@scenario
def multidict_headers() -> Any:
    import multidict

    headers = multidict.CIMultiDict([("A", OWN), ("b", 1)])
    headers.extend(a=2)
    headers.getall("a")
    with contextlib.suppress(KeyError):
        headers["c"]
    with contextlib.suppress(TypeError):
        headers.add(OWN, 1)
    return multidict.CIMultiDictProxy(headers).copy().popitem()


@scenario
def kiwisolver_constraints() -> Any:
    import kiwisolver

    one, other = kiwisolver.Variable("one", OWN), kiwisolver.Variable("other")
    solver = kiwisolver.Solver()
    solver.addConstraint((one + 2 * other >= 3) | "weak")
    with contextlib.suppress(TypeError):
        one + OWN
    solver.updateVariables()
    return one.context()


@scenario
def bitarray_bits() -> Any:
    import bitarray

    bits = bitarray.bitarray("1010")
    bits.extend([1, 0])
    bits.encode({OWN: bitarray.bitarray("1")}, [OWN])
    with contextlib.suppress(ValueError):
        bits.index(2)
    return bits.decode({"x": bitarray.bitarray("1"), "y": bitarray.bitarray("0")})


@scenario
def cryptography_hashes() -> Any:
    from cryptography.fernet import Fernet, InvalidToken

    fernet = Fernet(Fernet.generate_key())
    with contextlib.suppress(InvalidToken):
        fernet.decrypt(b"x" * 100)
    return fernet.decrypt(fernet.encrypt(b"data"))
