// The board: running jobs, the gallery with its player, the whole account and the history, each drawn from rows of JSON.

const BUSY = "The kernel is busy with a cell. What you click here is kept and happens when the cell has ended; progress is shown meanwhile.";
const BUSY_AFTER = 1000; // ms without an answer, after which the kernel is called busy
const REPEAT_AFTER = 1500; // ms for which a pressed button ignores a second click
const SAID_FOR = 8000; // ms for which a confirmation is shown
const FILTER_FROM = 4; // jobs, from which number on filters are shown
const KEPT = 12; // videos that are kept in the browser's memory
const SHARED = 45; // characters with which all prompts of a batch begin, above which tiles leave them out
const HOVER = 250; // ms that the pointer must be on a tile before its video plays
const RUNNING = new Set(["waiting", "running"]);
const STATUSES = { "": "Any status", running: "Running", done: "Succeeded", ended: "Failed or cancelled", starred: "Starred" };

// Elements are made without HTML strings, so that no text is read as markup.
const h = (tag, props = {}, ...children) => {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(props)) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else made.setAttribute(name, value === true ? "" : value);
  }
  made.append(...children.filter((child) => child !== null && child !== undefined));
  return made;
};
const button = (label, onclick, props = {}) => h("button", { type: "button", class: "oxv-btn", onclick, ...props }, label);
const setText = (element, text) => { if (element.textContent !== text) element.textContent = text; };
const show = (element, when) => { element.hidden = !when; };
const newId = () => `oxv-${Math.random().toString(36).slice(2)}`;
const megabytes = (bytes) => `${(bytes / 1e6).toFixed(1)} MB`;

// Keeps the notebook's shortcuts from acting on keys that are pressed in the panel, except for those with Ctrl; but
// Ctrl+Enter is the panel's.
const keepKeys = (root) => {
  const keys = (event) => {
    if (!root.contains(event.target)) return;
    const notebooks = (event.ctrlKey || event.metaKey || event.altKey) && event.key !== "Enter";
    event.target.toggleAttribute("data-lm-suppress-shortcuts", !notebooks);
  };
  const stop = (event) => { if (event.target.hasAttribute("data-lm-suppress-shortcuts")) event.stopPropagation(); };
  // If the focused element is removed or hidden, the panel itself takes the focus.
  let last = null;
  const lost = new MutationObserver(() => {
    const gone = last && (!last.isConnected || last.closest("[hidden]"));
    if (gone && (document.activeElement === document.body || document.activeElement === last)) root.focus({ preventScroll: true });
    if (gone) last = null;
  });
  lost.observe(root, { childList: true, subtree: true, attributes: true, attributeFilter: ["hidden"] });
  root.tabIndex = -1;
  root.addEventListener("focusin", (event) => { last = event.target; });
  const closed = new AbortController(), early = { capture: true, signal: closed.signal };
  window.addEventListener("pointerdown", (event) => { if (!root.contains(event.target)) last = null; }, early);
  window.addEventListener("keydown", keys, early);
  root.addEventListener("keydown", stop);
  return () => { lost.disconnect(); closed.abort(); };
};
const select = (label, options, onchange) => {
  const made = h("select", { "aria-label": label, onchange: () => onchange(made.value) },
    ...Object.entries(options).map(([value, text]) => h("option", { value }, text)));
  return made;
};
const seconds = (value) => {
  const whole = Math.max(0, Math.round(value));
  return whole < 60 ? `${whole} s` : `${Math.floor(whole / 60)} min ${String(whole % 60).padStart(2, "0")} s`;
};
const age = (value) => value < 60 ? "just now" : value < 3600 ? `${Math.floor(value / 60)} min ago` : value < 86400
  ? `${Math.floor(value / 3600)} h ago` : `${Math.floor(value / 86400)} d ago`;
const groupBy = (rows, keyOf) => {
  const groups = new Map();
  for (const row of rows) groups.get(keyOf(row))?.push(row) ?? groups.set(keyOf(row), [row]);
  return groups;
};

// Make the children of `place` those for `rows`, in this order, by key. What stays is not touched, so that focus stays too.
const arrange = (place, kept, rows, make, update) => {
  const wanted = new Set(rows.map((row) => row.key));
  for (const [key, item] of kept) {
    if (wanted.has(key)) continue;
    item.element.remove();
    kept.delete(key);
  }
  let before = place.firstElementChild;
  for (const row of rows) {
    let item = kept.get(row.key);
    if (!item) kept.set(row.key, (item = make(row)));
    if (item.row !== row) update(item, row);
    item.row = row;
    if (item.element === before) before = before.nextElementSibling;
    else place.insertBefore(item.element, before);
  }
};

