"""Options that name plug-ins, and the options that those bring: in a section of their own, or beside the name.

    discovery: {kind: mqtt, broker: ...}          ByKind: ``kind`` names the plug-in, all other keys are its own
    options: {mixer: clipped, clip: 0.5, ...}     OptionsBeside: keys of several plug-ins in one section
    model: {network: adapters, rank: 4, ...}

A plug-in is a pydantic model, whose fields are its options and whose methods do the work; or its module has such a
model called ``Options``.
"""

from collections.abc import Iterator, Mapping
from itertools import chain
from typing import Any, ClassVar, Self, TypeVar

from pydantic import (
    BaseModel,
    ConfigDict,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    ModelWrapValidatorHandler,
    ValidationError,
    model_validator,
)
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, ErrorDetails, InitErrorDetails, PydanticCustomError, core_schema

from parse_p2p.core import plugins
from parse_p2p.core.errors import ConfigError, nearest
from parse_p2p.core.plugins import PluginKind

Model = TypeVar("Model", bound=BaseModel)

SENTENCE = "sentence"
"""The type of an error whose message says everything: the value that was given is not put behind it."""


def sentence(said: str) -> PydanticCustomError:
    """What a validator raises to refuse its value with this sentence."""
    return PydanticCustomError(SENTENCE, "{said}", {"said": said})


def refused(key: str, said: str, *inner: int | str) -> ValidationError:
    """What a validator of a model raises to refuse one of its keys, or one inside of it, with this sentence."""
    details = InitErrorDetails(type=sentence(said), loc=(key, *inner), input=None)
    return ValidationError.from_exception_data(key, [details])


def unknown_key(key: str, known: Mapping[str, Any]) -> ValidationError:
    """What a validator of a model raises for a key that it does not have."""
    return refused(key, f"there is no such key here; {nearest(key, known)}")


class Named:
    """Marks a field that names a plug-in, as in ``mixer: Annotated[str, Named(MIXERS)]``.

    ``open`` is a word that leaves the choice to somebody else.
    """

    def __init__(self, kind: PluginKind, open: str = "") -> None:
        self.kind = kind
        self.open = open

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_after_validator_function(self._there, handler(source))

    def _there(self, name: str) -> str:
        if name != self.open:
            find(self.kind, name)
        return name


def find(kind: PluginKind, name: str) -> Any:
    """The plug-in of this name, for a validator: what ``plugins.load`` raises becomes an error of the field."""
    try:
        return plugins.load(kind, name)
    except ConfigError as error:
        raise sentence(str(error)) from None


