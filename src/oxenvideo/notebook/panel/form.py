"""The form: a model and the fields of its parameters, drawn in the browser from plain JSON."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from oxenvideo.catalog.catalog import Model
from oxenvideo.catalog.pricing import DEFAULT_DURATION
from oxenvideo.errors import InvalidRequest, OxenVideoError
from oxenvideo.jobs.batch import Batch
from oxenvideo.jobs.generation import Generation
from oxenvideo.notebook.live_widget import script
from oxenvideo.notebook.panel import labels
from oxenvideo.notebook.panel.fields import Field
from oxenvideo.notebook.panel.form_state import (
    NOTHING,
    FormState,
    ValidationResult,
    field_names,
    media_parameters_of,
    parameter_for,
    takes_prompt,
    takes_shots,
    validate,
)
from oxenvideo.notebook.panel.media_input import MediaInput
from oxenvideo.notebook.panel.widget import HERE, PanelWidget
from oxenvideo.request.request import VideoRequest
from oxenvideo.session import Session

MAX_COUNT = 999  # videos that one press of Generate may ask for
REPEAT_AFTER = 1.5  # seconds for which a second press with the same request is ignored

_OTHER = "other parameters"  # the field for parameters that the schema does not list
_RESERVED = {"model", "prompt", "multi_prompt", "num_generations"}
_RECENT = 4  # models that are listed first
_MAX_SHOT_SECONDS = 60  # if the model's schema sets no limit


class Form(PanelWidget):
    """The form's widget. ``state`` is what it holds."""

    _esm = script(HERE / "form.js")
    _css = HERE / "panel.css"

    def __init__(self, session: Session, variables: Callable[[], Mapping[str, Any]], names: dict[str, str]) -> None:
        self._session = session
        self._media = MediaInput(variables, session.settings.data_dir / "media", names)
        self._media_notes: dict[str, tuple[str, str]] = {}
        self._submitted: tuple[VideoRequest, float] | None = None
        self.state = FormState(self._model(session.settings.model))
        super().__init__()

    @property
    def validation(self) -> ValidationResult:
        """The request as it stands, and what is wrong with it."""
        return validate(self.state)

    def load(self, request: VideoRequest) -> None:
        """Fill the form with a request."""
        self.state = FormState.from_request(request, self._model(request.model))
        self.state.count = min(request.count, MAX_COUNT)
        self._send_all()

    def clear(self) -> None:
        """Empty the form; the model and the number of videos stay."""
        self.state = FormState(self.state.model, count=self.state.count)
        self._send_all()

    def pick(self, model_id: str) -> None:
        """Change the model. Raises UnknownModel."""
        model = self._session.catalog.get(model_id)
        if model.id != self.state.model.id:
            self.state.change_model(model)
            self._send_all()

    def put_first_frame(self, picture: Any, name: str) -> None:
        """Use an image as the first frame. Raises InvalidRequest if the model takes no image."""
        parameter = parameter_for(self.state.model, "image")
        if parameter is None:
            raise InvalidRequest(f"{self.state.model.display_name or self.state.model.id} takes no image.")
        note = self._media.put(self.state, parameter, picture, name)
        self._media_notes = {parameter.name: (note, "")}
        self._send_changes(media=self._described_media())
        self.focus(parameter.name)

    def model_with_image(self) -> Model | None:
        """The relative of the present model that takes an image; None if there is none."""
        own = self.state.model
        candidates = [m for m in self._session.catalog.values() if parameter_for(m, "image") is not None]
        for text, image in (("text-to-video", "image-to-video"), ("t2v", "i2v")):
            for model in candidates:
                if model.id == own.id.replace(text, image):
                    return model
        related = [m for m in candidates if labels.provider_of(m) == labels.provider_of(own)]
        return next(iter(related or candidates), None)

    def focus(self, name: str) -> None:
        """Scroll a parameter's field into view and give it the focus."""
        self.send({"is": "focus", "name": name})

    def submit(self) -> Batch:
        """Submit the request and return at once. Raises InvalidRequest with the first problem."""
        result = self.validation
        if result.first is not None:
            raise InvalidRequest(result.first)
        return self._session.submit_batch([result.request])

    # What a page shows

    def snapshot(self) -> dict[str, Any]:
        """The whole form."""
        state, model = self.state, self.state.model
        values = {name: field.raw(state.given.get(name, NOTHING)) for name, field in self._fields.items()}
        values["prompt"] = state.given.get("prompt", "")
        values[_OTHER] = json.dumps(state.extra, default=str) if state.extra else ""
        facts = [labels.rate_of(model) or "price unknown"]
        facts += [f"input: {', '.join(model.inputs)}"] if model.inputs else []
        seconds = model.parameters.get("multi_prompt", {}).get("items", {}).get("properties", {}).get("duration", {})
        return {
            "model": {
                "id": model.id,
                "name": model.display_name or model.id,
                "summary": model.summary,
                "facts": " · ".join(facts),
            },
            "prompt": takes_prompt(model) and not state.in_shots,
            "styles": takes_shots(model),
            "shots": state.shots if state.in_shots else None,
            "seconds": [seconds.get("minimum", 1), seconds.get("maximum", _MAX_SHOT_SECONDS), DEFAULT_DURATION],
            "fields": [field.described for field in self._fields.values()],
            "values": {name: raw for name, raw in values.items() if raw is not None},
            "media": self._described_media(),
            "count": state.count,
            "target": "/".join(state.targets.values()),
            **self._checked(),
        }

    def _checked(self) -> dict[str, Any]:
        """What follows from the values: problems, warnings and the price."""
        result = self.validation
        return {
            "problems": {
                name: [text, "missing" if name in result.missing else "wrong"] for name, text in result.problems.items()
            },
            "warnings": result.warnings,
            "price": labels.price_of(self._session.estimate(result.request), local=self._session.target.is_local),
        }

    @property
    def _fields(self) -> dict[str, Field]:
        model = self.state.model
        first, more = field_names(model)
        fields = [
            Field(name, model.parameters[name], required=name in model.required, more=name in more)
            for name in (*first, *more)
        ]
        other = {"type": "object", "description": "parameters that the schema does not list"}
        return {field.name: field for field in (*fields, Field(_OTHER, other, more=True))}

    def _described_media(self) -> list[dict[str, Any]]:
        return self._media.described(self.state, self._media_notes)

    def _send_all(self) -> None:
        self._media_notes = {}
        self.update(**self.snapshot())

    def _send_changes(self, **more: Any) -> None:
        self.update(**self._checked(), **more)

    def report(self, error: str) -> None:
        """Show an error below the Generate button."""
        self.send({"is": "said", "text": error, "tone": "bad"})

    # What the user does

    def receive(self, content: Mapping[str, Any], buffers: Sequence[Any]) -> None:
        """Do what a message from the form asks for."""
        match content.get("do"):
            case "hello":
                self.update(**self.snapshot())
            case "set":
                self._set(str(content["name"]), content["value"])
            case "shots":
                self.state.shots = [dict(shot) for shot in content["shots"]]
                self._send_changes()
            case "style":
                self._set_style(in_shots=content["style"] == "shots")
            case "models":
                self.update(models=self._listed_models())
            case "pick":
                self.pick(str(content["id"]))
            case "name" | "upload" | "remove":
                self._change_media(content, buffers)
            case "clear":
                self.clear()
            case "generate":
                self._generate_pressed()

    def _set(self, name: str, raw: Any) -> None:
        state, fields = self.state, self._fields
        try:
            if name == "prompt":
                state.give(name, str(raw).strip() or NOTHING)
            elif name == "count":
                state.count = max(1, min(MAX_COUNT, int(raw)))
            elif name == _OTHER:
                state.extra = self._read_extra(fields[name].value(raw))
                state.unreadable.pop(name, None)
            elif name in fields:
                state.give(name, fields[name].value(raw))
        except InvalidRequest as error:
            state.give(name, NOTHING)
            state.unreadable[name] = str(error)
        self._send_changes()

    def _read_extra(self, value: Any) -> dict[str, Any]:
        extra = {} if value is NOTHING else dict(value)
        for name in extra:
            if name in self.state.model.parameters or name in _RESERVED:
                raise InvalidRequest(f"{name} has its own field: set it there.")
        return extra

    def _set_style(self, *, in_shots: bool) -> None:
        self.state.in_shots = in_shots
        if in_shots and not self.state.shots:
            self.state.shots = [{"prompt": self.state.given.get("prompt", "")}]
        self._send_all()

    def _change_media(self, content: Mapping[str, Any], buffers: Sequence[Any]) -> None:
        found = [p for p in media_parameters_of(self.state.model) if p.name == content.get("parameter")]
        if not found:
            return  # a parameter of a model that was changed meanwhile
        parameter, note = found[0], ("", "")
        try:
            match content["do"]:
                case "name":
                    note = (self._media.put_named(self.state, parameter, str(content["text"]).strip()), "")
                case "upload":
                    note = (self._media.receive(self.state, parameter, content, buffers), "")
                    if not content.get("last"):
                        return
                case "remove":
                    self.state.remove(parameter, int(content["index"]))
        except OxenVideoError as error:
            note = (str(error), "wrong")
        self._media_notes = {**self._media_notes, parameter.name: note}
        self._send_changes(media=self._described_media())

    def _listed_models(self) -> list[dict[str, Any]]:
        """All models for the list to choose from; ``recent`` is set for those that were used last."""
        used = [self.state.model.id, *(g.request.model for g in reversed(self._session.generations))]
        recent = list(dict.fromkeys(used))[:_RECENT]
        return [
            {
                "id": model.id,
                "name": model.display_name or model.id,
                "rate": labels.rate_of(model) or "price unknown",
                "inputs": model.inputs,
                "provider": labels.provider_of(model),
                "text": f"{model.id} {model.display_name} {model.summary} {labels.provider_of(model)}".lower(),
                "recent": recent.index(model.id) if model.id in recent else None,
            }
            for model in self._session.catalog.search()
        ]

    def _generate_pressed(self) -> None:
        problems = self.validation.problems
        if problems:
            self.report(next(iter(problems.values())))
            self.focus(next(iter(problems)))
            return
        request, now = self.state.request, time.monotonic()
        if self._submitted is not None and self._submitted[0] == request and now - self._submitted[1] < REPEAT_AFTER:
            return
        batch = self.submit()
        self._submitted = (request, time.monotonic())
        text = "1 video submitted." if len(batch) == 1 else f"{len(batch)} videos submitted."
        self.send({"is": "said", "text": text, "tone": "good"})

        def ended(_: Generation) -> None:
            if all(generation.done for generation in batch):
                self.send({"is": "unsaid", "text": text})

        for generation in batch:
            generation.on_change(ended)

    def _model(self, model_id: str) -> Model:
        return self._session.catalog.get(model_id, Model(model_id, model_id))