// Shared by the views of a widget: messages to the kernel, and the pictures and videos that have arrived.
const makeLink = (model) => {
  const link = { views: new Set(), posters: new Map(), videos: new Map(), ahead: 0 };
  const asked = new Set(), parts = new Map(), told = new Map(), waiting = [];
  let sent = 0, done = 0, late = null, wanted = [];
  const busy = (is) => link.views.forEach((view) => view.busy(is));
  const watch = () => { late = setTimeout(() => busy(true), BUSY_AFTER); };
  link.quiet = (what, content = {}) => {
    sent = Math.max(sent + 1, Date.now());
    model.send({ do: what, n: sent, ...content });
    return sent;
  };
  link.do = (what, content) => {
    if (late === null) watch();
    return link.quiet(what, content);
  };
  // A button that ignores clicks until the kernel has answered, and a moment longer.
  link.once = (label, act, props) => {
    const made = button(label, () => {
      if (made.getAttribute("aria-disabled") === "true") return;
      made.setAttribute("aria-disabled", "true");
      waiting.push([act(), () => setTimeout(() => made.removeAttribute("aria-disabled"), REPEAT_AFTER)]);
    }, props);
    return made;
  };
  link.now = () => Date.now() / 1000 + link.ahead;
  link.wantPoster = (key) => {
    if (asked.has(key)) return;
    asked.add(key);
    if (!wanted.length) setTimeout(() => {
      if (link.views.size) link.quiet("posters", { keys: wanted });
      else wanted.forEach((one) => asked.delete(one)); // a view that opens later asks again
      wanted = [];
    }, 60);
    wanted.push(key);
  };
  // A video's file: `tell` is called with {share, size} while it comes, then with {url} or {error}.
  link.fetch = (key, tell) => {
    if (link.videos.has(key)) return tell({ url: link.videos.get(key) });
    told.set(key, [...(told.get(key) || []), tell]);
    if (told.get(key).length === 1) link.quiet("video", { key });
  };
  const tell = (key, news, last) => {
    for (const one of told.get(key) || []) one(news);
    if (last) told.delete(key);
  };
  const hears = {
    rows: ({ rows, sent }) => {
      const jobs = { ...model.get("page").jobs, ...rows };
      for (const key in rows) if (rows[key] === null) delete jobs[key];
      hears.update({ page: { jobs, sent } });
    },
    update: ({ page }) => {
      model.set("page", { ...model.get("page"), ...page });
      link.views.forEach((view) => view.draw(Object.keys(page)));
    },
    done: ({ n }) => {
      done = Math.max(done, n);
      clearTimeout(late);
      late = null;
      busy(false);
      if (done < sent) watch();
      for (const one of waiting.filter(([number]) => number <= done)) {
        waiting.splice(waiting.indexOf(one), 1);
        one[1]();
      }
    },
    poster: ({ key }, [picture]) => {
      if (!picture?.byteLength) return;
      link.posters.set(key, URL.createObjectURL(new Blob([picture], { type: "image/jpeg" })));
      link.views.forEach((view) => view.poster(key));
    },
    piece: ({ key, at, size, type }, [piece]) => {
      parts.set(key, [...(parts.get(key) || []), piece]);
      if (at < size) return tell(key, { share: at / size, size });
      link.videos.set(key, URL.createObjectURL(new Blob(parts.get(key), { type })));
      parts.delete(key);
      tell(key, { url: link.videos.get(key) }, true);
      for (const old of [...link.videos.keys()].slice(0, -KEPT)) {
        URL.revokeObjectURL(link.videos.get(old));
        link.videos.delete(old);
      }
    },
    missing: ({ key, why }) => tell(key, { error: why }, true),
  };
  link.hear = (content, buffers) => {
    if (content.now) link.ahead = content.now - Date.now() / 1000;
    hears[content.is]?.(content, buffers);
  };
  link.close = () => {
    clearTimeout(late);
    for (const url of [...link.posters.values(), ...link.videos.values()]) URL.revokeObjectURL(url);
  };
  return link;
};

// What a job is called, and how it differs from the others of its batch.

const nameOf = (row) => row.name || row.prompt || row.model;
// Where the first word begins that is not the same in all texts.
const firstDifference = ([first, ...others]) => {
  let at = 0;
  while (at < first.length && others.every((text) => text[at] === first[at])) at += 1;
  return first.lastIndexOf(" ", at - 1) + 1;
};
const differences = (rows) => {
  const found = new Map();
  for (const [since, batch] of groupBy(rows, (row) => row.since)) {
    if (since === null || batch.length < 2) continue;
    const names = new Set(batch.flatMap((row) => Object.keys(row.details)));
    const differ = [...names].filter((name) => new Set(batch.map((row) => row.details[name])).size > 1);
    const from = batch.some((row) => row.prompt !== batch[0].prompt) ? firstDifference(batch.map((row) => row.prompt)) : null;
    for (const row of batch) {
      const words = differ.map((name) => row.details[name]).filter(Boolean);
      if (from > SHARED || (from !== null && row.name)) words.push(`${from > SHARED ? "…" : ""}${row.prompt.slice(from > SHARED ? from : 0)}`);
      found.set(row.key, words.join(" · ") || (row.index === null ? "" : `No. ${row.index + 1} of ${batch.length}`));
    }
  }
  return found;
};

// A running or ended job as a row.

