"""Build a checked VideoRequest from the keyword arguments of ``submit``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from oxenvideo.catalog import media_parameters, validation
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
    model: str | Model,
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
    if not isinstance(model, Model):
        model = catalog.get(model) if catalog is not None and check else (catalog or Catalog()).get(model, Model(model))
    given = {name: value for name, value in parameters.items() if value is not None}
    fields = _fields(given, count, repo, namespace, response_format)
    if prompt is not None and prompt.strip():
        given["prompt"] = prompt
    if shots is not None:
        given["multi_prompt"] = from_values(shots)
    images, videos, audios = [*_listed(image), *images], [*_listed(video), *videos], _listed(audio_ref)
    given = media_parameters.coerce(model, given)
    if images or videos or audios or elements or start_image is not None or end_image is not None:
        placed = media_parameters.place(
            model,
            images=images,
            start_image=start_image,
            end_image=end_image,
            videos=videos,
            audios=audios,
            elements=elements,
            catalog=catalog,
        )
        if twice := sorted(placed.keys() & given.keys()):
            raise InvalidRequest(f"{twice[0]} is given twice: by its own name, and by a media option.")
        given |= placed
    # In the schema's order: the prompt or the shots first, unknown parameters last.
    order = ["prompt", "multi_prompt", *model.parameters]
    known = {name: given[name] for name in order if name in given}
    request = VideoRequest(model.id, known | given, **fields)
    if check:
        return Built(request, tuple(validation.check(model, request.parameters, request.count)))
    validation.check_count(request.count)
    return Built(request)


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


def _listed(value: Any) -> list[Any]:
    if value is None:
        return []
    return list(value) if isinstance(value, (list, tuple)) else [value]
