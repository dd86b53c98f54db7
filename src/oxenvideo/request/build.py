"""Build a checked VideoRequest from the keyword arguments of ``submit``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from oxenvideo.catalog import media_parameters, schema, validation
from oxenvideo.catalog.catalog import Catalog, Model
from oxenvideo.errors import InvalidRequest
from oxenvideo.request.request import TARGETS, VideoRequest
from oxenvideo.request.shots import from_values


class Built(NamedTuple):
    """A checked request, and the warnings about it."""

    request: VideoRequest
    warnings: tuple[str, ...] = ()


def build(
    prompt: str | None = None,
    *,
    model: str,
    catalog: Catalog | None = None,
    count: int = 1,
    image: Any = None,
    images: Sequence[Any] = (),
    start_image: Any = None,
    end_image: Any = None,
    video: Any = None,
    videos: Sequence[Any] = (),
    audio_ref: Any = None,
    elements: Sequence[Any] = (),
    shots: Sequence[Any] | None = None,
    repo: str | None = None,
    namespace: str | None = None,
    response_format: str | None = None,
    check: bool = True,
    **parameters: Any,
) -> Built:
    """Build a request, place the media in the model's own parameters, and check it against the catalog.

    Media may be a URL, a path, bytes, a PIL image, a NumPy array, a matplotlib figure or a Generation; ``image``,
    ``video`` and ``audio_ref`` also take a list of them. ``elements`` are images, or lists of a front and other views;
    ``shots`` are texts, ``(text, seconds)`` pairs or dictionaries; ``repo`` is "namespace/name[/directory]". Every other
    keyword is a parameter of the model. A keyword that is None counts as not given, and so does a blank prompt.

    Raises UnknownModel and InvalidRequest. ``check=False`` skips the checks, and without a catalog only the API's own
    rules are checked.
    """
    known = _model(model, catalog, check)
    given = {name: value for name, value in parameters.items() if value is not None}
    fields = _fields(given, count, repo, namespace, response_format)
    validation.check_count(fields["count"])
    if prompt is not None and prompt.strip():
        given["prompt"] = prompt
    if shots is not None:
        given["multi_prompt"] = from_values(shots)
    given = media_parameters.coerce(known, given)
    placed = media_parameters.place(
        known,
        images=[*_listed(image), *images],
        start_image=start_image,
        end_image=end_image,
        videos=[*_listed(video), *videos],
        audios=_listed(audio_ref),
        elements=elements,
        catalog=catalog,
    )
    twice = sorted(placed.keys() & given.keys())
    if twice:
        raise InvalidRequest(f"{twice[0]} is given twice: by its own name, and by a media option.")
    request = VideoRequest(known.id, _ordered(known, given | placed), **fields)
    return Built(request, tuple(validation.check(known, request.parameters, request.count)) if check else ())


def coerce_text(model: Model | None, name: str, text: str) -> Any:
    """The value of an option's text, by the model's schema: ``"5"`` is 5 for a whole number.

    For an unknown parameter, text that is JSON is its value, and other text is itself. Raises InvalidRequest if the
    text is not of the parameter's type.
    """
    return schema.from_text(model.parameters.get(name, {}) if model is not None else {}, name, text)


def _model(model: str, catalog: Catalog | None, check: bool) -> Model:
    if catalog is None or not check:
        return (catalog or Catalog()).get(model, Model(model))
    return catalog.get(model)


def _fields(
    given: dict[str, Any], count: int, repo: str | None, namespace: str | None, response_format: str | None
) -> dict[str, Any]:
    """The fields of the request other than the model's parameters; the API's own names for them are accepted too."""
    fields = {name: given.pop(name) for name in TARGETS if name in given}
    if namespace is not None:
        fields["target_namespace"] = namespace
    if repo is not None:
        parts = [part for part in repo.strip("/").split("/") if part]
        if len(parts) < 2:
            raise InvalidRequest(f"repo {repo!r} names no repository: use namespace/name or namespace/name/directory.")
        fields |= {"target_namespace": parts[0], "target_repo": parts[1]}
        if len(parts) > 2:
            fields["target_directory"] = "/".join(parts[2:])
    if response_format not in {None, "url", "b64_json"}:
        raise InvalidRequest(f"response_format {response_format!r} is not allowed: use url or b64_json.")
    return fields | {"count": given.pop("num_generations", count), "response_format": response_format}


def _ordered(model: Model, parameters: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters in the schema's order: the prompt or the shots first, unknown parameters last."""
    order = ["prompt", "multi_prompt", *model.parameters]
    known = {name: parameters[name] for name in order if name in parameters}
    return known | {name: value for name, value in parameters.items() if name not in known}


def _listed(value: Any) -> list[Any]:
    if value is None:
        return []
    return list(value) if isinstance(value, (list, tuple)) else [value]