const makeJob = () => {
  const dot = h("span", { class: "oxv-dot", "aria-hidden": "true" });
  const word = h("b"), title = h("span", { class: "oxv-title" }), time = h("span", { class: "oxv-time" });
  const meta = h("span", { class: "oxv-faint oxv-meta" }), money = h("span", { class: "oxv-faint oxv-money" });
  const bar = h("progress", { class: "oxv-bar", max: 1, "aria-label": "Progress" });
  const preview = h("img", { class: "oxv-preview", alt: "Preview of the video", hidden: true });
  const error = h("div", { class: "oxv-bad" }), notice = h("div", { class: "oxv-faint" }), acts = h("div", { class: "oxv-acts" });
  const element = h("li", { class: "oxv-job" }, h("div", { class: "oxv-job-head" }, dot, word, time, money), title, meta, preview, bar, error, notice, acts);
  return { element, word, title, time, meta, money, preview, bar, error, notice, acts, group: null };
};

const jobActs = (link, row) => {
  const about = [nameOf(row), row.differs].filter(Boolean).join(", ");
  const act = (label, what, more = {}) => link.once(label, () => link.do(what, { key: row.key, keys: [row.key], ...more }), { "aria-label": `${label}: ${about}` });
  if (RUNNING.has(row.group)) return [act("Cancel", "cancel")];
  const rest = [act("Reuse settings", "use"), act("Dismiss", "dismiss")];
  if (row.group === "missing") return [act("Download again", "retry"), ...rest];
  if (row.group === "unconfirmed") {
    const place = h("span", {}, button("Submit again …", () => place.replaceChildren(
      "It may exist already, and be charged twice. ", act("Submit anyway", "retry", { sure: true }))));
    return [place, ...rest];
  }
  return [act("Retry", "retry"), ...rest];
};

const updateJob = (link) => (item, row) => {
  item.element.dataset.group = row.group;
  item.element.dataset.key = row.key;
  setText(item.word, row.word);
  setText(item.title, nameOf(row) + (row.name && row.prompt ? ` · ${row.prompt}` : ""));
  item.title.title = row.prompt;
  setText(item.meta, [row.differs, row.model, ...Object.values(row.details)].filter(Boolean).join(" · "));
  setText(item.money, row.money);
  setText(item.error, RUNNING.has(row.group) || row.group === "cancelled" ? "" : row.error);
  setText(item.notice, row.notice);
  show(item.preview, Boolean(row.preview));
  if (row.preview) item.preview.src = row.preview;
  if (item.group !== row.group) {
    const hadFocus = item.acts.contains(document.activeElement);
    item.acts.replaceChildren(...jobActs(link, row));
    if (hadFocus) item.acts.querySelector("button").focus();
  }
  item.group = row.group;
  drawTime(link, item, row);
};

const drawTime = (link, item, row) => {
  const running = RUNNING.has(row.group) && row.since;
  const spent = running ? link.now() - row.since : row.took;
  let text = spent === null || spent === undefined ? "" : seconds(spent);
  if (running && row.size) text += ` · ${megabytes(row.received)} of ${megabytes(row.size)}`;
  else if (running && row.steps) text += ` · ${row.steps}`;
  else if (running && row.expected >= 1) text += ` of about ${seconds(row.expected)}`;
  setText(item.time, text);
  show(item.bar, Boolean(running));
  if (!running) return;
  // An expectation is not a promise: the bar slows down towards the end and never reaches it.
  const share = row.steps ? row.share : row.size ? row.received / row.size : row.expected ? 1 - Math.exp((-2 * spent) / row.expected) : null;
  if (share === null) item.bar.removeAttribute("value");
  else item.bar.value = row.steps ? share : Math.min(0.97, share);
};

// A finished video as a tile of the gallery.

const makeTile = (link, view) => (row) => {
  const { key } = row;
  const image = h("img", { alt: "", loading: "lazy" });
  const open = button("", () => link.do("look", { keys: [key] }), { class: "oxv-open" });
  open.append(image, h("span", { class: "oxv-play", "aria-hidden": "true" }, "▶"));
  const check = h("input", { type: "checkbox", onchange: () => view.pick(key, check.checked) });
  const star = button("☆", () => link.do("star", { key, on: star.getAttribute("aria-pressed") !== "true" }), { class: "oxv-icon oxv-star" });
  const away = button("×", () => { show(sure, true); sure.querySelector("button").focus(); }, { class: "oxv-icon" });
  const keep = () => { show(sure, false); away.focus(); };
  const sure = h("div", { class: "oxv-sure", hidden: true, onkeydown: (event) => event.key === "Escape" && keep() },
    link.once("Remove from the list", () => link.do("dismiss", { keys: [key] })),
    link.once("Delete the file too", () => link.do("dismiss", { keys: [key], file: true })), button("Keep", keep));
  const title = h("div", { class: "oxv-cap" }), differs = h("div", { class: "oxv-differs" }), meta = h("div", { class: "oxv-faint" });
  const element = h("li", { class: "oxv-tile", "data-key": key }, open, title, differs, meta,
    h("div", { class: "oxv-tile-acts" }, h("label", { class: "oxv-pick" }, check, "Compare"), star, away), sure);
  playOnHover(link, key, open);
  return { element, image, open, check, star, away, title, differs, meta };
};

