"""Makes the parameters of a flow from a configuration class, so that each is declared once."""

import inspect
from collections.abc import Callable
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, GetJsonSchemaHandler
from pydantic.fields import FieldInfo
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

F = TypeVar("F", bound=Callable[..., Any])


def parameters_of(config: type[BaseModel]) -> Callable[[F], F]:
    """Decorator for a function that takes `**settings`: the fields of `config` become its parameters.

    The function gets their names, types, limits and defaults as its signature, and their descriptions as the section
    `Args:` of its docstring. Prefect validates a run's values against these, and the UI builds its form from them. A
    field that is itself a configuration class becomes a box of the form.
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
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)


class _Box:
    """Annotation that gives each field of a box its position and, as its title, the name that `--set` and YAML use.

    The UI sorts fields by `position`. Without it, a server on PostgreSQL (JSONB) would lose their order.
    """

    @classmethod
    def __get_pydantic_json_schema__(cls, core_schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        schema = handler(core_schema)
        for position, (name, field) in enumerate(handler.resolve_ref_schema(schema)["properties"].items()):
            field |= {"title": name, "position": position}
        return schema
