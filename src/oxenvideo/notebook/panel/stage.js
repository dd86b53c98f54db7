// The stage: one video large, or two side by side, played in step by one set of controls.

const NEAR = 0.03; // seconds apart that nobody sees
const FAR = 0.3; // seconds apart, above which a jump is better than a change of speed
const KEPT = 12; // videos that are kept in the browser's memory

// One for each widget: the files that have arrived, and those on their way.
const makeFiles = (model) => {
  const files = { urls: new Map(), parts: new Map(), waiting: new Map() };
  files.fetch = (key, told) => {
    if (files.urls.has(key)) return told({ url: files.urls.get(key) });
    files.waiting.set(key, [...(files.waiting.get(key) || []), told]);
    if (files.waiting.get(key).length === 1) model.send({ do: "video", key });
  };
  const tell = (key, news) => (files.waiting.get(key) || []).forEach((told) => told(news));
  files.hear = (content, buffers) => {
    const { key } = content;
    if (content.is === "gone") {
      tell(key, { error: content.why });
      files.waiting.delete(key);
    } else if (content.is === "part") {
      const parts = files.parts.get(key) || [];
      parts.push(buffers[0]);
      files.parts.set(key, parts);
      if (content.at < content.size) return tell(key, { share: content.at / content.size, size: content.size });
      files.parts.delete(key);
      files.urls.set(key, URL.createObjectURL(new Blob(parts, { type: content.type })));
      tell(key, { url: files.urls.get(key) });
      files.waiting.delete(key);
      for (const old of [...files.urls.keys()].slice(0, -KEPT)) {
        URL.revokeObjectURL(files.urls.get(old));
        files.urls.delete(old);
      }
    }
  };
  return files;
};

const makeClip = (model, files, clip, { alone }) => {
  const about = clip.title || clip.prompt || clip.model;
  const video = h("video", { class: "oxv-video", playsinline: true, preload: "auto", loop: alone, controls: alone, "aria-label": `Video: ${about}` });
  const line = h("div", { class: "oxv-faint", role: "status" }, "Loading …");
  const get = h("a", { class: "oxv-btn", download: clip.name, hidden: true, title: "To this browser's downloads" }, "Download");
  files.fetch(clip.key, ({ url, share, size, error }) => {
    if (share) setText(line, `${megabytes(share * size)} of ${megabytes(size)}`);
    if (error) setText(line, error);
    if (!url) return;
    setText(line, clip.file);
    video.src = get.href = url;
    show(get, true);
  });
  const name = h("input", { type: "text", value: clip.file.replace(/(\.\w+)$/, "-copy$1"), "aria-label": "Save as", onkeydown: (event) => event.key === "Enter" && save() });
  const save = () => { model.send({ do: "save", key: clip.key, to: name.value }); show(saving, false); };
  const saving = h("div", { class: "oxv-bar-row", hidden: true }, name, button("Save", save));
  const act = (label, what) => button(label, () => model.send({ do: what, key: clip.key }), { "aria-label": `${label}: ${about}` });
  const note = h("div", { class: "oxv-clip", "data-key": clip.key }, h("div", { class: "oxv-cap", title: clip.prompt }, clip.prompt || clip.model),
    h("div", { class: "oxv-faint" }, [clip.model, clip.details].filter(Boolean).join(" · ")), line,
    h("div", { class: "oxv-acts" }, act("Use last frame", "frame"), act("Reuse settings", "use"), act("Show as code", "code"),
      button("Save as …", () => { show(saving, saving.hidden); if (!saving.hidden) name.focus(); }), get), saving);
  return { note, video };
};