const updateTile = (link) => (item, row) => {
  const made = row.ended ? new Date(row.ended * 1000).toLocaleTimeString() : "";
  const about = [nameOf(row), row.differs, made].filter(Boolean).join(", ");
  for (const [element, what] of [[item.open, "Open the video"], [item.check, "Compare"], [item.star, "Star"], [item.away, "Remove"]])
    element.setAttribute("aria-label", `${what}: ${about}`);
  setText(item.title, nameOf(row));
  item.title.title = row.prompt;
  setText(item.differs, row.differs);
  show(item.differs, Boolean(row.differs));
  drawAge(link, item, row);
  const picture = link.posters.get(row.key);
  if (picture && item.image.src !== picture) item.image.src = picture;
};

const drawAge = (link, item, row) => {
  const { duration, seconds: length, seed } = row.details;
  const facts = [row.model, duration || length, seed, row.money, row.ended ? age(link.now() - row.ended) : ""];
  setText(item.meta, facts.filter((fact) => fact && !row.differs.includes(fact)).join(" · "));
  item.meta.title = [row.model, ...Object.values(row.details), row.took ? `made in ${seconds(row.took)}` : ""].filter(Boolean).join(" · ");
};

// The pointer on a tile plays its video without sound, unless the user prefers less motion.
const playOnHover = (link, key, open) => {
  let due = null, video = null;
  const start = () => link.fetch(key, ({ url }) => {
    if (!url || video || due === null) return;
    video = h("video", { src: url, loop: true, playsinline: true, tabindex: "-1", "aria-hidden": "true" });
    video.muted = true;
    open.append(video);
    video.play().catch(() => {});
  });
  open.addEventListener("pointerenter", () => { if (!matchMedia("(prefers-reduced-motion: reduce)").matches) due = setTimeout(start, HOVER); });
  open.addEventListener("pointerleave", () => { clearTimeout(due); due = null; video?.remove(); video = null; });
};

// The player: one video large, or two side by side, played in step by one set of controls.

const NEAR = 0.03; // seconds apart that nobody sees
const CATCH_UP = 4; // change of speed for each second apart: of what is apart, a third is left after 0.3 s
const FAR = 0.3; // seconds apart, above which a jump is better than a change of speed

const makeVideo = (link, clip, { alone }) => {
  const about = clip.title || clip.prompt || clip.model;
  const video = h("video", { class: "oxv-video", playsinline: true, preload: "auto", loop: alone, controls: alone, "aria-label": `Video: ${about}` });
  if (clip.shape) video.style.aspectRatio = `auto ${clip.shape.join(" / ")}`; // its place, until it has loaded
  const line = h("div", { class: "oxv-faint", role: "status" }, "Loading …");
  const get = h("a", { class: "oxv-btn", download: clip.name, hidden: true, title: "To this browser's downloads" }, "Download");
  link.fetch(clip.key, ({ url, share, size, error }) => {
    if (share) setText(line, `${megabytes(share * size)} of ${megabytes(size)}`);
    if (error) setText(line, error);
    if (!url) return;
    setText(line, clip.file);
    video.src = get.href = url;
    show(get, true);
  });
  const name = h("input", { type: "text", value: clip.file.replace(/(\.\w+)$/, "-copy$1"), "aria-label": "Save as", onkeydown: (event) => event.key === "Enter" && save() });
  const save = () => { link.do("save", { key: clip.key, to: name.value }); show(saving, false); };
  const saving = h("div", { class: "oxv-row", hidden: true }, name, button("Save", save));
  const act = (label, what) => button(label, () => link.do(what, { key: clip.key }), { "aria-label": `${label}: ${about}` });
  const note = h("div", { class: "oxv-clip", "data-key": clip.key }, h("div", { class: "oxv-cap", title: clip.prompt }, clip.prompt || clip.model),
    h("div", { class: "oxv-faint" }, [clip.model, clip.details].filter(Boolean).join(" · ")), line,
    h("div", { class: "oxv-acts" }, act("Use last frame", "frame"), act("Reuse settings", "use"), act("Show as code", "code"),
      button("Save as …", () => { show(saving, saving.hidden); if (!saving.hidden) name.focus(); }), get), saving);
  return { note, video };
};

// The longer video leads. The other follows by small changes of speed, so that neither stutters.
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
      const change = Math.abs(apart) > NEAR ? CATCH_UP * apart : 0;
      second.playbackRate = Math.min(1.5 * state.speed, Math.max(state.speed / 1.5, state.speed + change));
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
    if (document.activeElement !== position || both.state.playing) position.value = both.time();
    position.max = both.length() || 1;
    setText(time, `${both.time().toFixed(1)} of ${both.length().toFixed(1)} s`);
  };
  const toggle = button("Play", () => { (both.state.playing ? both.pause() : both.play()); draw(); }, { class: "oxv-btn oxv-strong" });
  const position = h("input", { type: "range", min: 0, max: 1, step: 0.01, value: 0, "aria-label": "Position in both videos", oninput: () => both.seek(Number(position.value)) });
  const time = h("span", { class: "oxv-faint oxv-nowrap" });
  const speeds = h("select", { "aria-label": "Speed", onchange: () => both.speed(Number(speeds.value)) },
    ...[0.25, 0.5, 1, 2].map((value) => h("option", { value, selected: value === 1 }, `${value}×`)));
  const sound = select("Sound", { "": "Sound off", 0: "Sound: left", 1: "Sound: right" },
    (side) => videos.forEach((video, at) => { video.muted = side !== String(at); }));
  sound.value = "";
  videos.forEach((video) => {
    video.muted = true;
    for (const event of ["timeupdate", "loadedmetadata", "seeked", "play", "pause"]) video.addEventListener(event, draw);
    video.addEventListener("click", () => toggle.click());
  });
  draw();
  return { element: h("div", { class: "oxv-controls" }, toggle, position, time, speeds, sound), close: both.pause };
};

