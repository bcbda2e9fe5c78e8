"""The parameters of a flow from a configuration class: names, defaults, limits and descriptions stand there alone."""

import inspect
from collections.abc import Callable
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, GetJsonSchemaHandler
from pydantic.fields import FieldInfo
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

F = TypeVar("F", bound=Callable[..., Any])


def parameters_of(config: type[BaseModel]) -> Callable[[F], F]:
    """Give a function that takes `**settings` the fields of `config` as its signature, and their text as its `Args:`.

    Prefect reads both: it checks the values of a run by them, and the UI makes its form of them. A field that is a
    configuration class itself is a box of the form.
    """

    def decorate(function: F) -> F:
        fields = config.model_fields
        parameters = [_parameter(name, field) for name, field in fields.items()]
        returned = inspect.signature(function).return_annotation
        function.__signature__ = inspect.Signature(parameters, return_annotation=returned)  # type: ignore[attr-defined]
        described = "\n".join(f"    {name}: {field.description}" for name, field in fields.items())
        function.__doc__ = f"{inspect.getdoc(function)}\n\nArgs:\n{described}"
        return function

    return decorate


def _parameter(name: str, field: FieldInfo) -> inspect.Parameter:
    annotation: Any = field.annotation
    if isinstance(field.default, BaseModel):
        annotation = Annotated[annotation, _Box]
    elif field.metadata:
        annotation = Annotated[(annotation, *field.metadata)]
    default = inspect.Parameter.empty if field.is_required() else field.default
    return inspect.Parameter(name, inspect.Parameter.POSITIONAL_OR_KEYWORD, default=default, annotation=annotation)


class _Box:
    """Keeps the fields of a box in the order of the class, under the names that all the other ways in use.

    The UI orders by `position` where there is one. Without, a PostgreSQL server loses the order.
    """

    @classmethod
    def __get_pydantic_json_schema__(cls, core_schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        schema = handler(core_schema)
        for position, (name, field) in enumerate(handler.resolve_ref_schema(schema)["properties"].items()):
            field |= {"title": name, "position": position}
        return schema