class ByKind(BaseModel):
    """A section whose key ``kind`` names a plug-in, a class derived from this one, with all other keys.

    The class that says of which ``plugin_kind`` stands for any of them: it reads a mapping as its kind says.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    plugin_kind: ClassVar[PluginKind]

    kind: str

    @model_validator(mode="wrap")
    @classmethod
    def _as_its_kind(cls, given: Any, handler: ModelWrapValidatorHandler[Self]) -> Self:
        if not cls._stands_for_any() or not isinstance(given, Mapping):
            return handler(given)
        if "kind" not in given:
            raise sentence("the key 'kind' is missing")
        chosen: type[Self] = find(cls.plugin_kind, str(given["kind"]))
        if unknown := [key for key in given if key not in chosen.model_fields]:
            raise unknown_key(str(unknown[0]), chosen.model_fields)
        return chosen.model_validate(given)

    @classmethod
    def _stands_for_any(cls) -> bool:
        return "plugin_kind" in cls.__dict__

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        """Of the class that stands for any: one of those that the package ships."""
        if not cls._stands_for_any():
            return handler(schema)
        shipped = {name: plugins.load(cls.plugin_kind, name) for name in plugins.known(cls.plugin_kind)}
        members = {name: handler.resolve_ref_schema(handler(m.__pydantic_core_schema__)) for name, m in shipped.items()}
        kinds = {name: member["properties"] | {"kind": {"const": name}} for name, member in members.items()}
        return {"oneOf": [member | {"properties": kinds[name]} for name, member in members.items()]}


class OptionsBeside(BaseModel):
    """Options some of which name plug-ins (``Named``), whose own options stand beside them in the same section.

    A key of a plug-in that is not chosen may stand there too, so that a file can be tried with another by changing
    one word; it is checked all the same. Every option of a plug-in has a default.
    """

    model_config = ConfigDict(extra="allow", frozen=True)

    @model_validator(mode="after")
    def _read_beside(self) -> Self:
        given = self._beside
        chosen = [_options(mark.kind, name) for name, mark in self._named()]
        theirs = {key for model in chosen for key in model.model_fields}
        others = [model for model in _shipped(type(self)) if model not in chosen]
        values: dict[str, Any] = {}
        wrong: list[ErrorDetails] = []
        for model in (*others, *chosen):
            mine = given if model in chosen else {key: value for key, value in given.items() if key not in theirs}
            try:
                values |= _read(model, mine).model_dump()
            except ValidationError as error:
                values |= dict.fromkeys(model.model_fields)
                wrong += (each for each in error.errors() if each not in wrong)  # of several models, once
        unknown = [unknown_key(key, fields(type(self)) | values).errors() for key in given if key not in values]
        if unknown or wrong:
            raise ValidationError.from_exception_data(type(self).__name__, [*map(_again, [*chain(*unknown), *wrong])])
        given.update(values)
        return self

    def chosen(self, field: str) -> Any:
        """The plug-in that a field names, with its options."""
        return _read(plugins.load(dict(naming(type(self)))[field].kind, getattr(self, field)), self._beside)

    def read(self, model: type[Model]) -> Model:
        """The options of one plug-in among those that stand here."""
        return _read(model, self._beside)

    def _named(self) -> Iterator[tuple[str, Named]]:
        """The names that are given, but for those that leave the choice open."""
        for field, mark in naming(type(self)):
            if getattr(self, field) != mark.open:
                yield getattr(self, field), mark

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        """With the options of all that the package ships; any others where a plug-in is a module by its dotted name."""
        found = handler(schema)
        section = handler.resolve_ref_schema(found)
        for each in _shipped(cls):
            section["properties"] |= handler.resolve_ref_schema(handler(each.__pydantic_core_schema__))["properties"]
        dotted = [{"properties": {name: {"pattern": "[.:]"}}, "required": [name]} for name, _ in naming(cls)]
        section["anyOf"] = [{"propertyNames": {"enum": list(section["properties"])}}, *dotted]
        return found

    @property
    def _beside(self) -> dict[str, Any]:
        assert self.__pydantic_extra__ is not None  # since extra keys are allowed
        return self.__pydantic_extra__


def naming(model: type[BaseModel]) -> Iterator[tuple[str, Named]]:
    """The fields that name plug-ins, with their marks."""
    for name, field in model.model_fields.items():
        yield from ((name, mark) for mark in field.metadata if isinstance(mark, Named))


def fields(model: type[BaseModel]) -> dict[str, Any]:
    """The fields of a model, and behind each that names a plug-in those that the shipped ones bring beside it."""
    found: dict[str, Any] = {}
    kinds = dict(naming(model))
    for name, field in model.model_fields.items():
        found[name] = field
        if name in kinds:
            for each in _shipped_of(kinds[name].kind):
                found |= each.model_fields
    return found


def _shipped(model: type[BaseModel]) -> list[type[BaseModel]]:
    return [each for _, mark in naming(model) for each in _shipped_of(mark.kind)]


def _shipped_of(kind: PluginKind) -> list[type[BaseModel]]:
    return list(dict.fromkeys(_options(kind, name) for name in plugins.known(kind)))


def _again(error: ErrorDetails) -> InitErrorDetails:
    """An error of one model, to be told with those of others."""
    said = sentence(error["msg"]) if error["type"] == SENTENCE else error["type"]
    return InitErrorDetails(type=said, loc=error["loc"], input=error["input"], ctx=error.get("ctx", {}))


class Nothing(BaseModel):
    """The options of a plug-in that has none."""


def _options(kind: PluginKind, name: str) -> type[BaseModel]:
    """The model of a plug-in's options."""
    found = plugins.load(kind, name)
    if isinstance(found, type) and issubclass(found, BaseModel):
        return found
    return getattr(plugins.module(kind, name), "Options", Nothing)


def _read(model: type[Model], values: Mapping[str, Any]) -> Model:
    return model.model_validate({key: value for key, value in values.items() if key in model.model_fields})