// Two videos in one place, and a divider between them. A range has mouse, touch and keys.
const makeWipe = (clips) => {
  const divider = h("input", { type: "range", class: "oxv-divider", min: 0, max: 100, step: "any", value: 50, hidden: true, "aria-label": "Divider between the videos",
    "aria-valuetext": "50 %", oninput: () => {
      clips.style.setProperty("--oxv-at", `${divider.value}%`);
      divider.setAttribute("aria-valuetext", `${Math.round(divider.value)} %`);
    }, onkeydown: (event) => {
      const by = { ArrowRight: 5, ArrowUp: 5, ArrowLeft: -5, ArrowDown: -5 }[event.key];
      if (!by) return;
      event.preventDefault();
      divider.value = Number(divider.value) + by;
      divider.dispatchEvent(new Event("input"));
    } });
  const toggle = button("Wipe", () => {
    const on = clips.classList.toggle("oxv-wipe");
    toggle.setAttribute("aria-pressed", String(on));
    show(divider, on);
    if (on) divider.focus();
  }, { "aria-pressed": "false", title: "One video over the other, with a divider to drag" });
  clips.append(divider);
  return toggle;
};

const makePlayer = (model, link, view) => {
  const element = h("section", { class: "oxv-player", "aria-label": "Open videos", hidden: true });
  let controls = null, shown = "";
  // The next or previous video of the gallery, as it is filtered.
  const step = (by) => {
    const keys = view.tileKeys(), at = keys.indexOf(model.get("page").videos[0]?.key);
    if (keys[at + by] && at + by >= 0) link.do("look", { keys: [keys[at + by]] });
  };
  element.addEventListener("keydown", (event) => {
    const by = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (by && event.target.tagName === "BUTTON") step(by);
  });
  const draw = () => {
    const { videos } = model.get("page");
    if (shown === JSON.stringify(videos)) return;
    const hadFocus = element.contains(document.activeElement) && document.activeElement.getAttribute("aria-label");
    shown = JSON.stringify(videos);
    controls?.close();
    controls = null;
    show(element, videos.length > 0);
    const two = videos.length > 1;
    const made = videos.map((clip) => makeVideo(link, clip, { alone: !two }));
    if (two) controls = makeControls(made.map((one) => one.video));
    const icon = (label, name, act, off) => button(label, act, { class: "oxv-icon", "aria-label": name, title: name, disabled: off });
    const clips = h("div", { class: two ? "oxv-clips oxv-two" : "oxv-clips" }, ...made.map((one) => one.video));
    element.replaceChildren(
      h("div", { class: "oxv-head" }, h("strong", {}, two ? "Side by side" : videos[0]?.title || "Open video"), h("span", { class: "oxv-right" },
        ...(two ? [makeWipe(clips)] : [icon("‹", "Previous video", () => step(-1)), icon("›", "Next video", () => step(1))]),
        icon("×", "Close", () => link.do("look", { keys: [] })))),
      clips,
      ...(controls ? [controls.element] : []),
      h("div", { class: two ? "oxv-clips oxv-two" : "oxv-clips" }, ...made.map((one) => one.note)));
    if (hadFocus) element.querySelector(`[aria-label="${hadFocus}"]`)?.focus();
    if (made.length) element.scrollIntoView({ block: "nearest" });
  };
  return { element, draw, close: () => controls?.close() };
};

// The jobs of this kernel: running ones first, then one line for those that ended without a video, then the gallery.

