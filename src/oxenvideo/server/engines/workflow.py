"""A ComfyUI workflow in API format: its parameters by node title, their schema, and the graph with values filled in."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from oxenvideo.server.engines.engine import ConfigurationError, ModelConfig

Info = Mapping[str, Mapping[str, Any]]
"""What `/object_info` says of each class."""

_RENAMED = {
    "positive": "prompt",
    "positive_prompt": "prompt",
    "negative": "negative_prompt",
    "noise_seed": "seed",
    "image": "input_image",
    "start_image": "start_image_url",
    "first_frame": "start_image_url",
    "end_image": "tail_image_url",
    "last_frame": "tail_image_url",
    "video": "input_video",
    "audio": "input_audio",
}
# Titles that mean parameters in any case and with spaces. Others must be written as in a request: `cfg_scale`.
_KNOWN = {*_RENAMED, *_RENAMED.values(), "seed", "width", "height", "frames", "num_frames", "length", "fps", "steps",
          "cfg", "denoise"}  # fmt: skip
_OUTPUTS = {"output", "output_video", "video_output"}
_VALUES = ("value", "text", "string", "prompt", "seed", "noise_seed")  # inputs that hold the value of a node
_MEDIA = {"Image": ("image", ("image",)), "Video": ("video", ("video", "file")), "Audio": ("audio", ("audio",))}
_NUMBERS = {"cfg", "denoise", "fps", "strength", "shift", "guidance"}  # may be written as integers, and are not
_SIDES = {"width", "height"}
_LARGEST = 2**53
_MAX_SEED = 2**63 - 1


@dataclass(frozen=True)
class Input:
    """The input of a node that a parameter sets. ``medium`` is `image`, `video` or `audio`, or None."""

    node: str
    name: str
    medium: str | None = None
    limits: Mapping[str, Any] = field(default_factory=dict)  # of the schema, from the configuration


class Workflow:
    """The workflow of a model. Raises ConfigurationError, in one sentence, if it cannot be used."""

    def __init__(self, model: ModelConfig) -> None:
        self._where = f"Model {model.id}"
        self.graph = self._read(model)
        self.parameters: dict[str, Input] = {}
        mapped = model.options.get("parameters", {})
        if not isinstance(mapped, Mapping):
            raise ConfigurationError(f"{self._where}: parameters must be a table such as {{ steps = '3.steps' }}.")
        self._find_titles(mapped)
        self._find_untitled_medium()
        for name, target in mapped.items():
            if target is not False:
                found = self._mapped(name, target)
                same = [n for n, each in self.parameters.items() if (each.node, each.name) == (found.node, found.name)]
                for other in same:
                    del self.parameters[other]
                self.parameters[name] = found

    def _read(self, model: ModelConfig) -> dict[str, dict[str, Any]]:
        path = model.path("workflow")
        if path is None:
            raise ConfigurationError(f"{self._where}: the option workflow is missing.")
        try:
            content = json.loads(path.read_text("utf-8"))
        except OSError as error:
            raise ConfigurationError(f"{self._where}: {path.name} cannot be read: {error.strerror}.") from None
        except ValueError:
            raise ConfigurationError(f"{self._where}: {path.name} is not JSON.") from None
        if isinstance(content, dict) and isinstance(content.get("nodes"), list):
            words = "is saved in the format of ComfyUI's editor. Export it with File > Export (API)."
            raise ConfigurationError(f"{self._where}: {path.name} {words}")
        if isinstance(content, dict) and isinstance(content.get("prompt"), dict):
            content = content["prompt"]
        is_graph = isinstance(content, dict) and content and all(map(_is_node, content.values()))
        if not is_graph:
            raise ConfigurationError(f"{self._where}: {path.name} is not a ComfyUI workflow in API format.")
        return dict(content)

    def title(self, node: str) -> str:
        """Return the title of a node, or its class."""
        title = (self.graph[node].get("_meta") or {}).get("title")
        return title if isinstance(title, str) and title else str(self.graph[node]["class_type"])

    def is_output(self, node: str) -> bool:
        """Return whether the title of a node marks it as the output."""
        return _name(self.title(node)) in _OUTPUTS

    def label(self, node: str) -> str:
        """Return how messages call a node."""
        return f"node {node} {self.title(node)!r}"

    def _find_titles(self, mapped: Mapping[str, Any]) -> None:
        for node in self.graph:
            name = _name(self.title(node))
            medium, inputs = self._medium(node)
            if name is None or name in _OUTPUTS:
                continue
            if medium is not None and not re.search(rf"{medium}(_url)?$|frame(_url)?$", name):
                name = f"{name}_{medium}"
            if name in mapped or _RENAMED.get(name, name) in mapped:
                continue
            found = self._literal(node, (*inputs, name, *_VALUES))
            if found is None:
                if name in _KNOWN and (linked := self._linked(node, (name, *_VALUES))):
                    raise ConfigurationError(
                        f"{self._where}: the input {linked!r} of {self.label(node)} is linked to another node. Give the"
                        f" title {name!r} to the node that holds the value, or set parameters.{name}."
                    )
                continue
            name = _RENAMED.get(name, name)
            if (other := self.parameters.get(name)) is not None:
                raise ConfigurationError(
                    f"{self._where}: the nodes {other.node} and {node} both have the title of the parameter {name!r}."
                    f" Rename one, or set parameters.{name}."
                )
            self.parameters[name] = Input(node, found, medium)

    def _find_untitled_medium(self) -> None:
        """Take a single loader of images or videos as the input, whatever its title."""
        for medium in ("image", "video"):
            loaders = [node for node in self.graph if self._medium(node)[0] == medium]
            if len(loaders) == 1 and not any(each.node == loaders[0] for each in self.parameters.values()):
                found = self._literal(loaders[0], self._medium(loaders[0])[1])
                if found is not None:
                    self.parameters.setdefault(f"input_{medium}", Input(loaders[0], found, medium))

    def _mapped(self, name: str, target: object) -> Input:
        where = f"{self._where}: parameters.{name}"
        limits = dict(target) if isinstance(target, Mapping) else {}
        text = limits.pop("input", None) if limits else target
        if not isinstance(text, str) or "." not in text:
            raise ConfigurationError(f"{where} must be 'NODE.INPUT', such as '3.steps'.")
        node, _, key = text.rpartition(".")
        titled = [each for each in self.graph if self.title(each) == node]
        if node not in self.graph and len(titled) != 1:
            words = "several nodes of the workflow have" if titled else "no node of the workflow has"
            raise ConfigurationError(f"{where}: {words} the id or title {node!r}.")
        node = node if node in self.graph else titled[0]
        inputs = self.graph[node]["inputs"]
        if key not in inputs:
            raise ConfigurationError(f"{where}: {self.label(node)} has no input {key!r}.")
        if isinstance(inputs[key], list):
            raise ConfigurationError(f"{where}: the input {key!r} of {self.label(node)} is linked to another node.")
        medium, keys = self._medium(node)
        return Input(node, key, medium if key in keys else None, limits)

    def _medium(self, node: str) -> tuple[str | None, tuple[str, ...]]:
        """Return the medium that a node loads, and the inputs that may name its file."""
        kind = str(self.graph[node]["class_type"])
        found = next((_MEDIA[word] for word in _MEDIA if word in kind), None) if "Load" in kind else None
        return found or (None, ())

    def _literal(self, node: str, names: tuple[str, ...]) -> str | None:
        """Return the first of these inputs that holds a value, else the only input that does."""
        literals = [key for key, value in self.graph[node]["inputs"].items() if not isinstance(value, list | dict)]
        only = literals[0] if len(literals) == 1 and not self._linked(node, names) else None
        return next((name for name in names if name in literals), only)

    def _linked(self, node: str, names: tuple[str, ...]) -> str | None:
        inputs = self.graph[node]["inputs"]
        return next((name for name in names if isinstance(inputs.get(name), list)), None)

    def schema(self, info: Info) -> dict[str, Any]:
        """Return the request schema. ``info`` is what is known of the classes, and may be empty."""
        properties = {name: self._property(name, each, info) for name, each in self.parameters.items()}
        first = [name for name in ("prompt", "negative_prompt") if name in properties]
        required = [name for name, each in self.parameters.items() if name == "prompt" or each.medium]
        ordered = {name: properties[name] for name in dict.fromkeys([*first, *properties])}
        return {"type": "object", "properties": ordered, "required": required, "additionalProperties": True}

    def _property(self, name: str, each: Input, info: Info) -> dict[str, Any]:
        described = {"description": f"Sets {each.name} of {self.label(each.node)} of the workflow"}
        value = self.graph[each.node]["inputs"][each.name]
        if each.medium:
            return {"type": "string", "format": "uri"} | described | dict(each.limits)
        if name == "prompt":
            return {"type": "string"} | described | dict(each.limits)
        if name == "seed":
            words = f"{described['description']}; each video has its own if it is not given"
            limits = {"minimum": 0, "maximum": _MAX_SEED} | dict(each.limits)
            return {"type": "integer", "description": words} | limits
        specs = list(self._specs(each, info))
        kind = _kind(name, value, specs)
        schema: dict[str, Any] = {"type": kind, "default": value} | described
        if kind in ("integer", "number"):
            schema |= _range(name, specs)
        elif choices := next((found for spec in specs if (found := _options(spec))), None):
            schema |= {"enum": choices} if value in choices else {}
        return schema | dict(each.limits)

    def _specs(self, each: Input, info: Info) -> Iterator[Any]:
        """Yield what the classes say of an input, and of the inputs that a primitive node is linked to."""
        yield from _spec(info, self.graph[each.node]["class_type"], each.name)
        if str(self.graph[each.node]["class_type"]).startswith("Primitive"):
            for node in self.graph.values():
                for key, value in node["inputs"].items():
                    if isinstance(value, list) and value[:1] == [each.node]:
                        yield from _spec(info, node["class_type"], key)

    def literals(self) -> Iterator[tuple[str, str, Any]]:
        """Yield each value (node, input, value) that no parameter sets."""
        settable = {(each.node, each.name) for each in self.parameters.values()}
        for node, content in self.graph.items():
            for key, value in content["inputs"].items():
                if not isinstance(value, list) and (node, key) not in settable:
                    yield node, key, value

    def filled(self, values: Mapping[str, Any], prefix: str) -> dict[str, Any]:
        """Return the graph with these values. Files are saved under ``prefix``, so that each job has files of its own."""
        graph = copy.deepcopy(self.graph)
        for name, value in values.items():
            each = self.parameters.get(name)
            # A list would be taken for a link.
            if each is not None and value is not None and not isinstance(value, list | dict):
                graph[each.node]["inputs"][each.name] = value
        for node in graph.values():
            if isinstance(node["inputs"].get("filename_prefix"), str):
                node["inputs"]["filename_prefix"] = prefix
        return graph


def _is_node(node: object) -> bool:
    return isinstance(node, dict) and isinstance(node.get("class_type"), str) and isinstance(node.get("inputs"), dict)


def _name(title: str) -> str | None:
    """Return the parameter that a title means, or None."""
    words = re.sub(r"[\s-]+", "_", title.strip())
    if words.lower() in _KNOWN:
        return words.lower()
    return words if re.fullmatch(r"[a-z][a-z0-9_]*", title.strip()) else None


def _spec(info: Info, kind: str, name: str) -> Iterator[Any]:
    groups = info.get(kind, {}).get("input") or {}
    yield from (group[name] for group in groups.values() if isinstance(group, Mapping) and name in group)


def _options(spec: Any) -> list[Any] | None:
    """Return the choices of an input, in either of the two spellings, or None if it has none."""
    if not isinstance(spec, list) or not spec:
        return None
    if isinstance(spec[0], list):
        return spec[0]
    options = spec[1].get("options") if len(spec) > 1 and isinstance(spec[1], Mapping) else None
    return options if spec[0] == "COMBO" and isinstance(options, list) else None


def options(info: Info, kind: str, name: str) -> list[Any] | None:
    """Return the choices of an input of a class, or None if it has none."""
    return next((found for spec in _spec(info, kind, name) if (found := _options(spec)) is not None), None)


def _kind(name: str, value: object, specs: list[Any]) -> str:
    if isinstance(value, bool):
        return "boolean"
    if not isinstance(value, int | float):
        return "string"
    named = {spec[0] for spec in specs if isinstance(spec, list) and spec and isinstance(spec[0], str)}
    if isinstance(value, float) or "FLOAT" in named or (not named and name in _NUMBERS):
        return "number"
    return "integer"


def _range(name: str, specs: list[Any]) -> dict[str, Any]:
    """Return the range that all specs allow. A side has an even number of pixels at least, because of H.264."""
    limits = [spec[1] for spec in specs if isinstance(spec, list) and len(spec) > 1 and isinstance(spec[1], Mapping)]

    def known(key: str) -> list[float]:
        found = [limit[key] for limit in limits if isinstance(limit.get(key), int | float)]
        return [value for value in found if not isinstance(value, bool) and abs(value) < _LARGEST]

    lowest, highest = known("min"), known("max")
    if name in _SIDES:
        lowest.append(16)
    elif name in ("frames", "num_frames", "length", "fps", "steps"):
        lowest.append(1)
    schema = {"minimum": max(lowest)} if lowest else {}
    if highest:
        schema["maximum"] = min(highest)
    if name in _SIDES:
        schema["multipleOf"] = max([2, *(step for step in known("step") if step % 2 == 0)])
    return schema