// Two videos as one: the longer leads, and the other follows by small changes of speed, so that neither stutters.
const inStep = (videos) => {
  const [one, two] = videos;
  const lead = () => ((two.duration || 0) > (one.duration || 0) ? two : one);
  const other = () => (lead() === one ? two : one);
  const state = { playing: false, speed: 1, frame: 0 };
  const length = () => lead().duration || 0;
  const seek = (time) => videos.forEach((video) => { video.currentTime = Math.min(time, video.duration || 0); });
  const step = () => {
    if (!state.playing) return;
    const first = lead(), second = other();
    if (first.ended || first.currentTime >= length() - 0.001) { seek(0); videos.forEach((video) => video.play()); }
    else if (!second.ended && first.currentTime < (second.duration || 0) - 0.05) {
      const apart = first.currentTime - second.currentTime;
      if (Math.abs(apart) > FAR) second.currentTime = first.currentTime;
      second.playbackRate = state.speed * (Math.abs(apart) > NEAR ? Math.min(1.25, Math.max(0.8, 1 + apart)) : 1);
      if (second.paused) second.play();
    }
    state.frame = requestAnimationFrame(step);
  };
  const play = async () => {
    if (length() && lead().currentTime >= length() - 0.05) seek(0);
    other().currentTime = Math.min(lead().currentTime, other().duration || 0);
    state.playing = true;
    await Promise.all(videos.map((video) => video.play().catch(() => {})));
    state.frame = requestAnimationFrame(step);
  };
  const pause = () => {
    state.playing = false;
    cancelAnimationFrame(state.frame);
    videos.forEach((video) => video.pause());
    seek(lead().currentTime);
  };
  const speed = (value) => { state.speed = value; videos.forEach((video) => { video.playbackRate = value; }); };
  return { state, play, pause, seek, speed, length, time: () => lead().currentTime };
};

const makeControls = (videos) => {
  const both = inStep(videos);
  const draw = () => {
    setText(toggle, both.state.playing ? "Pause" : "Play");
    if (document.activeElement !== place || both.state.playing) place.value = both.time();
    place.max = both.length() || 1;
    setText(time, `${both.time().toFixed(1)} of ${both.length().toFixed(1)} s`);
  };
  const toggle = button("Play", () => { (both.state.playing ? both.pause() : both.play()); draw(); }, { class: "oxv-btn oxv-strong" });
  const place = h("input", { type: "range", min: 0, max: 1, step: 0.01, value: 0, "aria-label": "Place in both videos", oninput: () => both.seek(Number(place.value)) });
  const time = h("span", { class: "oxv-faint oxv-nowrap" });
  const speed = h("select", { "aria-label": "Speed", onchange: () => both.speed(Number(speed.value)) },
    ...[0.25, 0.5, 1, 2].map((value) => h("option", { value, selected: value === 1 }, `${value}×`)));
  const sound = h("select", { "aria-label": "Sound", onchange: () => videos.forEach((video, i) => { video.muted = sound.value !== String(i); }) },
    h("option", { value: "" }, "Sound off"), h("option", { value: "0" }, "Sound: left"), h("option", { value: "1" }, "Sound: right"));
  videos.forEach((video) => {
    video.muted = true;
    for (const event of ["timeupdate", "loadedmetadata", "seeked", "play", "pause"]) video.addEventListener(event, draw);
    video.addEventListener("click", () => toggle.click());
  });
  draw();
  return { element: h("div", { class: "oxv-controls" }, toggle, place, time, speed, sound), close: both.pause };
};

export default () => {
  let files;
  return {
    initialize({ model }) {
      files = makeFiles(model);
      const hear = (content, buffers) => files.hear(content, buffers);
      model.on("msg:custom", hear);
      return () => {
        model.off("msg:custom", hear);
        for (const url of files.urls.values()) URL.revokeObjectURL(url);
      };
    },
    render({ model, el }) {
      const stage = h("section", { class: "oxv-stage", "aria-label": "Open videos" });
      let controls = null;
      const draw = () => {
        controls?.close();
        controls = null;
        const clips = model.get("clips");
        show(stage, clips.length > 0);
        const two = clips.length > 1;
        const made = clips.map((clip) => makeClip(model, files, clip, { alone: !two }));
        const close = button("×", () => model.send({ do: "close" }), { class: "oxv-btn oxv-right", "aria-label": "Close" });
        if (two) controls = makeControls(made.map((one) => one.video));
        stage.replaceChildren(
          h("div", { class: "oxv-head" }, h("h3", {}, two ? "Side by side" : clips[0]?.title || "Open video"), close),
          h("div", { class: two ? "oxv-clips oxv-two" : "oxv-clips" }, ...made.map((one) => one.video)),
          ...(controls ? [controls.element] : []),
          h("div", { class: two ? "oxv-clips oxv-notes" : "oxv-clips" }, ...made.map((one) => one.note)));
        if (made.length) stage.scrollIntoView({ block: "nearest" });
      };
      model.on("change:clips", draw);
      draw();
      el.append(stage);
      return () => {
        controls?.close();
        model.off("change:clips", draw);
      };
    },
  };
};