const makeKernelPage = (model, link) => {
  const jobs = h("ul", { class: "oxv-jobs" }), ended = h("ul", { class: "oxv-jobs", id: newId() }), tiles = h("ul", { class: "oxv-tiles", onkeydown: (event) => walk(event) });
  const keptJobs = new Map(), keptEnded = new Map(), keptTiles = new Map();
  const counts = h("strong"), endedLine = h("span"), done = h("strong"), hint = h("span", { class: "oxv-faint", role: "status" });
  const cancelAll = link.once("Cancel all", () => link.do("cancel all"));
  let open = false, picked = [], filter = { words: "", model: "", status: "" };
  const toggle = button(endedLine, () => { open = !open; draw(); }, { class: "oxv-btn oxv-quiet oxv-fold", "aria-controls": ended.id });
  const dismissAll = link.once("Dismiss all", () => link.do("dismiss", { keys: [...keptEnded.keys()] }));
  const words = h("input", { type: "search", placeholder: "Filter by words", "aria-label": "Filter by words", oninput: () => { filter.words = words.value.toLowerCase(); draw(); } });
  const models = select("Filter by model", {}, (value) => { filter.model = value; draw(); });
  const statuses = select("Filter by status", STATUSES, (value) => { filter.status = value; draw(); });
  const filters = h("div", { class: "oxv-row oxv-filters" }, words, models, statuses);
  const empty = h("p", { class: "oxv-empty" }, "Nothing here yet. Write a prompt and press Generate; the video appears here.");
  const none = h("p", { class: "oxv-empty" }, "Nothing matches the filter. ", button("Clear the filter", () => {
    filter = { words: "", model: "", status: "" };
    words.value = models.value = statuses.value = "";
    draw();
    words.focus();
  }));
  const queue = h("section", { "aria-label": "Running" }, h("div", { class: "oxv-head" }, counts, cancelAll), jobs);
  const ends = h("section", { "aria-label": "Ended without a video" }, h("div", { class: "oxv-head" }, toggle, dismissAll), ended);
  const join = button("", () => link.do("join", { keys: picked }), { title: "One after the other, in the order in which you chose them" });
  const gallery = h("section", { "aria-label": "Gallery" }, h("div", { class: "oxv-head" }, done, hint, join), tiles);
  show(join, false);
  const choose = (keys) => {
    picked = keys;
    show(join, picked.length > 1);
    setText(join, `Join ${picked.length} videos`);
    for (const [key, item] of keptTiles) item.check.checked = picked.includes(key);
    setText(hint, picked.length === 1 ? "Choose a second video to compare." : "");
  };
  const pick = (key, on) => {
    choose([...picked.filter((other) => other !== key), ...(on ? [key] : [])]);
    if (on && picked.length > 1) link.do("look", { keys: picked.slice(-2) });
  };
  // Arrow keys go from tile to tile.
  const walk = (event) => {
    const all = [...tiles.children], at = all.indexOf(event.target.closest(".oxv-tile"));
    if (!event.target.matches(".oxv-open") || at < 0) return;
    const wide = all.filter((tile) => tile.offsetTop === all[0].offsetTop).length;
    const to = { ArrowRight: at + 1, ArrowLeft: at - 1, ArrowDown: at + wide, ArrowUp: at - wide, Home: 0, End: all.length - 1 }[event.key];
    if (to === undefined) return;
    event.preventDefault();
    all[Math.max(0, Math.min(to, all.length - 1))].querySelector(".oxv-open").focus();
  };
  const seen = new IntersectionObserver((entries) => {
    for (const entry of entries) if (entry.isIntersecting) link.wantPoster(entry.target.dataset.key);
  }, { rootMargin: "150px" });
  const makeSeen = (row) => {
    const item = makeTile(link, { pick })(row);
    seen.observe(item.element);
    return item;
  };
  const matches = (stars) => (row) => {
    const text = `${row.name} ${row.prompt} ${row.model} ${Object.values(row.details).join(" ")}`.toLowerCase();
    const kind = RUNNING.has(row.group) ? "running" : row.group === "done" ? "done" : "ended";
    return filter.words.split(/\s+/).every((word) => text.includes(word)) && (!filter.model || row.model === filter.model) &&
      (!filter.status || filter.status === kind || (filter.status === "starred" && stars.has(row.key)));
  };
  let before = new Map(); // rows as they were drawn, so that unchanged ones stay the same objects
  const draw = () => {
    const page = model.get("page"), stars = new Set(page.stars);
    const known = Object.values(page.jobs);
    const differs = differences(known);
    before = new Map(known.map((row) => {
      const drawn = before.get(row.key), text = differs.get(row.key) || "";
      return [row.key, drawn?.from === row && drawn.row.differs === text ? drawn : { from: row, row: { ...row, differs: text } }];
    }));
    const all = [...before.values()].map(({ row }) => row).sort((a, b) => b.since - a.since || a.order - b.order);
    const rows = all.filter(matches(stars));
    const finished = rows.filter((row) => row.group === "done");
    const running = rows.filter((row) => RUNNING.has(row.group)).sort((a, b) => a.order - b.order);
    const failed = rows.filter((row) => row.group !== "done" && !RUNNING.has(row.group));
    const names = [...new Set(all.map((row) => row.model))].sort();
    if (names.join() !== [...models.options].slice(1).map((one) => one.value).join()) {
      models.replaceChildren(h("option", { value: "" }, "Any model"), ...names.map((name) => h("option", { value: name, selected: name === filter.model }, name)));
    }
    show(filters, all.length >= FILTER_FROM || Boolean(filter.words || filter.model || filter.status));
    show(models, names.length > 1);
    show(empty, all.length === 0);
    show(none, all.length > 0 && rows.length === 0);
    show(queue, running.length > 0);
    show(ends, failed.length > 0);
    show(gallery, finished.length > 0);
    show(cancelAll, running.length > 1);
    setText(counts, `${running.length} running`);
    setText(done, `${finished.length} video${finished.length === 1 ? "" : "s"}`);
    // A single job needs no line above it; the reason is in the line if it is the same for all.
    const single = failed.length === 1, reasons = new Set(failed.map((row) => row.error));
    const by = [...groupBy(failed, (row) => row.word)].map(([word, some]) => `${some.length} ${word.toLowerCase()}`);
    setText(endedLine, `${failed.length} ended without a video${by.length ? `: ${by.join(", ")}` : ""}${reasons.size === 1 && failed[0].error ? ` · ${failed[0].error}` : ""}`);
    const opened = open || single || filter.status === "ended";
    toggle.setAttribute("aria-expanded", String(opened));
    show(toggle.parentElement, !single);
    show(ended, opened);
    arrange(jobs, keptJobs, running, makeJob, updateJob(link));
    arrange(ended, keptEnded, failed, makeJob, updateJob(link));
    arrange(tiles, keptTiles, finished, makeSeen, updateTile(link));
    for (const [key, item] of keptTiles) {
      item.star.setAttribute("aria-pressed", String(stars.has(key)));
      setText(item.star, stars.has(key) ? "★" : "☆");
    }
  };
  const drawVideos = () => {
    const shown = model.get("page").videos.map((video) => video.key);
    for (const [key, item] of keptTiles) item.element.classList.toggle("oxv-shown", shown.includes(key));
    if (!shown.length && picked.length) choose([]);
  };
  const clock = setInterval(() => {
    for (const item of keptJobs.values()) drawTime(link, item, item.row);
    for (const item of keptTiles.values()) drawAge(link, item, item.row);
  }, 1000);
  const poster = (key) => { const item = keptTiles.get(key); if (item) updateTile(link)(item, item.row); };
  const close = () => { clearInterval(clock); seen.disconnect(); };
  const element = h("div", { class: "oxv-page" }, filters, empty, none, queue, ends, gallery);
  return { element, draws: { jobs: draw, stars: draw, videos: drawVideos }, poster, close, tileKeys: () => [...keptTiles.keys()] };
};

// The account and the history

const listRow = (row, aside, acts) => h("li", { class: "oxv-job", "data-group": row.group },
  h("div", { class: "oxv-job-head" }, h("span", { class: "oxv-dot", "aria-hidden": "true" }), h("b", {}, row.word), ...aside),
  h("span", { class: "oxv-title", title: row.prompt }, row.prompt || row.model), h("span", { class: "oxv-faint oxv-meta" }, row.model),
  h("div", { class: "oxv-acts" }, ...acts));

const historyRow = (link) => (row) => {
  const about = [row.prompt || row.model, row.when].join(", ");
  const acts = [];
  if (row.file) acts.push(button("Play", () => link.do("look", { keys: [row.id] }), { "aria-label": `Play: ${about}` }));
  else if (row.id && row.group === "done") acts.push(link.once("Download", () => link.do("attach", { id: row.id }), { "aria-label": `Download: ${about}` }));
  if (row.reusable && row.id) acts.push(button("Reuse settings", () => link.do("use", { key: row.id }), { "aria-label": `Reuse settings: ${about}` }));
  return listRow(row, [h("span", { class: "oxv-time" }, row.when), h("span", { class: "oxv-faint oxv-money" }, row.money)], acts);
};

const accountRow = (link) => (row) => {
  const about = [row.prompt || row.model, row.id].join(", ");
  const act = (label, more) => link.once(label, () => link.do("attach", { id: row.id, ...more }), { "aria-label": `${label}: ${about}` });
  const acts = row.key ? [h("span", { class: "oxv-faint" }, "in this kernel")] : [act("Follow here"), act("Cancel", { cancel: true })];
  return listRow(row, [h("span", { class: "oxv-time" }, row.since ? seconds(link.now() - row.since) : "")], acts);
};

// The rows that were read, or what is shown in their place.
const listOf = ({ rows, error }, makeRow, none) => {
  if (error) return h("p", { class: "oxv-bad" }, error);
  if (rows?.length) return h("ul", { class: "oxv-jobs oxv-tall" }, ...rows.map(makeRow));
  return rows ? h("p", { class: "oxv-empty" }, none) : h("p", { class: "oxv-faint" }, "Loading …");
};

const makeHistoryPage = (model, link) => {
  const element = h("div", { class: "oxv-page" });
  const draw = () => {
    const { history } = model.get("page"), page = history.page || 1;
    const go = (to) => () => link.do("history", { page: to });
    element.replaceChildren(h("div", { class: "oxv-head" }, h("strong", {}, "History of the account"), button("Refresh", go(page))),
      listOf(history, historyRow(link), page > 1 ? "No more history." : "No history yet."),
      h("div", { class: "oxv-row" }, button("← Newer", go(page - 1), { disabled: page <= 1 }), h("span", {}, `Page ${page}`), button("Older →", go(page + 1), { disabled: !history.more })));
  };
  return { element, draws: { history: draw }, turn: () => { if (!model.get("page").history.rows) link.do("history", { page: 1 }); } };
};

const makeAccountPage = (model, link) => {
  const element = h("div", { class: "oxv-page" });
  const draw = () => {
    const { account } = model.get("page");
    const title = account.rows ? `${account.rows.length} running in the whole account` : "Running in the whole account";
    element.replaceChildren(h("div", { class: "oxv-head" }, h("strong", {}, title), button("Refresh", () => link.do("account"))),
      listOf(account, accountRow(link), "Nothing is running."));
  };
  return { element, draws: { account: draw }, turn: () => link.do("account") };
};

// Tabs have one Tab stop, and arrow keys between them.
const makeTabs = (pages, names, aside) => {
  const tabs = {};
  const turn = (name) => {
    for (const other of Object.keys(pages)) {
      show(pages[other].element, other === name);
      tabs[other].setAttribute("aria-selected", String(other === name));
      tabs[other].tabIndex = other === name ? 0 : -1;
    }
    pages[name].turn?.();
  };
  const step = (event) => {
    const by = { ArrowRight: 1, ArrowLeft: -1 }[event.key], order = Object.keys(tabs);
    if (!by) return;
    const next = order[(order.findIndex((name) => tabs[name] === document.activeElement) + by + order.length) % order.length];
    turn(next);
    tabs[next].focus();
  };
  for (const [name, label] of Object.entries(names)) {
    const id = newId();
    tabs[name] = button(label, () => turn(name), { class: "oxv-tab", role: "tab", "aria-controls": id });
    for (const [key, value] of Object.entries({ id, role: "tabpanel", "aria-label": label })) pages[name].element.setAttribute(key, value);
  }
  turn(Object.keys(pages)[0]);
  return h("div", { class: "oxv-tabs" }, h("div", { role: "tablist", "aria-label": "Sources", onkeydown: step }, ...Object.values(tabs)), aside);
};

// Code that makes a video again

const makeCode = (model) => {
  const area = h("textarea", { class: "oxv-source", readonly: true, rows: 8, spellcheck: "false", "aria-label": "Code" });
  const copied = h("span", { class: "oxv-faint", role: "status" });
  let kind = "cell";
  const copy = async () => {
    try {
      await navigator.clipboard.writeText(area.value);
    } catch {
      area.select();
      document.execCommand("copy"); // if the page may not use the clipboard by itself
    }
    setText(copied, "Copied.");
  };
  const turn = (which) => {
    kind = which;
    for (const [name, tab] of Object.entries(tabs)) tab.setAttribute("aria-pressed", String(name === kind));
    area.value = model.get("page").code[kind];
    setText(copied, "");
  };
  const tabs = { cell: button("Cell", () => turn("cell")), python: button("Python", () => turn("python")) };
  const close = button("×", () => show(element, false), { class: "oxv-icon oxv-right", "aria-label": "Close the code", title: "Close the code" });
  const element = h("section", { class: "oxv-code", "aria-label": "Code that makes this again", hidden: true },
    h("div", { class: "oxv-row" }, tabs.cell, tabs.python, button("Copy", copy), copied, close), area);
  const draw = () => {
    if (!model.get("page").code) return;
    turn(kind);
    show(element, true);
    area.focus();
    element.scrollIntoView({ block: "nearest" });
  };
  return { element, draw };
};

const makeBoard = (model, link) => {
  const busy = h("div", { class: "oxv-busy", role: "status", hidden: true });
  const said = h("div", { class: "oxv-said", role: "status", hidden: true });
  const code = makeCode(model), view = {};
  const kernel = makeKernelPage(model, link), player = makePlayer(model, link, { tileKeys: kernel.tileKeys });
  const pages = { kernel, account: makeAccountPage(model, link), history: makeHistoryPage(model, link) };
  let hide = null;
  const drawSaid = () => {
    const { text, tone, action } = model.get("page").said;
    const offer = action && button(action.label, () => { show(said, false); link.do(action.do, action); });
    said.replaceChildren(text, ...(offer ? [" ", offer] : []));
    said.dataset.tone = tone;
    show(said, Boolean(text));
    clearTimeout(hide);
    if (tone === "good") hide = setTimeout(() => show(said, false), SAID_FOR);
  };
  const draws = Object.assign({}, ...Object.values(pages).map((page) => page.draws));
  const drawVideos = draws.videos;
  draws.videos = () => { player.draw(); drawVideos(); };
  for (const draw of new Set(Object.values(draws))) draw();
  Object.assign(draws, { said: drawSaid, code: code.draw });
  const tabs = makeTabs(pages, { kernel: "This kernel", account: "Whole account", history: "History" }, h("span", { class: "oxv-faint oxv-right" }, model.get("page").service));
  const element = h("section", { class: "oxv-board", "aria-label": "Results" }, busy, said, code.element, player.element, tabs, ...Object.values(pages).map((page) => page.element));
  const release = keepKeys(element);
  return Object.assign(view, {
    element,
    draw: (names) => { for (const draw of new Set(names.map((name) => draws[name]))) draw?.(); },
    busy: (is) => { setText(busy, is ? BUSY : ""); show(busy, is); },
    poster: kernel.poster,
    close: () => { clearTimeout(hide); kernel.close(); player.close(); release(); },
  });
};

export default () => {
  let link;
  return {
    initialize({ model }) {
      link = makeLink(model);
      const hear = (content, buffers) => link.hear(content, buffers);
      model.on("msg:custom", hear);
      stayLive(model, () => { if (link.views.size) link.quiet("hello", { sent: null }); });
      return () => { model.off("msg:custom", hear); link.close(); };
    },
    render({ model, el }) {
      link.ahead = model.get("page").now - Date.now() / 1000;
      const view = makeBoard(model, link);
      if (customElements.get("marimo-anywidget")) el.classList.add("oxv-panel");
      el.append(view.element);
      link.views.add(view);
      link.quiet("hello", { sent: model.get("page").sent });
      return () => {
        link.views.delete(view);
        if (!link.views.size) link.quiet("away");
        view.close();
      };
    },
  };
};
